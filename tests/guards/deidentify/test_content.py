"""Every row of PS3.15 Table E.3.4-1 on content items that are generated from it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from vesalius.guards.deidentify import Key, Options, deidentified
from vesalius.guards.deidentify.content import content_action, content_items

KEY = Key(bytes(range(32)))
DAY, UID, NAME = "20240823", "1.2.826.0.1.3680043.77.5", "Zwickelbart"
ROWS = [(scheme, code, kind, row) for (scheme, code), kinds in content_items().items() for kind, row in kinds.items()]
IDS = [f"{scheme}-{code}-{kind}" for scheme, code, kind, _ in ROWS]


def coded(value: str, scheme: str = "99T") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a meaning"
    return item


def reference() -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", UID
    return item


def measured(number: float) -> Dataset:
    item = Dataset()
    item.NumericValue, item.MeasurementUnitsCodeSequence = number, [coded("a", "UCUM")]
    return item


VALUES: dict[str, tuple[str, Any]] = {
    "TEXT": ("TextValue", f"by {NAME} with a long story"), "PNAME": ("PersonName", f"{NAME}^Anna"), "DATE": ("Date", DAY), "TIME": ("Time", "101500"),
    "DATETIME": ("DateTime", f"{DAY}101500"), "UIDREF": ("UID", UID), "CODE": ("ConceptCodeSequence", [coded("F")]), "NUM": ("MeasuredValueSequence", None),
    **dict.fromkeys(("IMAGE", "COMPOSITE", "WAVEFORM"), ("ReferencedSOPSequence", None)), "CONTAINER": ("ContinuityOfContent", "SEPARATE"),
}


def item_of(scheme: str, code: str, kind: str, number: float = 44.0) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [coded(code, scheme)]
    keyword, value = VALUES[kind]
    setattr(item, keyword, [measured(number)] if kind == "NUM" else [reference()] if keyword == "ReferencedSOPSequence" else value)
    return item


def report(*items: Dataset, place: str = "ContentSequence") -> Dataset:
    """A report whose items lie one container down."""
    whole, inner = Dataset(), Dataset()
    whole.SOPClassUID, whole.SOPInstanceUID, whole.PatientID, whole.PatientName = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3", "Q77319", f"{NAME}^Anna"
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    inner.RelationshipType, inner.ValueType, inner.ConceptNameCodeSequence = "CONTAINS", "CONTAINER", [coded("1")]
    inner.ContentSequence = Sequence(items)
    setattr(whole, place, Sequence([inner] if place == "ContentSequence" else items))
    return whole


def left(options: Options, *items: Dataset) -> list[Dataset]:
    return list(deidentified(report(*items), options, KEY).item.ContentSequence[0].ContentSequence)


def held(item: Dataset, kind: str) -> Any:
    value = item[VALUES[kind][0]].value
    return value[0].ReferencedSOPInstanceUID if VALUES[kind][0] == "ReferencedSOPSequence" else value


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 214 and len(content_items()) == 205
    counts = {name: sum(1 for *_, row in ROWS if name in row) for name in ("uids", "device", "institution", "patient", "full", "modified", "descriptors")}
    assert counts == {"uids": 62, "device": 14, "institution": 7, "patient": 2, "full": 44, "modified": 44, "descriptors": 45}
    text = "\n".join(sorted(f"{scheme} {code} {kind} {sorted(row.items())}" for scheme, code, kind, row in ROWS))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "caed78268f3cfcae"  # as it was compared with edition 2026d


@pytest.mark.parametrize(("scheme", "code", "kind", "row"), ROWS, ids=IDS)
def test_the_basic_profile_with_cleaned_content_does_what_the_table_says(scheme: str, code: str, kind: str, row: dict[str, str]) -> None:
    source = item_of(scheme, code, kind)
    before, made = held(source, kind), left(Options(), source, item_of("99T", "free", "TEXT"))
    assert len(made) == (1 if row["basic"] == "X" else 2)
    assert made[-1].TextValue == "by [removed] with a long story"
    if row["basic"] == "D":
        assert held(made[0], kind) not in (before, None, "")
        assert held(made[0], kind) == KEY.uid(UID) if kind in ("UIDREF", "IMAGE", "COMPOSITE", "WAVEFORM") else True


@pytest.mark.parametrize(("scheme", "code", "kind", "row"), ROWS, ids=IDS)
def test_options_keep_or_clean_what_the_table_says(scheme: str, code: str, kind: str, row: dict[str, str]) -> None:
    for name, action in row.items():
        if name == "basic":
            continue
        options = {"full": Options("keep"), "modified": Options("shift"), "descriptors": Options(clean=frozenset({"structured", "descriptors"}))}.get(
            name, Options(keep=frozenset({name})) if name in ("uids", "device", "institution", "patient") else Options())
        source = item_of(scheme, code, kind)
        before, (made,) = held(source, kind), left(options, source)
        if kind == "TEXT":
            assert made.TextValue == "by [removed] with a long story"
        elif action == "K" and kind in ("UIDREF", "IMAGE", "COMPOSITE", "WAVEFORM"):
            assert held(made, kind) == (before if name == "uids" or kind == "UIDREF" else KEY.uid(UID))
        elif kind == "NUM":
            assert made.MeasuredValueSequence[0].NumericValue == 44
        elif action == "K":
            assert str(held(made, kind)) == str(before)
        else:
            assert held(made, kind) != before or kind == "TIME"


def test_a_subject_beyond_89_has_no_age() -> None:
    options = Options(keep=frozenset({"patient"}))
    assert left(options, item_of("DCM", "121033", "NUM", 91.0)) == [] and len(left(options, item_of("DCM", "121033", "NUM", 89.0))) == 1
    assert len(left(options, item_of("99T", "size", "NUM", 91.0))) == 1


def test_items_that_are_named_by_their_position_keep_it() -> None:
    pointer = Dataset()
    pointer.RelationshipType, pointer.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1, 2]
    named, aged, finding = item_of("DCM", "121022", "TEXT"), item_of("DCM", "121033", "NUM"), item_of("99T", "a", "TEXT")
    made = left(Options(), named, aged, finding, pointer)
    assert len(made) == 4 and made[0].TextValue == "ANONYMIZED" and not made[1].MeasuredValueSequence
    assert made[2].TextValue == "by [removed] with a long story" and list(made[3].ReferencedContentItemIdentifier) == [1, 1, 2]


@pytest.mark.parametrize("place", ["AcquisitionContextSequence", "SpecimenPreparationSequence", "WaveformAnnotationSequence"])
def test_contexts_are_content_too(place: str) -> None:
    made = deidentified(report(item_of("DCM", "121022", "TEXT"), item_of("99T", "a", "TEXT"), place=place), Options(), KEY).item[place].value
    assert [item.TextValue for item in made] == ["by [removed] with a long story"]
    without = deidentified(report(item_of("DCM", "121022", "TEXT"), place=place), Options(clean=frozenset()), KEY).item
    assert NAME not in str(without) and "story" not in str(without)


def test_what_is_not_in_the_table_has_no_action() -> None:
    assert content_action(Dataset(), ()) is None and content_action(item_of("99T", "a", "TEXT"), ()) is None
    assert content_action(item_of("DCM", "121022", "NUM"), ()) == "X"  # another value type than the table has
    assert content_action(item_of("DCM", "121012", "UIDREF"), ("device",)) == "K" and content_action(item_of("DCM", "121012", "UIDREF"), ()) == "D"
    assert content_action(item_of("DCM", "121122", "TEXT"), ("device", "descriptors")) == "C"
