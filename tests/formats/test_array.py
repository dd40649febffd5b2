from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from making import noise, source

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import content_hash, find_sources, header, open_study
from vesalius.formats.array import layout_of


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((8, 9), "YX"), ((8, 9, 3), "YXC"), ((3, 8, 9), "CYX"), ((8, 9, 1), "YXC"), ((7, 8, 9), "ZYX"), ((7, 8, 9, 3), "ZYXC"), ((1, 7, 8, 9), "CZYX"),
     ((5, 6, 7, 8), ""), ((4,), "")],
)
def test_axes_of_an_array(shape: tuple[int, ...], axes: str) -> None:
    assert layout_of(shape) == axes


@pytest.mark.parametrize(("shape", "image"), [((8, 9), (1, 8, 9)), ((8, 9, 3), (3, 8, 9)), ((7, 8, 9), (1, 7, 8, 9)), ((7, 8, 9, 3), (3, 7, 8, 9))])
def test_npy(tmp_path: Path, shape: tuple[int, ...], image: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", noise(*shape))
    study = open_study(source(tmp_path / "a.npy"))
    assert study.image.shape == image
    assert header(source(tmp_path / "a.npy")) == {"shape": image[1:], "channels": image[0], "bits": 8, "modality": None}


def test_npz_rows_are_the_rows(tmp_path: Path) -> None:
    images = noise(5, 8, 9)
    np.savez_compressed(tmp_path / "a.npz", train_images=images[:3], test_images=images[3:], train_labels=np.zeros(3))
    sources = find_sources(tmp_path / "a.npz")
    assert [s.member for s in sources] == ["train:0", "train:1", "train:2", "test:0", "test:1"]
    np.testing.assert_array_equal(np.concatenate([open_study(s).image for s in sources]), images)


def test_large_npz_is_streamed_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.formats.array.IN_MEMORY_BYTES", 0)
    images = noise(6, 8, 9, high=2**16, kind=np.uint16)
    np.savez_compressed(tmp_path / "streamed.npz", train_images=images)
    for row in (4, 0, 5, 5, 1):
        np.testing.assert_array_equal(open_study(Source("npz", str(tmp_path / "streamed.npz"), f"train:{row}")).image[0], images[row])


def test_npz_of_one_array_is_one_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", volume=noise(7, 8, 9))
    (only,) = find_sources(tmp_path / "a.npz")
    assert open_study(only).image.shape == (1, 7, 8, 9)


@pytest.mark.parametrize("member", ["train:9", "val:0", "train:x"])
def test_a_member_that_is_not_there(tmp_path: Path, member: str) -> None:
    np.savez(tmp_path / "a.npz", train_images=noise(3, 8, 9), train_labels=np.zeros(3))
    with pytest.raises(FormatError, match="the npz has no such image"):
        open_study(Source("npz", str(tmp_path / "a.npz"), member))


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(FormatError):
        open_study(source(tmp_path / "a.npy"))
    np.savez(tmp_path / "a.npz", train_images=np.array([{"a": 1}], object), other=np.zeros(2))
    with pytest.raises(FormatError, match="pickled objects, which are never loaded"):
        open_study(Source("npz", str(tmp_path / "a.npz"), "train:0"))


def test_an_array_that_is_no_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(5, 6, 7, 8))
    with pytest.raises(FormatError, match="the array is not one image.*shape \\(5, 6, 7, 8\\)"):
        open_study(source(tmp_path / "a.npy"))
    np.save(tmp_path / "b.npy", np.zeros((4, 4), complex))
    with pytest.raises(FormatError, match="the array holds no numbers.*complex"):
        open_study(source(tmp_path / "b.npy"))


def test_truncated_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(64, 64))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:999])
    with pytest.raises(FormatError, match="a.npy"):
        open_study(source(tmp_path / "a.npy"))
    np.savez(tmp_path / "a.npz", train_images=noise(3, 64, 64))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:5000])
    with pytest.raises(FormatError, match="a.npz"):
        open_study(Source("npz", str(tmp_path / "a.npz"), "train:0"))


def test_nan_and_infinity_are_counted(tmp_path: Path) -> None:
    array = noise(6, 8).astype(np.float64)
    array[0, :3] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "a.npy", array)
    study = open_study(source(tmp_path / "a.npy"))
    assert study.image.dtype == np.float32
    assert study.meta["nan"] == 3


def test_integers_keep_their_values(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[-(2**31) + 1, 2**31 - 1]], np.int64))
    assert open_study(source(tmp_path / "a.npy")).image.tolist() == [[[-(2**31) + 1, 2**31 - 1]]]
    np.save(tmp_path / "b.npy", np.array([[True, False]]))
    assert open_study(source(tmp_path / "b.npy")).image.tolist() == [[[1, 0]]]


def test_hash_of_a_row_is_of_its_samples(tmp_path: Path) -> None:
    images = noise(4, 8, 9)
    images[3] = images[0]
    np.savez(tmp_path / "a.npz", train_images=images[:2], test_images=images[2:])
    np.savez_compressed(tmp_path / "b.npz", train_images=images, test_images=images[:1].astype(np.uint16))
    a = [content_hash(s) for s in find_sources(tmp_path / "a.npz")]
    b = [content_hash(s) for s in find_sources(tmp_path / "b.npz")]
    assert a[0] == a[3] == b[0] == b[3]
    assert len({a[0], a[1], a[2], b[4]}) == 4
    assert len(a[0]) == 64


def test_a_zip_is_no_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FormatError, match="not an image that can be read.*no suffix|unknown bytes and the suffix '.bin'"):
        source(tmp_path / "a.bin")
