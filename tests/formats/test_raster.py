from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from making import noise, png, source
from PIL import Image, ImageFile

from vesalius.errors import FormatError
from vesalius.formats import header, open_study


def test_grey_png_is_one_channel_of_8_bits(tmp_path: Path) -> None:
    array = noise(6, 8)
    study = open_study(source(png(tmp_path / "a.png", array)))
    assert study.image.dtype == np.uint8
    assert study.bits == 8
    np.testing.assert_array_equal(study.image, array[None])
    assert not study.grid.spacing_known


def test_16_bit_grey_png_keeps_every_value(tmp_path: Path) -> None:
    array = noise(6, 8, high=2**16, kind=np.uint16)
    study = open_study(source(png(tmp_path / "a.png", array)))
    assert study.image.dtype == np.uint16
    assert study.bits == 16
    np.testing.assert_array_equal(study.image[0], array)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_is_not_cut_to_8_bits(tmp_path: Path, channels: int) -> None:
    array = noise(6, 8, channels, high=2**16, kind=np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(array))
    study = open_study(source(path))
    np.testing.assert_array_equal(study.image, np.moveaxis(array[..., :3], -1, 0))
    assert header(source(path)) == {"shape": (6, 8), "channels": 3, "bits": 16, "modality": None}


def test_alpha_is_dropped_and_said(tmp_path: Path) -> None:
    array = noise(6, 8, 4)
    study = open_study(source(png(tmp_path / "a.png", array)))
    np.testing.assert_array_equal(study.image, np.moveaxis(array[..., :3], -1, 0))
    assert study.meta["notes"] == ("transparency was dropped",)


def test_palette_is_looked_up(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    study = open_study(source(tmp_path / "a.png"))
    assert study.image[:, 0, 0].tolist() == [255, 0, 0]
    assert study.image[:, 1, 0].tolist() == [0, 0, 255]


def test_bilevel_is_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert open_study(source(tmp_path / "a.png")).image.tolist() == [[[0, 255]]]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(8, 16)).save(tmp_path / "a.jpg", exif=exif)
    study = open_study(source(tmp_path / "a.jpg"))
    assert study.grid.shape == (16, 8)
    assert "EXIF" in study.meta["notes"][0]


def test_gif_of_several_frames_is_a_stack(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 5), v, np.uint8)) for v in (10, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    study = open_study(source(tmp_path / "a.gif"))
    assert study.image.shape == (1, 3, 4, 5)
    assert study.image[0, :, 0, 0].tolist() == [10, 100, 200]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.int16])
def test_tiff_keeps_its_numbers(tmp_path: Path, kind: type) -> None:
    array = noise(6, 8, high=250).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", array, compression="zlib")
    study = open_study(source(tmp_path / "a.tif"))
    assert study.image.dtype == kind
    np.testing.assert_array_equal(study.image[0], array)
    assert header(source(tmp_path / "a.tif"))["bits"] == study.bits == np.dtype(kind).itemsize * 8


def test_tiff_pages_are_a_stack(tmp_path: Path) -> None:
    array = noise(3, 6, 8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    study = open_study(source(tmp_path / "a.tif"))
    np.testing.assert_array_equal(study.image, array[None])
    assert header(source(tmp_path / "a.tif"))["shape"] == (3, 6, 8)


def test_tiff_white_is_zero_is_turned(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 255]], np.uint8), photometric="miniswhite")
    assert open_study(source(tmp_path / "a.tif")).image.tolist() == [[[255, 0]]]


def test_colour_tiff(tmp_path: Path) -> None:
    array = noise(6, 8, 3)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig="contig")
    np.testing.assert_array_equal(open_study(source(tmp_path / "a.tif")).image, np.moveaxis(array, -1, 0))
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(array, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(open_study(source(tmp_path / "b.tif")).image, np.moveaxis(array, -1, 0))


def test_tiff_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(noise(6, 8))
        writer.write(noise(3, 4))
    with pytest.raises(FormatError, match="several sizes.*expected pages of one size"):
        open_study(source(tmp_path / "a.tif"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_truncation_is_seen(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(FormatError, match="truncated or damaged|cannot be read"):
        open_study(source(path))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesalius.formats.base.MAX_SAMPLES", 40)
    with pytest.raises(FormatError, match="too large to decode.*at most 40 samples, got 48"):
        open_study(source(png(tmp_path / "a.png")))


def test_text_called_png_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(FormatError, match=r"not what its name says.*got text"):
        open_study(source(tmp_path / "a.png"))


def test_jpeg_called_png_is_read_and_tiff_called_png_is_named(tmp_path: Path) -> None:
    Image.fromarray(noise(16, 16)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    assert open_study(source(tmp_path / "a.png")).grid.shape == (16, 16)
    np.save(tmp_path / "b.npy", noise(4, 4))
    (tmp_path / "b.npy").rename(tmp_path / "b.png")
    with pytest.raises(FormatError, match="not what its name says.*got npy"):
        open_study(source(tmp_path / "b.png"))


def test_empty_and_absent_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(FormatError, match="the file is empty .*a.png.*0 bytes"):
        open_study(source(tmp_path / "a.png"))
    with pytest.raises(FormatError, match="there is no such file"):
        open_study(source(tmp_path / "none.png"))


@pytest.mark.realdata
def test_real_radiographs(shared_data: Path) -> None:
    for path in sorted((shared_data / "cxr_samples").glob("*.png")):
        study = open_study(source(path))
        assert study.image.shape == (1, 512, 512)
        assert study.image.std() > 20


def test_a_chunk_is_as_long_as_it_states(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    place = data.index(b"IDAT") - 4
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="truncated or damaged.*2,147,483,647 bytes of a chunk"):
        open_study(source(path))
