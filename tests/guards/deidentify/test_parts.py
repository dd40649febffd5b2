from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

from vesalius.errors import FormatError, OptionError
from vesalius.guards.deidentify.burned import blank, text_boxes
from vesalius.guards.deidentify.key import Key
from vesalius.guards.deidentify.pictures import PNG, stripped, stripped_jpeg, stripped_nifti
from vesalius.guards.deidentify.pixels import clean_overlays
from vesalius.guards.deidentify.profile import private_file
from vesalius.guards.deidentify.values import moved
from vesalius.guards.deidentify.words import words_of


def ground(kind: str, shape: tuple[int, int] = (300, 400)) -> np.ndarray:
    if kind == "black":
        return np.zeros(shape, np.uint8)
    rows, columns = (axis / n for axis, n in zip(np.mgrid[: shape[0], : shape[1]], shape, strict=True))
    blob = 120 * np.exp(-(((columns - 0.5) / 0.3) ** 2 + ((rows - 0.5) / 0.35) ** 2) ** 3)
    return (blob + np.random.default_rng(0).normal(20, 5, shape)).clip(0, 255).astype(np.uint8)


def text(image: np.ndarray, words: str, at: tuple[int, int], size: int, value: int = 255) -> np.ndarray:
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(at, words, fill=value, font=ImageFont.load_default(size))
    return np.asarray(picture)


@pytest.mark.parametrize("kind", ["black", "body"])
@pytest.mark.parametrize("size", [12, 16, 24])
@pytest.mark.parametrize("value", [255, 200])
@pytest.mark.parametrize("words", ["DOE^JANE", "12.03.1961", "ID 7731942"])
def test_text_at_the_borders_is_found(kind: str, size: int, value: int, words: str) -> None:
    plain = ground(kind)
    image = text(plain, words, (9, 270), size, value)
    drawn, covered = image != plain, np.zeros(image.shape, bool)
    blank(covered, text_boxes(image), True)
    assert (drawn & ~covered).sum() <= 0.02 * drawn.sum()
    assert covered.mean() < 0.15


def test_text_in_the_middle_in_16_bits_and_in_colour_is_found() -> None:
    deep = ground("body").astype(np.uint16) * 30 + np.random.default_rng(1).integers(0, 30, (300, 400)).astype(np.uint16)
    drawn = text(np.zeros(deep.shape, np.uint8), "JANE DOE 1961", (120, 150), 20) > 200
    deep[drawn] = 3011
    covered = np.zeros(deep.shape, bool)
    blank(covered, text_boxes(deep), True)
    assert covered[drawn].mean() > 0.98
    colour = np.stack([ground("black")] * 3, -1)
    picture = Image.fromarray(colour)
    ImageDraw.Draw(picture).text((10, 10), "DOE JANE", fill=(255, 255, 0), font=ImageFont.load_default(18))
    assert text_boxes(np.asarray(picture))


@pytest.mark.parametrize("value", [190, 5])
@pytest.mark.parametrize("at", [(120, 150), (9, 270), (60, 200)])
def test_soft_text_is_found_anywhere_with_the_words_beside_it(at: tuple[int, int], value: int) -> None:
    rows, columns = np.mgrid[:300, :400] / np.array([300, 400])[:, None, None]
    plain = (90 + 40 * rows * columns + np.random.default_rng(3).normal(0, 4, (300, 400))).clip(0, 255).astype(np.uint8)
    image = text(plain, "L PA  Okafor  F", at, 15, value)
    drawn, covered = image != plain, np.zeros(plain.shape, bool)
    blank(covered, text_boxes(image), True)
    assert (drawn & ~covered).sum() <= 0.02 * drawn.sum() and covered.mean() < 0.1
    assert text_boxes(plain) == []


def test_parts_off_the_line_or_of_many_values_are_no_letters() -> None:
    def marks(rise: int, values: tuple[int, ...]) -> np.ndarray:
        image = np.zeros((200, 300), np.uint8)
        image[100, 100] = 255
        for i, value in enumerate(values):
            top = 8 + i % 3 * rise
            image[top : top + 12, 60 + 12 * i : 63 + 12 * i] = value
            image[top + 5 : top + 8, 60 + 12 * i : 67 + 12 * i] = value
        return image

    assert text_boxes(marks(0, (200, 200, 200, 200, 200, 200)))
    assert text_boxes(marks(3, (200, 200, 200, 200, 200, 200))) == []
    assert text_boxes(marks(0, (120, 200, 150, 245, 100, 180))) == []


def test_values_of_32_bits_take_no_table_of_all_values() -> None:
    image = np.random.default_rng(0).integers(0, 2**32 - 1, (40, 60), dtype=np.uint32)
    image[0, :2] = 0, 2**32 - 1
    assert text_boxes(image) == []


def test_anatomy_is_no_text() -> None:
    assert text_boxes(ground("body")) == [] and text_boxes(np.zeros((40, 40), np.uint8)) == []
    assert text_boxes(np.random.default_rng(0).integers(0, 4096, (256, 256)).astype(np.uint16)) == []


@pytest.mark.realdata
def test_real_slices_have_no_text(shared_data: Path) -> None:
    from vesalius.core.cohort import Source
    from vesalius.formats import open_study

    paths = sorted((shared_data / "dicom_brain_mr_series").rglob("*.dcm"))[::2]
    assert len(paths) > 20
    assert [path.name for path in paths if text_boxes(open_study(Source("dicom", str(path))).image[0])] == []


def test_overlays_are_cleaned_of_text() -> None:
    plane = text(np.zeros((64, 200), np.uint8), "DOE JANE 1961", (6, 10), 24) > 127
    plane[58:60, 20:180] = True
    item = Dataset()
    item.add_new(0x60000010, "US", 64)
    item.add_new(0x60000011, "US", 200)
    item.add_new(0x60003000, "OW", np.packbits(plane.ravel(), bitorder="little").tobytes())
    assert clean_overlays(item) >= 1
    left = np.unpackbits(np.frombuffer(item[0x60003000].value, np.uint8), bitorder="little").reshape(64, 200)
    assert left[:45].sum() == 0 and left[58:60, 20:180].all()


def test_pseudonyms_depend_on_the_key_alone(tmp_path: Path) -> None:
    one, two = Key(bytes(32)), Key(bytes(31) + b"\1")
    assert one.uid("1.2.3") != two.uid("1.2.3") and one.name("patient", "x") != two.name("patient", "x") != two.name("study", "x")
    assert all(1 <= one.days(str(k)) <= 3650 for k in range(50)) and len({one.days(str(k)) for k in range(50)}) > 40
    assert len(one.uid("1.2.3")) <= 64 and one.uid("1.2.3").startswith("2.25.")
    new = Key.new()
    new.save(tmp_path / "k")
    assert Key.load(tmp_path / "k") == new and new.secret.hex() not in repr(new)
    with pytest.raises(OptionError, match="key cannot be read.*64 hexadecimal"):
        Key.load(tmp_path / "none")


def test_words_of_a_data_set() -> None:
    item, inner = Dataset(), Dataset()
    item.PatientName, item.PatientID, item.PatientBirthDate = "Müller^Anna Lena", "77319", "19610312"
    inner.PersonName = "王^小明"
    item.ContentSequence = [inner]
    words = words_of(item)
    assert words.out_of("Anna Müller, born 12.03.1961, ID 77319, annular") == "[removed] [removed], born [removed], ID [removed], annular"
    assert words.out_of("患者王小明") == "患者[removed]"
    assert words.out_of("call 044 123 45 67 or Dr. House on 2020-02-03", thorough=True) == "call [removed] or [removed] on [removed]"
    assert words.out_of("8 mm, 3 of 12", thorough=True) == "8 mm, 3 of 12"
    assert words_of(Dataset()).out_of("as it is") == "as it is"


def test_dates_move_together() -> None:
    item = Dataset()
    item.StudyDate, item.AcquisitionDateTime, item.StudyTime = "20240229", "20240229101500.25+0100", "101500"
    item.DateOfSecondaryCapture = ""
    assert moved(item["StudyDate"], 31) == "20240129" and moved(item["AcquisitionDateTime"], 31) == "20240129101500.25+0100"
    assert moved(item["StudyTime"], 31) == "101500" and moved(item["DateOfSecondaryCapture"], 31) == ""


def test_a_list_of_private_attributes_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('["ACME 1.1"]\n0019 = "0C"\n')
    assert private_file(tmp_path / "p.toml") == {"ACME 1.1": frozenset({(0x19, 0x0C)})}
    with pytest.raises(OptionError, match="list of private attributes cannot be read"):
        private_file(tmp_path / "none.toml")
    (tmp_path / "p.toml").write_text('["ACME 1.1"]\n0018 = "0C"\n')
    with pytest.raises(OptionError, match="names one that is not private.*group 0018"):
        private_file(tmp_path / "p.toml")


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PNG + png_chunk(b"IHDR", bytes(13))[:-3], "PNG is truncated or damaged"),
        (b"\xff\xd8\xff\xe1\x00\x04ab", "JPEG is truncated or damaged.*a scan"),
        (b"\xff\xd8\xff\xe1\x00\x04abqqqq", "JPEG is truncated or damaged.*a marker"),
        (b"II*\0\xff\xff\xff\x00", "TIFF is truncated or damaged"),
        (b"\x1f\x8b" + bytes(40), "gzip file is truncated or damaged"),
        (b"hello", "expected DICOM, PNG, JPEG, TIFF or NIfTI"),
    ],
)
def test_damaged_pictures_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        stripped(data)


def test_the_colours_of_jpeg_ls_can_still_be_read() -> None:
    colours = b"\xff\xe8\x00\x07mrfx\x01"
    data = b"\xff\xd8" + colours + b"\xff\xe8\x00\x2a" + b"DOE JANE".ljust(40) + b"\xff\xda\x00\x04abxyz\xff\xd9"
    assert stripped_jpeg(data) == b"\xff\xd8" + colours + b"\xff\xda\x00\x04abxyz\xff\xd9"


def test_what_follows_the_end_of_a_picture_goes(tmp_path: Path) -> None:
    Image.fromarray(ground("body")).save(tmp_path / "a.png")
    Image.fromarray(ground("body")).save(tmp_path / "a.jpg")
    for name in ("a.png", "a.jpg"):
        data = (tmp_path / name).read_bytes()
        assert stripped(data + b"DOE JANE") == stripped(data)
    assert b"Exif" not in stripped_jpeg((tmp_path / "a.jpg").read_bytes())


@pytest.mark.parametrize(("order", "size"), [("<", 348), (">", 348), ("<", 540)])
def test_nifti_texts_are_blank_in_both_versions_and_orders(order: str, size: int) -> None:
    head = bytearray(size + 36)
    struct.pack_into(order + "i", head, 0, size)
    struct.pack_into(order + ("f" if size == 348 else "q"), head, 108 if size == 348 else 168, size + 36)
    for place in ((148, 228, 328, 14) if size == 348 else (240, 320, 508)):
        head[place : place + 8] = b"DOE JANE"
    head[size : size + 16] = b"\1\0\0\0" + b"\x20\0\0\0\6\0\0\0DOE "
    out = stripped_nifti(bytes(head) + b"samples!")
    assert b"DOE" not in out and out.endswith(b"samples!") and len(out) == len(head) + 8
