import numpy as np
import pytest

from vesalius.seed import generator
from vesalius.stages.tiled.filters import SCALES, coarse_shape, described, eigenvalues, n_features, reduced, thinned


@pytest.mark.parametrize("d", [2, 3])
def test_eigenvalues_are_those_of_linear_algebra(d: int) -> None:
    rng = generator(0, "eigen", d)
    full = rng.normal(size=(200, d, d))
    full = full + full.transpose(0, 2, 1)
    full[0], full[1] = 0.0, 3 * np.eye(d)
    upper = [full[:, i, j] for i in range(d) for j in range(i, d)]
    assert np.allclose(np.stack(eigenvalues(upper, d)), np.linalg.eigvalsh(full)[:, ::-1].T, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 20, 24), (1, 8, 12, 10)])
def test_every_sample_has_its_features(shape: tuple[int, ...]) -> None:
    made = described(generator(1, "image").normal(size=shape).astype(np.float32), (1.0,) * (len(shape) - 1))
    assert made.shape == (n_features(shape[0], len(shape) - 1), int(np.prod(shape[1:]))) and np.isfinite(made).all()


def test_a_tube_is_a_ridge_at_its_own_scale_whichever_way_it_runs() -> None:
    """The answer to a Gaussian ridge is largest at 1.41 times its width (Lindeberg 1998)."""
    y, x = np.indices((41, 41)) - 20
    found = []
    for across in (y, x):
        image = np.exp(-(across**2) / (2 * 1.4**2)).astype(np.float32)[None]
        features = described(image, (1.0, 1.0)).reshape(-1, 41, 41)[:, 20, 20]
        lowest = [features[1 + 7 * i + 4] for i in range(len(SCALES))]  # number; then blurred, gradient, Laplacian, two of the Hessian, two of the tensor
        assert np.argmin(lowest) == SCALES.index(2.0)
        found.append(features[1:-2])
    assert np.allclose(*found, atol=1e-4)


def test_a_constant_image_has_neither_edges_nor_shapes() -> None:
    features = described(np.full((1, 6, 9), 3.0, np.float32), (1.0, 1.0)).reshape(-1, 6, 9)
    changing = np.delete(features[1:-2], [7 * i for i in range(len(SCALES))], 0)
    assert np.allclose(changing, 0, atol=1e-5) and np.allclose(features[[0, 1, 8]], 3.0)


def test_scales_are_lengths_and_not_samples() -> None:
    """The same ball, its first axis sampled half as densely: features at its middle hardly change."""
    fine, coarse = (np.stack(np.meshgrid(*[np.arange(-15, 16, s) for s in step], indexing="ij")) for step in ((1, 1, 1), (2, 1, 1)))
    values = [np.exp(-(place**2).sum(0) / (2 * 4.0**2)).astype(np.float32)[None] for place in (fine, coarse)]
    one, two = (described(image, step)[:, np.ravel_multi_index([n // 2 for n in image.shape[1:]], image.shape[1:])]
                for image, step in zip(values, ((1, 1, 1), (2, 1, 1)), strict=True))
    middle = slice(1 + 9, 1 + 4 * 9)
    assert np.abs(one[middle] - two[middle]).max() < 0.1 and np.abs(one[middle]).max() > 0.5


def test_the_position_is_within_what_is_not_air() -> None:
    image = np.zeros((1, 20, 30), np.float32)
    image[0, 5:16, 10:21] = 1.0
    rows, columns = described(image, (1.0, 1.0))[-2:].reshape(2, 20, 30)
    assert (rows[5, 0], rows[10, 3], rows[15, 9]) == (-1.0, 0.0, 1.0) and (columns[0, 10], columns[4, 20]) == (-1.0, 1.0)


def test_a_large_volume_is_made_coarser_along_its_finest_axes_first() -> None:
    assert coarse_shape((30, 40), (1.0, 1.0), 1200) == (30, 40)
    made = coarse_shape((24, 200, 200), (4.0, 1.0, 1.0), 100_000)
    assert made[0] == 24 and made[1] == made[2] and 80_000 < np.prod(made) <= 100_000
    assert coarse_shape((1, 5000, 5000), (1.0, 1.0, 1.0), 10_000)[0] == 1


def test_smaller_images_and_masks_lie_on_one_another() -> None:
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 10:30, 20:40] = 1
    small, shares = thinned(mask, (20, 30)), reduced(mask.astype(np.float32), (20, 30))
    assert np.array_equal(small, (shares > 0.5).astype(np.uint8)) and small.sum() == 100
