"""Statistics of small views: what each must see, and what it must not mind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vesalius.kernels.imagestats import SIDE, noise_of, small_view, statistics_of


def scene(shape: tuple[int, ...] = (96, 80)) -> np.ndarray:
    """Bright above, a disc on the left: no mirror image or turn of it is the same."""
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    disc = (sum((axis - 0.3) ** 2 for axis in axes) < 0.03).astype(float)
    return np.asarray(0.3 + 0.3 * (1 - axes[0]) + 0.3 * disc + 0.05 * np.sin(40 * axes[-1]))[None]


def part(image: np.ndarray, kind: str) -> np.ndarray:
    made = statistics_of(small_view(image), noise_of(image))
    return np.array([value for name, value in zip(made.names, made.values, strict=True) if name.startswith(f"{kind}.")])


@pytest.mark.parametrize("shape", [(96, 80), (7, 300), (40, 50, 60), (5, 64, 64)])
def test_every_shape_gives_a_view_and_finite_statistics(shape: tuple[int, ...]) -> None:
    view = small_view(scene(shape))
    assert view.shape == (1, *(SIDE[len(shape)],) * len(shape))
    made = statistics_of(view, noise_of(scene(shape)))
    assert len(made.names) == len(made.values) == len(set(made.names)) and np.isfinite(made.values).all()


def test_the_layout_sees_turns_and_inversion_but_not_brightness_or_size() -> None:
    plain = part(scene(), "layout")
    assert part(scene() * 0.5 + 0.1, "layout") == pytest.approx(plain, abs=1e-3)
    assert np.abs(part(scene((300, 250)), "layout") - plain).max() < 0.4
    for changed in (scene()[:, ::-1], scene()[:, :, ::-1], np.rot90(scene(), 1, (1, 2)), 1 - scene()):
        assert np.abs(part(np.ascontiguousarray(changed), "layout") - plain).max() > 1


def test_bands_see_blur_and_noise_and_levels_see_brightness() -> None:
    rng = np.random.default_rng(0)
    plain, noisy = part(scene((64, 64)), "bands"), part(scene((64, 64)) + rng.normal(0, 0.1, (1, 64, 64)), "bands")
    blurred = part(gaussian_filter(scene((64, 64)), (0, 2, 2)), "bands")
    assert noisy[-1] > plain[-1] + 1 and blurred[-2] < plain[-2] - 0.3
    assert part(scene() + 0.2, "levels") == pytest.approx(part(scene(), "levels") + 0.2, abs=0.01)


def test_colour_is_seen_and_grey_stored_as_three_channels_is_grey() -> None:
    grey = np.repeat(scene(), 3, 0)
    red = grey * np.array([1.0, 0.5, 0.5])[:, None, None]
    assert part(grey, "colour").max() < 1e-6 < 0.05 < part(red, "colour").min()


@pytest.mark.parametrize("sigma", [0.02, 0.1])
@pytest.mark.parametrize("shape", [(200, 180), (12, 90, 90)])
def test_noise_is_measured_at_the_images_own_samples(sigma: float, shape: tuple[int, ...]) -> None:
    smooth = scene(shape) - 0.05 * np.sin(40 * np.linspace(0, 1, shape[-1]))
    assert noise_of(smooth + np.random.default_rng(0).normal(0, sigma, (1, *shape))) == pytest.approx(sigma, rel=0.15)
    assert noise_of(smooth) < 0.004


def test_what_is_not_finite_and_what_is_tiny_do_no_harm() -> None:
    broken = scene()
    broken[0, :3] = np.nan
    assert np.isfinite(small_view(broken)).all() and np.isfinite(noise_of(broken))
    assert noise_of(np.zeros((1, 2, 2))) == 0.0
    assert np.isfinite(statistics_of(small_view(np.zeros((1, 9, 9)))).values).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("shape", [(1, 31, 40), (1, 32, 41), (1, 9, 20, 21)])
def test_the_noise_of_whole_numbers_is_that_of_the_same_numbers_with_a_point(kind: type, shape: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape).astype(kind)
    for image in (whole, whole // 50):
        assert noise_of(image) == pytest.approx(noise_of(image.astype(np.float32)), rel=1e-6) and noise_of(image) > 0


def test_the_levels_of_the_plain_view_are_those_that_would_be_measured() -> None:
    view = small_view(scene())
    grey = view.mean(0)
    plain = (grey - grey.mean()) / grey.std()
    assert part(scene(), "shape") == pytest.approx(np.percentile(plain, (1, 5, 25, 50, 75, 95, 99)), abs=1e-5)
