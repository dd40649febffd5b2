from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from making import CT, dicom, noise
from pydicom.data import get_testdata_file

from vesalius.errors import FormatError
from vesalius.formats.dicomguard import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, READING, RECEIVED, cleaned, guard, zero_preamble

IDS = {0x00080016: CT, 0x00080018: "1.2.3.4"}
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
OPEN = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    value += b"\0" * (len(value) % 2)
    size = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, size) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), size) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def short(tag: int, number: int) -> bytes:
    return element(tag, "US", struct.pack("<H", number))


def identity(sop: str = "1.2.3.4") -> bytes:
    return element(0x00080016, "UI", CT.encode()) + element(0x00080018, "UI", sop.encode())


def image(rows: int, columns: int, pixels: bytes, frames: int = 1, bits: int = 8) -> bytes:
    size = short(0x00280002, 1) + element(0x00280008, "IS", str(frames).encode()) + short(0x00280010, rows) + short(0x00280011, columns)
    return identity() + size + short(0x00280100, bits) + pixels


def file(body: bytes, syntax: str = EXPLICIT, preamble: bytes = bytes(128)) -> bytes:
    return preamble + b"DICM" + element(0x00020010, "UI", syntax.encode()) + body


def refused(data: bytes, words: str, **options: object) -> None:
    with pytest.raises(FormatError, match=words):
        guard(data, **options)  # type: ignore[arg-type]


def test_facts_of_a_good_file(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", noise(4, 6), StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.8")
    seen = guard(path)
    assert (seen.rows, seen.columns, seen.frames, seen.samples, seen.syntax) == (4, 6, 1, 1, EXPLICIT)
    assert (seen.sop_class, seen.study, seen.series, seen.preamble, seen.faults) == (CT, "1.2.9", "1.2.8", "", ())
    assert seen.sop_instance == pydicom.dcmread(path).SOPInstanceUID
    with path.open("rb") as opened:
        assert guard(opened) == seen
    assert guard(path.read_bytes()) == seen


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_every_encoding_is_walked_alike(tmp_path: Path, syntax: str) -> None:
    item = pydicom.dcmread(dicom(tmp_path / "a.dcm", noise(4, 6, high=4096, kind=np.uint16)))
    inner = pydicom.Dataset()
    inner.PatientID = "x"
    item.OtherPatientIDsSequence = [inner]
    item.set_pixel_data(noise(4, 6), "MONOCHROME2", 8, generate_instance_uid=False)
    item.file_meta.TransferSyntaxUID = syntax
    item["PixelData"].VR = "OB"
    pydicom.dcmwrite(tmp_path / "b.dcm", item, enforce_file_format=True)
    seen = guard(tmp_path / "b.dcm")
    assert (seen.rows, seen.columns, seen.depth, seen.syntax) == (4, 6, 1, syntax)
    assert seen.elements == len(item) + 2


def test_a_bare_data_set_of_an_association() -> None:
    assert guard(image(2, 2, element(0x7FE00010, "OW", bytes(4))), syntax=EXPLICIT).rows == 2
    refused(image(2, 2, element(0x7FE00010, "OW", bytes(4), 400)), "truncated or damaged.*400 bytes", syntax=EXPLICIT)


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "1.2.3\\..\\x", "1.2\n3", "C:evil", "1.2..3" + "/"])
def test_no_uid_can_become_a_path(uid: str) -> None:
    for limits in (RECEIVED, READING):
        with pytest.raises(FormatError, match=r"UID is none.*PS3.5 9.1.*\(0008,0018\)") as caught:
            guard(file(identity(uid)), limits)
        assert uid not in str(caught.value)


@pytest.mark.parametrize(("uid", "words"), [("1.02.3", "leading zero"), ("1." + "2" * 70, "72 characters"), ("1.2..3", "empty component")])
def test_uids_are_strict_for_what_is_received(uid: str, words: str) -> None:
    refused(file(identity(uid)), words)
    assert words in guard(file(identity(uid)), READING).faults[0]


def test_a_received_object_names_itself() -> None:
    refused(file(short(0x00280010, 4)), "breaks the standard.*no SOPClassUID; no SOPInstanceUID")


def test_lengths_are_compared_with_the_bytes() -> None:
    refused(file(identity() + element(0x00081030, "LO", b"abc", 500)), r"truncated or damaged.*500 bytes of \(0008,1030\)")
    refused(file(identity() + element(0x00420011, "OB", b"abc", 2**31)), r"2,147,483,648 bytes of \(0042,0011\), got 4")
    inside = element(0x00081155, "UI", b"1.2", 40)
    refused(file(identity() + element(0x00081140, "SQ", item(inside)) + bytes(100)), "reaches out of its sequence")


@pytest.mark.parametrize("close", [b"", ITEM_END, element(0x00081155, "UI", b"1.2")])
def test_open_sequences_must_end(close: bytes) -> None:
    refused(file(identity() + element(0x00081140, "SQ", item(close, OPEN), OPEN)), "truncated or damaged.*the end of")


def test_a_sequence_holds_items() -> None:
    refused(file(identity() + element(0x00081140, "SQ", short(0x00280010, 1) + END, OPEN)), r"sequence is damaged.*FFFE,E000.*\(0028,0010\)")


@pytest.mark.parametrize(("depth", "good"), [(16, True), (17, False), (100_000, False)])
def test_nesting_is_bounded_without_recursion(depth: int, good: bool) -> None:
    body = b"".join([element(0x00081140, "SQ", b"", OPEN) + item(b"", OPEN)] * depth) + (ITEM_END + END) * depth
    if good:
        assert guard(file(identity() + body)).depth == 16
    else:
        refused(file(identity() + body), "nested too deeply.*at most 16")


def test_elements_are_counted() -> None:
    refused(file(identity() + b"".join(short(0x00110000 + k, 1) for k in range(21))), "too many elements.*at most 20", limits=replace(RECEIVED, elements=20))
    items = element(0x00081140, "SQ", item(b"") * 30)
    refused(file(identity() + items), "file has too many elements.*at most 25", limits=replace(RECEIVED, all_elements=25))


def test_private_sequences_of_unknown_vr_are_walked() -> None:
    deep = short(0x00280010, 1)
    for _ in range(30):
        deep = struct.pack("<HHL", 0x0011, 0x1010, len(item(deep))) + item(deep)
    refused(file(identity() + element(0x00111010, "UN", item(deep))), "nested too deeply")
    looks = struct.pack("<HHL", 0xFFFE, 0xE000, 400) + b"not at all a sequence"
    assert guard(file(identity() + element(0x00111010, "UN", looks) + short(0x00280010, 9))).rows == 9


def test_a_vr_is_one_that_the_standard_knows() -> None:
    refused(file(identity() + struct.pack("<HH2sH", 0x0011, 0x1010, b"QQ", 2) + b"ab"), r"VR that the standard does not know in \(0011,1010\)")
    refused(file(identity() + struct.pack("<HH2sH", 0x0018, 0x9087, b"FD", 3) + b"abc"), r"3 bytes of VR FD in \(0018,9087\)")


def test_pixels_have_the_length_of_their_size() -> None:
    refused(file(image(4, 4, element(0x7FE00010, "OW", bytes(8)))), r"truncated or damaged.*1 x 4 x 4 x 1 samples of 8 bits")
    refused(file(image(60000, 60000, element(0x7FE00010, "OW", bytes(8)))), "too large to decode.*3,600,000,000")
    refused(file(image(4, 4, element(0x7FE00010, "OW", bytes(8)), frames=2**30)), "too large to decode")
    assert guard(file(image(4, 4, element(0x7FE00010, "OW", bytes(18))))).rows == 4
    refused(file(identity() + element(0x00280008, "IS", b"x1")), r"size is no number.*how many frames of \(0028,0008\)")


JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")
J2K = b"\xff\x4f\xff\x51" + struct.pack(">HH", 41, 0)


def frames(*fragments: bytes) -> bytes:
    return element(0x7FE00010, "OB", item(b"") + b"".join(item(each + b"\0" * (len(each) % 2)) for each in fragments) + END, OPEN)


def jpeg(rows: int, columns: int) -> bytes:
    return JPEG + b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, rows, columns, 1) + bytes(3)


def j2k(rows: int, columns: int, tile: int) -> bytes:
    return J2K + struct.pack(">8LH", columns, rows, 0, 0, tile, tile, 0, 0, 1) + b"\x07\x01\x01"


@pytest.mark.parametrize(
    ("syntax", "fragment", "words"),
    [
        ("1.2.840.10008.1.2.4.50", jpeg(65500, 65500), "another size.*64 samples of .*got 4,290,250,000"),
        ("1.2.840.10008.1.2.4.50", JPEG + b"\xff\xda\0\0\0\0\0\0\0\0", "scan without a frame header"),
        ("1.2.840.10008.1.2.4.90", j2k(2**31, 2**31, 2**31), "another size"),
        ("1.2.840.10008.1.2.4.90", j2k(8, 8, 0), "without samples"),
        ("1.2.840.10008.1.2.4.90", j2k(2**16, 2**16, 1), "JPEG 2000 tiles"),
        ("1.2.840.10008.1.2.5", bytes(10), "without an RLE header"),
        ("1.2.840.10008.1.2.5", struct.pack("<16L", 4_000_000, *[0] * 15), "4,000,000 RLE segments"),
        ("1.2.840.10008.1.2.5", struct.pack("<16L", 2, 64, 9999, *[0] * 13), "outside of the fragment"),
    ],
)
def test_compressed_frames_are_judged_by_what_they_state(syntax: str, fragment: bytes, words: str) -> None:
    refused(file(image(8, 8, frames(fragment)), syntax), words)
    refused(file(image(8, 8, frames(fragment)), syntax), words, limits=READING)


def test_a_frame_in_several_fragments_is_judged_as_a_whole() -> None:
    whole = jpeg(65500, 65500)
    refused(file(image(8, 8, frames(whole[:12], whole[12:])), "1.2.840.10008.1.2.4.50"), "another size")
    refused(file(image(8, 8, frames(JPEG[:12] + bytes(2**17))), "1.2.840.10008.1.2.4.50"), "damaged")
    good = jpeg(8, 8)
    assert guard(file(image(8, 8, frames(good[:12], good[12:], good)), "1.2.840.10008.1.2.4.50")).rows == 8


def test_fragments_end() -> None:
    refused(file(image(8, 8, element(0x7FE00010, "OB", item(b"") + item(b"abcd"), OPEN)), "1.2.840.10008.1.2.4.50"), "end of the compressed frames")
    refused(file(image(8, 8, element(0x7FE00010, "OB", short(0x00280010, 1) + bytes(8), OPEN)), "1.2.840.10008.1.2.4.50"), "frames are damaged")


@pytest.mark.parametrize(("start", "name"), [(b"MZ\x90", "Windows"), (b"\x7fELF", "Linux"), (b"II*\0", "TIFF"), (b"#!/bin/sh\n", "script"), (b"hello", "own")])
def test_a_preamble_is_reported_and_zeroed(tmp_path: Path, start: bytes, name: str) -> None:
    data = file(identity(), preamble=start.ljust(128, b"\0"))
    assert name in guard(data).preamble
    assert cleaned(data) == file(identity()) and guard(cleaned(data)).preamble == ""
    (tmp_path / "a").write_bytes(data)
    assert zero_preamble(tmp_path / "a") and not zero_preamble(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == file(identity())
    assert cleaned(identity()) == identity()


def test_other_files_are_no_dicom() -> None:
    refused(b"", "not DICOM.*0 bytes")
    refused(b"a table, of things\n1,2\n" * 40, "not DICOM.*DICM prefix")
    refused(file(identity()), "too large", limits=replace(RECEIVED, bytes=10))
    refused(bytes(128) + b"DICM" + element(0x00020010, "UI", b"1.2/3"), r"UID is none.*\(0002,0010\)")
    refused(bytes(128) + b"DICM" + element(0x00020010, "UI", b"abc"), "transfer syntax is no UID")
    refused(bytes(128) + b"DICM" + element(0x00020102, "OB", bytes(70_000)), "meta information is too long")


def test_attributes_of_a_truncated_file_can_be_read_without_its_pixels(tmp_path: Path) -> None:
    data = file(image(8, 8, element(0x7FE00010, "OW", bytes(64))))
    refused(data[:-10], "truncated")
    assert guard(data[:-10], pixels=False).rows == 8
    assert guard(data[:-80], pixels=False).rows in (0, 8)
    refused(file(identity() + element(0x00420011, "OB", b"abc", 2**31)), "2,147,483,648", pixels=False)


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return file(packer.compress(body) + packer.flush(), DEFLATED)


def test_a_deflated_file_may_hold_its_pixels_and_little_more() -> None:
    assert guard(deflated(image(300, 300, element(0x7FE00010, "OW", bytes(90_000))))).rows == 300
    tight = replace(RECEIVED, inflate=100_000)
    assert guard(deflated(image(1000, 1000, element(0x7FE00010, "OW", bytes(1_000_000)))), tight).rows == 1000
    refused(deflated(image(10, 10, element(0x7FE00010, "OW", bytes(1_000_000)))), "pixels are longer than their size", limits=tight)
    refused(deflated(identity() + element(0x00420011, "OB", bytes(1_000_000))), "grows beyond.*100,000 bytes", limits=tight)
    refused(deflated(identity() + element(0x00420011, "OB", b"ab", 5000)), "truncated or damaged")
    refused(file(b"\xff" * 400, DEFLATED), "deflated file is damaged")


BOMB = """
import sys
from pathlib import Path
from vesalius.formats.dicomguard import guard
from vesalius.errors import FormatError
def most():  # ru_maxrss would be that of the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = most()
try:
    guard(sys.argv[1])
except FormatError as error:
    print(error.what, most() - before, sep="|")
"""


@pytest.mark.parametrize("stated", [False, True])
def test_a_deflate_bomb_is_refused_in_little_memory(tmp_path: Path, stated: bool) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = image(100, 100, b"") if stated else identity()
    tag = 0x7FE00010 if stated else 0x00420011
    data = packer.compress(head + element(tag, "OB", b"", 2**30))
    block = bytes(2**20)
    data += b"".join(packer.compress(block) for _ in range(1024)) + packer.flush()
    path = tmp_path / "bomb.dcm"
    path.write_bytes(file(data, DEFLATED))
    assert path.stat().st_size < 1_200_000
    limit = 4 * 2**30  # a net for the test machine; the measure below is the guard's
    run = subprocess.run([sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, timeout=60, check=True,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    what, kilobytes = run.stdout.strip().split("|")
    assert ("pixels are longer" if stated else "grows beyond") in what
    assert int(kilobytes) < 64_000 / 4


def test_shipped_oddities_are_told_precisely() -> None:
    for name, words in (("MR_truncated.dcm", "8,192 bytes"), ("rtplan_truncated.dcm", r"976 bytes of \(300A,00B0\)"), ("badVR.dcm", "frames of"),
                        ("DICOMDIR-nooffset", "reaches out")):
        refused(Path(str(get_testdata_file(name, download=False))).read_bytes(), words, limits=READING)
