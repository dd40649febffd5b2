"""Near duplicates: what was planted is found, what was not planted is not reported."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate, zoom

from vesalius.errors import DataError
from vesalius.kernels import fingerprint as fp
from vesalius.kernels.fingerprint import Pair


def film(seed: int, size: int = 160) -> np.ndarray:
    """A picture that shares its shading with all others and has its own detail, ``[1, Y, X]`` uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    shading = 120 + 60 * np.cos(6 * x) * np.cos(3 * y)
    detail = gaussian_filter(rng.normal(size=(size, size)), size / 25)
    return np.clip(shading + 25 * detail / detail.std(), 0, 255).astype(np.uint8)[None]


def jpeg(image: np.ndarray) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(image[0]).save(held, "JPEG", quality=70)
    return np.asarray(Image.open(held))[None]


def times(image: np.ndarray, gain: float) -> np.ndarray:
    return np.clip(image * gain, 0, 255).astype(np.uint8)


CHANGES = {
    "re-encoded": jpeg,
    "brighter": lambda image: times(image, 1.2),
    "darker": lambda image: times(image, 0.8),
    "contrast": lambda image: times((image - image.mean()) * 0.8 / 1 + image.mean(), 1),
    "cropped": lambda image: image[:, 8:, :-8],
    "mirrored": lambda image: image[:, :, ::-1],
    "upside down": lambda image: image[:, ::-1],
    "rotated": lambda image: rotate(image, 1.0, (1, 2), reshape=False, order=1, cval=0),
    "smaller": lambda image: zoom(image, (1, 0.5, 0.5), order=1),
    "16 bit": lambda image: image.astype(np.uint16) * 200 + 1000,
    "all at once": lambda image: jpeg(times(image[:, :-8, 8:][:, :, ::-1].copy(), 1.1)),
}


@pytest.fixture(scope="module")
def strangers() -> np.ndarray:
    return np.stack([fp.fingerprint(film(seed)) for seed in range(150)])


@pytest.mark.parametrize("name", CHANGES)
def test_each_planted_change_is_found_and_nothing_else(strangers: np.ndarray, name: str) -> None:
    copies = np.stack([fp.fingerprint(CHANGES[name](film(seed))) for seed in range(8)])
    pairs = fp.near_pairs(np.concatenate([strangers, copies]))
    assert {(pair.a, pair.b) for pair in pairs} == {(i, 150 + i) for i in range(8)}
    assert all(fp.NEAR <= pair.score <= 1 + 1e-6 for pair in pairs)


def test_strangers_are_no_pairs_though_their_shading_agrees(strangers: np.ndarray) -> None:
    assert np.corrcoef(strangers[0].ravel(), strangers[1].ravel())[0, 1] > 0.5
    assert fp.near_pairs(strangers) == []


def test_how_says_what_was_done(strangers: np.ndarray) -> None:
    made = [CHANGES[name](film(3)) for name in ("re-encoded", "mirrored", "cropped")]
    pairs = fp.near_pairs(np.concatenate([strangers, [fp.fingerprint(image) for image in made]]))
    how = {pair.b: pair.how for pair in pairs if pair.a == 3}
    assert how == {150: "re-encoded", 151: "mirrored", 152: "cropped or resized"}


def test_two_images_alone_and_none() -> None:
    one = fp.fingerprint(film(0))
    other = fp.fingerprint(film(1))
    assert len(fp.near_pairs(np.stack([one, fp.fingerprint(jpeg(film(0)))]))) == 1
    assert fp.near_pairs(np.stack([one, other])) == []
    assert fp.near_pairs(one[None]) == [] and fp.near_pairs(np.zeros((0, 1, 48, 48), np.uint8)) == []


def test_constant_images_match_nothing_and_numbers_that_are_not_numbers_are_survived() -> None:
    flat = fp.fingerprint(np.full((1, 30, 40), 7.3))
    assert not flat.any() and flat.shape == (1, 48, 48) and flat.dtype == np.uint8
    assert fp.near_pairs(np.stack([flat, flat])) == []
    holes = film(0).astype(np.float32)
    holes[0, :10, :10] = np.nan
    assert fp.fingerprint(holes).any()
    assert not fp.fingerprint(np.full((1, 8, 8), np.nan)).any()


def test_gain_and_offset_and_channels_leave_no_trace() -> None:
    image = film(0).astype(float)
    assert np.abs(fp.fingerprint(image).astype(int) - fp.fingerprint(3 * image - 1000)).max() <= 1
    assert np.array_equal(fp.fingerprint(image), fp.fingerprint(np.repeat(image, 3, 0)))


def test_volumes_have_three_planes_and_are_found_again() -> None:
    volumes = [gaussian_filter(np.random.default_rng(seed).normal(size=(20, 64, 64)), 4)[None] for seed in range(12)]
    turned = rotate(volumes[8], 1.0, (2, 3), reshape=False, order=1)
    copies = [volumes[5] * 2 + 1, volumes[6][..., ::-1], volumes[7][:, ::-1], turned, volumes[9][:, 1:, 3:, 2:], volumes[10][:, :, ::-1]]
    prints = np.stack([fp.fingerprint(volume) for volume in [*volumes, *copies]])
    assert prints.shape == (18, 3, 48, 48)
    assert {(pair.a, pair.b) for pair in fp.near_pairs(prints)} == {(5 + k, 12 + k) for k in range(6)}


@pytest.mark.parametrize("shape", [(4, 4), (1, 0, 4), (1, 1, 1, 1, 1)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="no fingerprint can be taken: expected .*got shape"):
        fp.fingerprint(np.zeros(shape))


def test_progress_counts_to_the_end(strangers: np.ndarray) -> None:
    seen: list[tuple[int, int, str]] = []
    fp.near_pairs(strangers, progress=lambda done, total, what: seen.append((done, total, what)))
    assert seen[-1] == (150, 150, "near duplicates")


def test_clusters_are_components_numbered_by_first_member() -> None:
    pairs = [Pair(4, 5, 0.99, ""), Pair(1, 3, 0.96, ""), Pair(3, 6, 0.97, "")]
    assert fp.cluster(8, pairs).tolist() == [-1, 0, -1, 0, 1, 1, 0, -1]
    assert fp.cluster(3, []).tolist() == [-1, -1, -1]


def test_a_chain_of_look_alikes_is_cut_and_a_true_crowd_is_not() -> None:
    chain = [Pair(i, i + 1, 0.955, "") for i in range(80)] + [Pair(0, 1, 0.999, "")]
    assert (fp.cluster(81, chain) >= 0).sum() == 2
    crowd = [Pair(0, i, 1.0, "") for i in range(1, 81)]
    assert (fp.cluster(81, crowd) == 0).all()


def test_a_round_field_of_view_is_no_likeness() -> None:
    y, x = np.mgrid[0:160, 0:160] - 79.5
    disc = np.hypot(y, x) < 74
    views = [np.where(disc, np.clip(film(seed)[0] / 4.0 + 150, 0, 255), 3).astype(np.uint8)[None] for seed in range(30)]
    prints = np.stack([fp.fingerprint(view) for view in [*views, jpeg(views[7]), times(views[8], 0.8)]])
    assert np.corrcoef(prints[0].ravel(), prints[1].ravel())[0, 1] > 0.95
    assert {(pair.a, pair.b) for pair in fp.near_pairs(prints)} == {(7, 30), (8, 31)}


def halved(image: np.ndarray) -> np.ndarray:
    size = int(image.shape[1] * 0.6)
    return np.asarray(Image.fromarray(image[0]).resize((size, size), Image.Resampling.BICUBIC))[None]


@pytest.mark.realdata
def test_films_of_28_pixels_made_smaller_are_found_again(shared_data: Path) -> None:
    with np.load(shared_data / "pneumoniamnist" / "pneumoniamnist.npz") as held:
        images = np.unique(held["test_images"], axis=0)[:, None]
    copies = [halved(image) for image in images[:100]]
    pairs = fp.near_pairs(np.stack([fp.fingerprint(image) for image in [*images, *copies]]))
    assert len({pair.a for pair in pairs if pair.b == pair.a + len(images)}) >= 93
    assert all(pair.b % len(images) == pair.a for pair in pairs)


@pytest.mark.realdata
def test_fundus_photographs_of_forty_eyes_are_no_twins(shared_data: Path) -> None:
    files = sorted((shared_data / "drive").glob("*/images/*"))
    assert len(files) == 40
    prints = np.stack([fp.fingerprint(np.asarray(Image.open(path).convert("L"))[None]) for path in files])
    assert fp.near_pairs(prints) == []


@pytest.mark.realdata
def test_the_images_that_pneumoniamnist_shares_between_its_parts_are_found_and_no_look_alikes(shared_data: Path) -> None:
    with np.load(shared_data / "pneumoniamnist" / "pneumoniamnist.npz") as held:
        images = np.concatenate([held["train_images"], held["val_images"]])
        n = len(held["train_images"])
    pairs = fp.near_pairs(np.stack([fp.fingerprint(image[None]) for image in images]))
    assert all(np.array_equal(images[pair.a], images[pair.b]) for pair in pairs)
    assert len({pair.b for pair in pairs if pair.a < n <= pair.b}) == 8


def small(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image[0]).resize((17, 17), Image.Resampling.BICUBIC))[None]


def test_what_agrees_only_when_blurred_must_stand_out() -> None:
    base = [film(seed, 28) for seed in range(40)]
    found = fp.near_pairs(np.stack([fp.fingerprint(image) for image in [*base, *(small(image) for image in base[:10])]]))
    assert {(pair.a, pair.b) for pair in found} == {(i, 40 + i) for i in range(10)}
    ends = np.array([(0, 1, 0), (0, 2, 0), (3, 4, 0), (5, 6, 0), (5, 7, 0), (6, 7, 0)])
    laid = fp.Overlay(np.array([0.96, 0.95, 0.97, 0.965, 0.96, 0.99]), *np.zeros((3, 6)), np.array([True, True, True, True, True, False]))
    # 0 resembles 1 and 2 alike; 3 and 4 have no rival; 6 and 7 are one picture and no rivals of each other
    assert fp._outstanding(ends, laid, 0.95, 8).tolist() == [False, False, True, True, True, True]
