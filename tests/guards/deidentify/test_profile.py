"""Every row of PS3.15 Table E.1-1 on headers that are generated from it."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pydicom
import pytest
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from vesalius.errors import OptionError
from vesalius.guards.canary import _in_bytes, _needles
from vesalius.guards.deidentify import Key, Options, deidentified
from vesalius.guards.deidentify.profile import CHOSEN, action_of, private_of, profile, safe_private
from vesalius.guards.deidentify.values import DUMMIES

NAME, NUMBER, DAY, UID = "Zwickelbart", "QX7731942", "19470823", "1.2.826.0.1.3680043.77.31942"
CANARIES = (NAME, NUMBER, DAY, UID)
KEY = Key(bytes(range(32)))
BYTES = NAME.encode() + b"1"
VALUES: dict[str, Any] = {
    "DA": DAY, "DT": f"{DAY}101500", "TM": "101500", "UI": UID, "PN": f"{NAME}^Anna", "AS": "045Y", "DS": "7731942", "IS": "7731942",
    **dict.fromkeys(("US", "UL", "SS", "SL"), 42), **dict.fromkeys(("FL", "FD"), 4.5), **dict.fromkeys(("OB", "OW", "OF", "UN"), BYTES), "AT": 0x00100010,
    "AE": NUMBER, "CS": NUMBER, "SH": NUMBER, "UR": f"http://h/{NUMBER}", "LO": f"{NAME} {NUMBER}", "LT": f"by {NAME} on {DAY}", "ST": f"{NAME}, {NUMBER}",
    "UT": f"{NAME} {DAY}", "UC": f"{NAME} {NUMBER}",
}


def tag_of(row: str) -> Tag:  # type: ignore[valid-type]
    return Tag(int(row.replace("50XXXXXX", "50020010").replace("60XX", "6002"), 16))


def vr_of(row: str) -> str:
    try:
        return dictionary_VR(tag_of(row))[:2].replace("OX", "OB")
    except KeyError:  # newer than the parser's dictionary
        return "LO"


def element(row: str) -> DataElement:
    vr = vr_of(row)
    if vr != "SQ":
        return DataElement(tag_of(row), vr, VALUES[vr])
    inner = Dataset()
    inner.PatientName, inner.ReferencedSOPInstanceUID, inner.CodeMeaning = f"{NAME}^Anna", UID, f"seen by {NAME}"
    return DataElement(tag_of(row), "SQ", Sequence([inner]))


ROWS = [row for row in profile() if int(row[:4].replace("XX", "02"), 16) not in (0x0000, 0x0002)]


def full(nested: bool = False) -> Dataset:
    item = Dataset()
    item.SOPClassUID, item.SpecificCharacterSet = "1.2.840.10008.5.1.4.1.1.2", "ISO_IR 100"
    held = Dataset() if nested else item
    for row in ROWS:
        held.add(element(row))
    if nested:
        item.add(DataElement(0x00089215, "SQ", Sequence([held])))  # Derivation Code Sequence: not in the table
    item.PatientName, item.PatientID, item.PatientBirthDate, item.SOPInstanceUID = f"{NAME}^Anna", NUMBER, DAY, UID
    item.file_meta = pydicom.dataset.FileMetaDataset()
    item.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return item


def written(item: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, item, enforce_file_format=True)
    return buffer.getvalue()


def hits(item: Dataset, canaries: tuple[str, ...] = CANARIES) -> list[tuple[str, str]]:
    return list(_in_bytes(written(item), _needles(canaries), "", 0))


@pytest.fixture(scope="module")
def basic() -> Dataset:
    return deidentified(full(), Options(clean=frozenset()), KEY).item


def test_the_table_is_whole() -> None:
    rows = profile()
    assert len(rows) == 656
    assert {row["basic"] for row in rows.values()} == {"D", "Z", "X", "U", *CHOSEN}
    counts = {name: sum(1 for row in rows.values() if name in row) for name in ("uids", "device", "institution", "patient", "full", "modified", "descriptors",
                                                                                "structured", "graphics")}
    assert counts == {"uids": 60, "device": 59, "institution": 10, "patient": 19, "full": 169, "modified": 169, "descriptors": 141, "structured": 4,
                      "graphics": 4}
    text = "\n".join(f"{tag} {sorted(row.items())}" for tag, row in sorted(rows.items()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "52f1f1d3cf32dd3a"  # as it was compared with edition 2026d
    assert {vr_of(row) for row in ROWS} >= {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "OB", "PN", "SH", "SQ", "ST", "TM", "UC", "UI", "UR", "UT"}


@pytest.fixture(scope="module")
def nested() -> Dataset:
    """What is left of every row two sequences down."""
    whole, between = full(True), Dataset()
    between.add(whole[0x00089215])
    del whole[0x00089215]
    whole.add(DataElement(0x00089215, "SQ", Sequence([between])))
    inner: Dataset = deidentified(whole, Options(clean=frozenset()), KEY).item[0x00089215].value[0][0x00089215].value[0]
    return inner


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("depth", ["basic", "nested"])
def test_the_basic_profile_does_what_the_table_says(depth: str, row: str, request: pytest.FixtureRequest) -> None:
    basic: Dataset = request.getfixturevalue(depth)
    action, tag = profile()[row]["basic"], tag_of(row)
    before, after = element(row), basic.get_item(tag)
    if row in ("00120062", "00120063", "00120064", "00280303"):
        return  # set to what was done
    if action == "X":
        assert after is None
        return
    value = basic[tag].value
    assert value != before.value
    if action in ("Z", "X/Z"):
        assert value in (None, "", b"", []) or str(value).startswith("VES") or len(value) == 0
    elif action in ("D", "Z/D", "X/D", "X/Z/D"):
        assert value not in (None, "", b"") and (before.VR != "SQ" or len(value) == 1)
    elif before.VR == "UI":
        assert value == KEY.uid(UID)
    else:
        assert value[0].ReferencedSOPInstanceUID == KEY.uid(UID) and NAME not in str(value)


@pytest.mark.parametrize("group", [*range(0x5000, 0x5020, 2), *range(0x6000, 0x6020, 2)], ids=hex)
def test_curves_and_overlays_of_every_group_go(group: int) -> None:
    def made(options: Options) -> Dataset:
        item = Dataset()
        item.SOPClassUID, item.SOPInstanceUID, item.PatientID, item.PatientName = "1.2.840.10008.5.1.4.1.1.2", UID, NUMBER, f"{NAME}^Anna"
        item.add_new(group << 16 | 0x3000, "OW", BYTES + b"2" if group < 0x6000 else bytes(8))  # bitmaps are cleaned with the pixels
        item.add_new(group << 16 | (0x2500 if group < 0x6000 else 0x4000), "LO" if group < 0x6000 else "LT", f"{NAME} seen")
        held = Dataset()
        held.update(item)
        item.add(DataElement(0x00089215, "SQ", Sequence([held])))
        return deidentified(item, options, KEY).item

    places = {element.tag.group for element in made(Options(clean=frozenset())).iterall()}
    assert group not in places
    cleaned = made(Options(clean=frozenset({"graphics"})))
    assert NAME not in str(cleaned) and group in {element.tag.group for element in cleaned.iterall()}


def test_private_attributes_go_at_every_depth_but_for_those_known_to_be_safe() -> None:
    def block(creator: str, last: int) -> Dataset:
        item = Dataset()
        held = item.private_block(0x0019, creator, create=True)
        held.add_new(last, "LO", f"{NAME} {NUMBER}")
        return item

    def made(options: Options) -> list[str]:
        item = full()
        item.update(block("ACME 1.1", 0x0C))
        item.add(DataElement(0x00089215, "SQ", Sequence([block("SIEMENS MR HEADER", 0x0C), block("ACME 1.1", 0x0C), block("SIEMENS MR HEADER", 0x77)])))
        left = deidentified(item, options, KEY).item
        return [str(element.value) for element in left.iterall() if element.tag.is_private]

    assert made(Options()) == []
    assert made(Options(keep=frozenset({"private"}))) == ["SIEMENS MR HEADER", "[removed]"]
    own = Options(private={"ACME 1.1": frozenset({(0x0019, 0x0C)})})
    assert made(own) == ["ACME 1.1", "[removed]"] * 2


def test_no_canary_is_left_by_the_basic_profile(basic: Dataset) -> None:
    assert hits(full()) and hits(full(True))
    assert hits(basic) == []
    assert hits(deidentified(full(True), Options(clean=frozenset()), KEY).item) == []


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (Options("shift"), ()), (Options(clean=frozenset({"descriptors", "structured", "graphics", "pixels"})), ()),
        (Options("keep"), (DAY,)), (Options(keep=frozenset({"uids"})), (UID,)), (Options(keep=frozenset({"patient"})), ()),
        (Options("shift", frozenset({"private"}), frozenset({"descriptors", "structured"})), ()),
    ],
    ids=["shift", "clean-all", "keep-dates", "keep-uids", "keep-patient", "private"],
)
def test_options_leave_nothing_else(options: Options, left: tuple[str, ...]) -> None:
    source = full()
    for row in ("00340007", "04000310", "60XX3000"):  # bytes: time stamps that are kept, a bitmap
        source[tag_of(row)].value = bytes(8)
    item = deidentified(source, options, KEY).item
    assert {word for word, _ in hits(item)} <= set(left)
    assert [code.CodeValue for code in item.DeidentificationMethodCodeSequence] == [value for value, _ in options.codes]


@pytest.mark.parametrize(("column", "options"), [
    ("device", Options(keep=frozenset({"device"}))), ("institution", Options(keep=frozenset({"institution"}))), ("uids", Options(keep=frozenset({"uids"}))),
    ("patient", Options(keep=frozenset({"patient"}))), ("full", Options("keep")),
])
def test_what_an_option_keeps_is_kept(column: str, options: Options) -> None:
    source, item = full(), deidentified(full(), options, KEY).item
    kept = [row for row in ROWS if profile()[row].get(column) == "K" and vr_of(row) not in ("SQ", "PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE")]
    assert kept or column == "institution"
    for row in kept:
        assert item[tag_of(row)].value == source[tag_of(row)].value, row
    texts = [row for row in ROWS if profile()[row].get(column) == "K" and vr_of(row) in ("LO", "SH")]
    for row in texts:  # kept, without the words that name the patient
        assert item.get_item(tag_of(row)) is not None and NAME not in str(item[tag_of(row)].value)


def test_actions_and_precedence() -> None:
    assert action_of(0x00100010, ()) == "Z" and action_of(0x00080080, ("institution",)) == "K" and action_of(0x00080080, ()) == "D"
    assert action_of(0x50040010, ()) == "X" and action_of(0x60123000, ("graphics",)) == "C"
    assert action_of(0x00102110, ("patient", "descriptors")) == "C"
    assert action_of(0x00280010, ()) is None


def test_safe_private_attributes() -> None:
    held = safe_private()
    assert sum(map(len, held.values())) == 317
    assert (0x7053, 0x09) in held["Philips PET Private Group"] and (0x0019, 0x0C) in held["SIEMENS MR HEADER"]
    for text in ("not toml [", '["A"]\n0018 = "0c"', '["A"]\n0019 = "zz"', 'A = 1'):
        with pytest.raises(OptionError, match="list of private attributes"):
            private_of(text)


@pytest.mark.parametrize("what", [{"dates": "shft"}, {"keep": frozenset({"devices"})}, {"clean": frozenset({"pixel"})}])
def test_unknown_options_are_told(what: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="expected '(shift|device|pixels)'"):
        Options(**what)


def test_there_is_a_dummy_of_every_vr() -> None:
    assert set(DUMMIES) == {vr for vr in pydicom.valuerep.VR.__members__ if len(vr) == 2} - {"SQ"}
