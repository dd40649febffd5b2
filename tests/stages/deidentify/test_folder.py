from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, JPEG2000Lossless, SecondaryCaptureImageStorage, generate_uid

from stages.deidentify.patientfiles import CANARIES, DAY, FAMILY, GIVEN, NUMBER, body, instance, left, put, read, text_on
from vesalius.errors import DataError, OptionError
from vesalius.guards.canary import scan
from vesalius.guards.deidentify import Key, Options
from vesalius.stages.deidentify import deidentify
from vesalius.stages.deidentify.file import cleaned_file

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_series_keeps_its_shape_and_loses_its_patient(tmp_path: Path) -> None:
    for k in range(3):
        put(instance(body() + np.uint8(k), k + 1), tmp_path / "in" / FAMILY / f"{NUMBER}-{k}.dcm")
    assert scan([tmp_path / "in"], CANARIES)
    done = deidentify(tmp_path / "in", tmp_path / "out", options=Options("shift"))
    assert (done.written, done.refused, done.skipped) == (3, 0, 0)
    assert left(done) == []
    items = read(done)
    assert len({item.SeriesInstanceUID for item in items}) == len({item.PatientID for item in items}) == 1
    assert len({item.SOPInstanceUID for item in items}) == 3 and all(item.SOPInstanceUID.startswith("2.25.") for item in items)
    assert sorted(item.ImagePositionPatient[2] for item in items) == [1, 2, 3]
    assert all(item.file_meta.MediaStorageSOPInstanceUID == item.SOPInstanceUID and item.PatientIdentityRemoved == "YES" for item in items)
    assert {item.StudyDate for item in items} == {items[0].SeriesDate} != {DAY}
    assert (items[0].Modality, items[0].Manufacturer, items[0].LongitudinalTemporalInformationModified) == ("CT", "ACME", "MODIFIED")
    source = pydicom.dcmread(tmp_path / "in" / FAMILY / f"{NUMBER}-0.dcm")
    assert any((item.pixel_array == source.pixel_array).all() for item in items)
    assert not any(tag.is_private for item in items for tag in item.keys())
    assert done.key == tmp_path / "out.key" and done.key.stat().st_mode & 0o077 == 0
    assert done.key.read_text().strip() not in "".join(path.read_text() for path in done.manifest.parent.glob("manifest*"))


def test_the_same_key_gives_the_same_people(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(instance(body(), 1 if name == "a" else 2), tmp_path / name / "x")
    one = read(deidentify(tmp_path / "a", tmp_path / "oa", key=tmp_path / "k"))[0]
    two = read(deidentify(tmp_path / "b", tmp_path / "ob", key=tmp_path / "k"))[0]
    other = read(deidentify(tmp_path / "a", tmp_path / "oc"))[0]
    assert one.PatientID == two.PatientID != other.PatientID
    assert one.StudyInstanceUID == two.StudyInstanceUID and one.SOPInstanceUID != two.SOPInstanceUID


def test_two_objects_of_one_uid_are_both_kept(tmp_path: Path) -> None:
    for k in range(2):
        put(instance(body() + np.uint8(k), 1), tmp_path / "in" / f"{k}")
    (tmp_path / "in" / "again").write_bytes((tmp_path / "in" / "0").read_bytes())
    items = read(deidentify(tmp_path / "in", tmp_path / "out"))
    assert len(items) == 2 and len({item.SOPInstanceUID for item in items}) == 1
    assert items[0].PixelData != items[1].PixelData


@pytest.mark.parametrize("kind", ["grey", "colour", "jpeg2000", "cine"])
def test_burned_in_text_is_blanked(tmp_path: Path, kind: str) -> None:
    plain = np.stack([body()] * 3, -1) if kind == "colour" else body()
    written = text_on(plain, f"{FAMILY} {NUMBER}")
    pixels = np.stack([written] * 4) if kind == "cine" else written
    item = instance(pixels, sop_class=SecondaryCaptureImageStorage)
    if kind == "jpeg2000":
        item.compress(JPEG2000Lossless, generate_instance_uid=False)
    put(item, tmp_path / "in" / "x")
    done = deidentify(tmp_path / "in", tmp_path / "out")
    cleaned = read(done)[0]
    array = cleaned.pixel_array[0] if kind == "cine" else cleaned.pixel_array
    drawn = (written != plain) if written.ndim == 2 else (written != plain).any(-1)
    assert (array[drawn] == 0).mean() > 0.98
    assert (array[60:] == plain[60:]).all()
    assert cleaned.BurnedInAnnotation == "NO" and "113101" in [code.CodeValue for code in cleaned.DeidentificationMethodCodeSequence]
    row = next(csv.DictReader(done.manifest.open()))
    assert row["burned_in"] and row["out"].endswith(".dcm")


def test_pixels_without_text_stay_as_they_are_stored(tmp_path: Path) -> None:
    item = instance(body())
    item.compress(JPEG2000Lossless, generate_instance_uid=False)
    stored = item.PixelData
    put(item, tmp_path / "x")
    cleaned = read(deidentify(tmp_path / "x", tmp_path / "out"))[0]
    assert cleaned.PixelData == stored and cleaned.file_meta.TransferSyntaxUID == JPEG2000Lossless


def test_around_the_regions_of_ultrasound_all_is_blanked(tmp_path: Path) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0, region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 50, 40, 149, 119
    pixels = body()
    pixels[10:12, 10:40] = 77
    put(instance(pixels, Modality="US", SequenceOfUltrasoundRegions=[region]), tmp_path / "x")
    done = deidentify(tmp_path / "x", tmp_path / "out")
    array = read(done)[0].pixel_array
    assert (array[40:120, 50:150] == pixels[40:120, 50:150]).all()
    assert array[:40].max() == array[120:].max() == array[:, :50].max() == array[:, 150:].max() == 0
    assert json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[1])["actions"]["outside_regions"] == 1


def test_references_of_segmentations_and_reports_still_hold(tmp_path: Path) -> None:
    images = [instance(body(), k + 1) for k in range(2)]
    for k, item in enumerate(images):
        put(item, tmp_path / "in" / f"{k}.dcm")
    mask = np.zeros((2, 160, 200), np.uint8)
    mask[:, 40:60, 50:90] = 1
    code = highdicom.sr.CodedConcept("52988006", "SCT", "Lesion")
    algorithm = highdicom.AlgorithmIdentificationSequence("x", highdicom.sr.CodedConcept("123109", "DCM", "Manual"), "1")
    segment = highdicom.seg.SegmentDescription(1, "lesion", code, code, highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm)
    binary = highdicom.seg.SegmentationTypeValues.BINARY
    seg = highdicom.seg.Segmentation(images, mask, binary, [segment], generate_uid(), 2, generate_uid(), 1, "ACME", "m", "1", NUMBER,
                                     content_creator_name=f"{FAMILY}^{GIVEN}")
    put(seg, tmp_path / "in" / "seg.dcm")
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert (done.written, done.refused, left(done)) == (3, 0, [])
    items = read(done)
    made = next(item for item in items if item.Modality == "SEG")
    instances = {item.SOPInstanceUID for item in items if item.Modality == "CT"}
    series = made.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == next(item.SeriesInstanceUID for item in items if item.Modality == "CT")
    assert {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence} == instances
    assert made.PixelData == seg.PixelData
    assert highdicom.seg.Segmentation.from_dataset(made).segment_numbers == [1]


def report(text: str) -> Dataset:
    def content(kind: str, **values: Any) -> Dataset:
        item = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", kind
        name = Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding"
        item.ConceptNameCodeSequence = [name]
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    item = instance(body(), 7, "1.2.840.10008.5.1.4.1.1.88.33", Modality="SR")
    del item.PixelData
    item.ValueType = "CONTAINER"
    inner = content("CONTAINER", ContentSequence=[content("TEXT", TextValue=text)])
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, "1.2.826.0.1.3680043.77.1"
    item.ContentSequence = [content("PNAME", PersonName=f"{FAMILY}^{GIVEN}"), inner, content("IMAGE", ReferencedSOPSequence=[image]),
                            content("DATE", Date=DAY), content("UIDREF", UID="1.2.826.0.1.3680043.77.5")]
    return item


def test_structured_content_is_cleaned_or_replaced(tmp_path: Path) -> None:
    put(report(f"nodule of {GIVEN} {FAMILY} (ID {NUMBER}), seen 2024-02-29 by Dr. Hohlweg, 8 mm"), tmp_path / "in" / "a")
    put(instance(body(), 1), tmp_path / "in" / "b")
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert left(done) == []
    made, image = next(item for item in read(done) if item.Modality == "SR"), next(item for item in read(done) if item.Modality == "CT")
    assert made.ContentSequence[1].ContentSequence[0].TextValue == "ANONYMIZED"  # a finding is a description
    assert made.ContentSequence[2].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert made.ContentSequence[0].PersonName == "ANONYMIZED"
    told = read(deidentify(tmp_path / "in" / "a", tmp_path / "told", options=Options(clean=frozenset({"structured", "descriptors"}))))[0]
    text = told.ContentSequence[1].ContentSequence[0].TextValue
    assert text.startswith("nodule of [removed]") and text.endswith("8 mm") and "2024" not in text
    bare = read(deidentify(tmp_path / "in" / "a", tmp_path / "bare", options=Options(clean=frozenset())))[0]
    assert len(bare.ContentSequence) == 1 and "ValueType" not in bare.ContentSequence[0]


def test_private_attributes_of_the_site_stay(tmp_path: Path) -> None:
    item = instance(body())
    item.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    item.add_new(0x0019100C, "IS", "1000")
    item.add_new(0x001910FF, "LO", FAMILY)
    item.add_new(0x00091002, "DS", "1.5")
    put(item, tmp_path / "x")
    options = Options(keep=frozenset({"private"}), private={"ACME 1.1": frozenset({(9, 2)})})
    done = deidentify(tmp_path / "x", tmp_path / "out", options=options)
    kept = read(done)[0]
    assert sorted(int(tag) for tag in kept.keys() if tag.is_private) == [0x00090010, 0x00091002, 0x00190010, 0x0019100C]
    assert left(done) == []


def test_ages_and_dates(tmp_path: Path) -> None:
    put(instance(body()), tmp_path / "x")
    kept = read(deidentify(tmp_path / "x", tmp_path / "a", options=Options("keep", frozenset({"patient"}))))[0]
    assert (kept.StudyDate, kept.PatientAge, kept.PatientSex, kept.PatientBirthDate) == (DAY, "090Y", "F", "")
    gone = read(deidentify(tmp_path / "x", tmp_path / "b"))[0]
    assert (gone.StudyDate, gone.get("PatientAge"), gone.PatientSex) == ("", None, "")


def test_what_cannot_be_cleaned_is_refused_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"{FAMILY}.txt").write_text(f"{FAMILY} {NUMBER}")
    cut = put(instance(body()), tmp_path / "in" / "cut.dcm")
    cut.write_bytes(cut.read_bytes()[:-100])
    index = instance(body(), 3, "1.2.840.10008.1.3.10")
    put(index, tmp_path / "in" / "DICOMDIR")
    done = deidentify(tmp_path / "in", tmp_path / "out")
    assert (done.written, done.refused, left(done)) == (0, 3, [])
    reasons = " ".join(row["refused"] for row in csv.DictReader(done.manifest.open()))
    assert "cannot be de-identified" in reasons and "truncated or damaged" in reasons and "DICOMDIR" in reasons
    assert list((tmp_path / "out").rglob("*.dcm")) == []


def test_an_object_says_what_it_is(tmp_path: Path) -> None:
    item = instance(body())
    del item.SOPInstanceUID
    item.file_meta.MediaStorageSOPClassUID = CTImageStorage
    item.preamble = bytes(128)
    item.save_as(tmp_path / "x", enforce_file_format=False)
    done = deidentify(tmp_path / "x", tmp_path / "out")
    assert next(csv.DictReader(done.manifest.open()))["refused"].startswith("the DICOM object does not say what it is: expected SOPClassUID")


def test_words_that_are_ours_are_nobodys_name(tmp_path: Path) -> None:
    put(instance(body(), patient="Patient", PatientName="Content^Clean", Manufacturer="ACME"), tmp_path / "x")
    done = deidentify(tmp_path / "x", tmp_path / "out")
    assert (done.written, done.refused) == (1, 0)


def test_impossible_places_are_told(tmp_path: Path) -> None:
    put(instance(body()), tmp_path / "in" / "x")
    for out in (tmp_path / "in", tmp_path / "in" / "out", tmp_path):
        with pytest.raises(OptionError, match="output lies within the input"):
            deidentify(tmp_path / "in", out)
    with pytest.raises(OptionError, match="key lies within the output"):
        deidentify(tmp_path / "in", tmp_path / "out", key=tmp_path / "out" / "k")
    with pytest.raises(DataError, match="nothing of that name"):
        deidentify(tmp_path / "no", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="folder is empty"):
        deidentify(tmp_path / "empty", tmp_path / "out")
    for text, words in (("zz", "cannot be read"), ("abcd", "is too short")):
        (tmp_path / "k").write_text(text)
        with pytest.raises(OptionError, match=f"key {words}"):
            deidentify(tmp_path / "in", tmp_path / "out", key=tmp_path / "k")


def test_a_run_goes_on_with_the_same_key_and_options_only(tmp_path: Path) -> None:
    for k in range(3):
        put(instance(body(), k + 1), tmp_path / "in" / f"{k}")
    deidentify(tmp_path / "in", tmp_path / "out")
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    (tmp_path / "out" / "manifest.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:40] + "\n")
    gone = json.loads(lines[1])["out"]
    (tmp_path / "out" / gone).unlink()
    again = deidentify(tmp_path / "in", tmp_path / "out")
    assert (again.written, again.skipped) == (3, 1)
    assert (tmp_path / "out" / gone).is_file() and len(list((tmp_path / "out").rglob("*.dcm"))) == 3
    with pytest.raises(OptionError, match="another key or other options"):
        deidentify(tmp_path / "in", tmp_path / "out", options=Options("shift"))
    with pytest.raises(OptionError, match="another key or other options"):
        deidentify(tmp_path / "in", tmp_path / "out", key=tmp_path / "k2")


def test_a_name_that_is_left_stops_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(instance(body(), Manufacturer=f"made for {FAMILY}"), tmp_path / "x")
    monkeypatch.setattr("vesalius.guards.deidentify.words.Words.out_of", lambda self, text, thorough=False: text)
    with pytest.raises(DataError, match=r"still in the cleaned object.*one in \(0008,0070\)"):
        cleaned_file(path, "0" * 64, Options(), Key(bytes(32)))
