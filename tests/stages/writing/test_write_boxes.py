"""Boxes in every kind of file say what was found, in patient coordinates, and what does not is not handed out."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pycocotools.coco import COCO

from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes, Finding, Score
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import DataError, FormatError, OptionError, RunError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicom import filled
from vesalius.phantoms import make_phantom
from vesalius.stages.boxed.findings import lesions_of
from vesalius.stages.writing.boxes import BOX_WRITERS, suited, write_boxes
from vesalius.stages.writing.boxes.coco import CocoWriter
from vesalius.stages.writing.boxes.csvfile import CsvWriter
from vesalius.stages.writing.boxes.dicomsr import SrWriter
from vesalius.stages.writing.boxes.jsonfile import JsonWriter

VOLUME_KINDS, PICTURE_KINDS = ("json", "csv", "png", "dicom-sr"), ("json", "coco", "csv", "png")
WAYS: list[dict[str, object]] = [{}, {"oblique": True, "decreasing": True}, {"tilt": True, "oblique": True}, {"gap": True}]
NAMES = ("lung nodule", "WBC", "左 a,\"b\"")
ARRAY_3D = np.array([[1.25, 3, 4.5, 5, 9, 12.125], [0, 0, 0, 10, 32, 32], [2, 20, 20, 3, 30.333333, 31]], np.float32)
SCORES, RISK = (0.93, 0.5, 0.25), (0.7, 0.125, float("nan"))


def series(tmp_path: Path, **options: object) -> tuple[Source, Study]:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=1, size=32, slices=10, **options)
    source = filled(next(s for s in find_sources(truth.data) if s.files))
    return source, open_study(source)


def finding_of(array: np.ndarray, grid: Grid) -> Finding:
    n = len(array)
    return Finding("case", "x", None, grid, (Boxes(array, grid, NAMES[:n], SCORES[:n], RISK[:n]), Score("WBC.count", 1.0)))


def picture(tmp_path: Path) -> tuple[Source, Study]:
    Image.fromarray(np.arange(32 * 40, dtype=np.uint8).reshape(32, 40)).save(tmp_path / "a.png")
    source = Source("raster", str(tmp_path / "a.png"))
    return source, open_study(source)


def all_corners(grid: Grid, box: np.ndarray) -> np.ndarray:
    """The eight corners through the affine, without the code under test."""
    low, high = box[:3], box[3:]
    index = np.array([[(low, high)[pick][axis] for axis, pick in enumerate(picks)] for picks in product((0, 1), repeat=3)]) - 0.5
    return (np.c_[index[:, ::-1], np.ones(8)] @ grid.affine_lps.T)[:, :3]


@pytest.mark.parametrize("way", WAYS)
def test_each_kind_says_where_the_boxes_of_a_series_are(tmp_path: Path, way: dict[str, object]) -> None:
    source, study = series(tmp_path, **way)
    paths = write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path / "out", VOLUME_KINDS, risk="malignant", model="m1")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"boxes.json", "boxes.csv", "boxes.png", "boxes.sr.dcm"}
    facts = json.loads(paths["json"].read_text())
    assert facts["counts"] == dict.fromkeys(sorted(NAMES), 1)
    assert facts["model"] == "m1" and facts["risk"] == "malignant" and "candidates" not in facts
    table = pd.read_csv(paths["csv"], encoding="utf-8-sig")
    assert table["class"].tolist() == list(NAMES)
    report = hd.sr.srread(paths["dicom-sr"])
    groups = report.content.get_volumetric_roi_measurement_groups()
    for i, box in enumerate(ARRAY_3D.astype(float)):
        wanted = all_corners(study.grid, box)
        np.testing.assert_allclose(facts["boxes"][i]["corners_mm"], wanted, atol=1e-3)
        np.testing.assert_allclose(table.loc[i, ["corner_low_L_mm", "corner_low_P_mm", "corner_low_S_mm"]].astype(float), wanted[0], atol=1e-3)
        held = np.concatenate(faces(groups[i]))
        apart = np.linalg.norm(held[:, None] - wanted, axis=-1)
        assert len(held) == 10 and apart.min(0).max() < 1e-3 and apart.min(1).max() < 1e-3
        spans = [abs(float(np.linalg.norm(wanted[0] - wanted[k]))) for k in (4, 2, 1)]
        np.testing.assert_allclose(facts["boxes"][i]["size"][1:], spans[1:], rtol=1e-5)
        assert facts["boxes"][i]["volume"] == pytest.approx(float(np.prod(facts["boxes"][i]["size"])), rel=1e-5)
    with Image.open(paths["png"]) as drawn:
        assert drawn.size[0] > 400


def faces(group: object) -> list[np.ndarray]:
    items = [item for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"]  # type: ignore[index]
    return [np.array(item.GraphicData, float).reshape(-1, 3) for item in items]


def test_a_report_says_who_made_it_of_what_and_that_nobody_verified_it(tmp_path: Path) -> None:
    source, study = series(tmp_path, oblique=True)
    path = write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path / "out", ["dicom-sr"], study=study, risk="malignant", model="m1")["dicom-sr"]
    item = pydicom.dcmread(path)
    assert (item.VerificationFlag, item.PreliminaryFlag, item.CompletionFlag) == ("UNVERIFIED", "PRELIMINARY", "COMPLETE")
    assert item.SOPClassUID.name == "Comprehensive 3D SR Storage" and item.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (item.PatientID, item.StudyInstanceUID) == ("P0000", study.meta["study_uid"])
    assert "research use, unverified" in item.SeriesDescription
    (evidence,) = item.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert evidence.SeriesInstanceUID == study.meta["series_uid"]
    shown = {pydicom.dcmread(name).SOPInstanceUID for name in source.files}
    assert {each.ReferencedSOPInstanceUID for each in evidence.ReferencedSOPSequence} == shown
    report = hd.sr.srread(path).content
    context = report.get_observer_contexts(observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"))
    assert [each.observer_identifying_attributes.name for each in context] == ["Vesalius (research use)"]
    groups = report.get_volumetric_roi_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == ["Nodule", "WBC", NAMES[2]]
    assert [group.tracking_identifier for group in groups] == [f"{name} {n}" for n, name in enumerate(NAMES, 1)]
    assert len({group.tracking_uid for group in groups}) == 3
    assert {group.get_qualitative_evaluations()[0].value.meaning for group in groups} == set(NAMES)
    first = {each.name.meaning: (each.value, each.unit.value) for each in groups[0].get_measurements()}
    assert first["Certainty of Finding"] == (93.0, "%") and first["Probability of cancer"] == (70.0, "%")
    spacing = study.grid.spacing_mm
    assert [first[name][0] for name in ("Depth", "Height", "Width")] == pytest.approx([3.75 * spacing[0], 6 * spacing[1], 7.625 * spacing[2]], abs=1e-3)
    assert "Probability of cancer" not in {each.name.meaning for each in groups[2].get_measurements()}
    assert any("no person has verified it" in str(each.get("TextValue")) for each in groups[0][0].ContentSequence)


def test_a_second_label_that_is_no_cancer_has_a_code_of_our_own(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    path = write_boxes(finding_of(ARRAY_3D[:1], study.grid), source, tmp_path, ["dicom-sr"], risk="mitosis")["dicom-sr"]
    (group,) = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [(each.name.scheme_designator, each.name.meaning) for each in group.get_measurements()][1] == ("99VESALIUS", "Probability of mitosis")


@pytest.mark.parametrize(("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("GB18030", "王^小明"), ("", "Plain^Name")])
def test_names_in_any_language_survive(tmp_path: Path, charset: str, name: str) -> None:
    source, study = series(tmp_path)
    for path in source.files:
        item = pydicom.dcmread(path)
        item.SpecificCharacterSet, item.PatientName = charset, name
        item.save_as(path)
    path = write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path, ["dicom-sr"])["dicom-sr"]
    item = pydicom.dcmread(path)
    assert str(item.PatientName) == name
    assert hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()[2].finding_type.meaning == NAMES[2]


def test_a_single_slice_is_marked_in_pixels_of_its_image(tmp_path: Path) -> None:
    source, _ = series(tmp_path, oblique=True)
    single = Source("dicom", source.files[4])
    study = open_study(single)
    array = np.array([[3, 4.5, 9, 12.125], [0, 0, 32, 32]])
    paths = write_boxes(finding_of(array, study.grid), single, tmp_path / "out", [*PICTURE_KINDS, "dicom-sr"])
    item = hd.sr.srread(paths["dicom-sr"])
    assert item.SOPClassUID.name == "Comprehensive SR Storage"
    groups = item.content.get_planar_roi_measurement_groups()
    region = groups[0].roi
    np.testing.assert_allclose(region.value, [(4.5, 3), (12.125, 3), (12.125, 9), (4.5, 9), (4.5, 3)])
    assert region.graphic_type.value == "POLYLINE"
    (shown,) = (each for each in groups[0][0].ContentSequence if each.ValueType == "SCOORD")
    assert shown.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(single.path).SOPInstanceUID


def test_coco_is_what_its_own_tool_reads(tmp_path: Path) -> None:
    source, study = picture(tmp_path)
    array = np.array([[3, 4.5, 9, 12.125], [0, 0, 32, 40], [10, 20, 11, 22]])
    paths = write_boxes(finding_of(array, study.grid), source, tmp_path / "out", PICTURE_KINDS, classes=("none", *NAMES), stem="p1")
    assert paths["coco"].name == "p1.coco.json"
    coco = COCO(str(paths["coco"]))
    assert [coco.cats[i]["name"] for i in sorted(coco.cats)] == ["none", *NAMES]
    assert coco.imgs[1]["height"] == 32 and coco.imgs[1]["width"] == 40 and coco.imgs[1]["file_name"] == "a.png"
    np.testing.assert_allclose([each["bbox"] for each in coco.loadAnns(coco.getAnnIds())], [[4.5, 3, 7.625, 6], [0, 0, 40, 32], [20, 10, 2, 1]])
    results = coco.loadRes([{k: each[k] for k in ("image_id", "category_id", "bbox", "score")} for each in coco.dataset["annotations"]])
    assert [each["score"] for each in results.loadAnns(results.getAnnIds())] == list(SCORES)
    table = pd.read_csv(paths["csv"], encoding="utf-8-sig")
    assert table["unit"].tolist() == ["pixel"] * 3 and not [name for name in table if name.endswith("_mm")]
    drawn = np.asarray(Image.open(paths["png"]))
    assert drawn.shape[1] == 420 and (drawn[: 420 * 32 // 40] == (77, 187, 213)).all(-1).sum() > 200


def test_a_finding_without_any_box(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    empty = finding_of(np.zeros((0, 6)), study.grid)
    paths = write_boxes(empty, source, tmp_path / "out", VOLUME_KINDS, classes=("nodule",))
    assert json.loads(paths["json"].read_text())["counts"] == {"nodule": 0}
    assert list(pd.read_csv(paths["csv"]).columns[:3]) == ["source", "number", "class"]
    report = hd.sr.srread(paths["dicom-sr"])
    assert not report.content.get_volumetric_roi_measurement_groups()
    (counts,) = report.content.get_image_measurement_groups()
    assert [(each.name.meaning, each.value) for each in counts.get_measurements()] == [("Number of nodule", 0)]
    assert report.CurrentRequestedProcedureEvidenceSequence
    flat, opened = picture(tmp_path)
    write_boxes(finding_of(np.zeros((0, 4)), opened.grid), flat, tmp_path / "flat", PICTURE_KINDS)


def test_candidates_are_kept_in_the_record_only(tmp_path: Path) -> None:
    source, study = picture(tmp_path)
    array = np.array([[3.0, 4.5, 9, 12.125], [0, 0, 5, 5]])
    possible = Boxes(array, study.grid, NAMES[:2], (0.9, 0.01))
    paths = write_boxes(finding_of(array[:1], study.grid), source, tmp_path, ["json", "csv"], candidates=possible)
    facts = json.loads(paths["json"].read_text())
    assert [len(facts["boxes"]), len(facts["candidates"]), len(pd.read_csv(paths["csv"]))] == [1, 2, 1]


def test_the_same_box_in_mm_however_the_volume_is_stored() -> None:
    """One place in the patient, in a volume stored as LPS, as RAS, with its axes exchanged: the same hull, centre, longest edge and volume."""
    spacing, low, high = np.array([0.7, 0.9, 2.5]), np.array([2.0, 5.0, 3.0]), np.array([6.0, 9.0, 5.0])
    shape = (12, 14, 16)
    first = Grid.plain(shape[::-1], tuple(spacing[::-1]))
    found = []
    for order, signs in (((0, 1, 2), (1, 1, 1)), ((0, 1, 2), (-1, -1, 1)), ((2, 0, 1), (1, -1, -1)), ((1, 2, 0), (-1, 1, -1))):
        affine = np.eye(4)
        mine_low, mine_high = np.zeros(3), np.zeros(3)
        for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
            affine[:3, column] = np.eye(3)[axis] * sign * spacing[axis]
            affine[axis, 3] = 0 if sign > 0 else (shape[axis] - 1) * spacing[axis]
            mine_low[column], mine_high[column] = (low[axis], high[axis]) if sign > 0 else (shape[axis] - high[axis], shape[axis] - low[axis])
        grid = Grid(tuple(shape[axis] for axis in order)[::-1], tuple(spacing[axis] for axis in order)[::-1], affine)
        (lesion,) = lesions_of(Boxes(np.concatenate([mine_low[::-1], mine_high[::-1]])[None], grid, ("n",), (0.5,)))
        found.append((lesion.hull_mm, lesion.centre_mm, lesion.longest, lesion.volume))
    assert first.ndim == 3
    np.testing.assert_allclose(found[0][0], [low * spacing - spacing / 2, high * spacing - spacing / 2])
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            np.testing.assert_allclose(mine, theirs)


def test_what_is_written_when_nobody_asks(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    assert suited(study, source, ("a",)) == ["json", "png", "dicom-sr"]
    flat, opened = picture(tmp_path)
    assert suited(opened, flat, ("a",)) == ["json", "png"]
    frames = Study(study.image, study.grid, meta={"frames": 10})
    assert suited(frames, source, ("a",)) == ["json", "png"]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    flat, opened = picture(tmp_path)
    whole, out = finding_of(ARRAY_3D, study.grid), tmp_path / "out"
    with pytest.raises(DataError, match="the finding has no boxes"):
        write_boxes(Finding("case", "x", None, study.grid), source, out, ["json"], study=study)
    with pytest.raises(DataError, match="does not lie on the grid of the image"):
        write_boxes(whole, flat, out, ["json"], study=opened)
    with pytest.raises(DataError, match=r"the boxes of the finding are not complete.*\[N, 6\].*1 labels"):
        write_boxes(Finding("case", "x", None, study.grid, (Boxes(ARRAY_3D, study.grid, ("a",)),)), source, out, ["json"], study=study)
    with pytest.raises(DataError, match="a box of the finding has no extent"):
        write_boxes(finding_of(np.array([[0, 0, 0, 1, 0, 1.0]]), study.grid), source, out, ["json"], study=study)
    with pytest.raises(OptionError, match="unknown kind of box file 'xml'"):
        write_boxes(whole, source, out, ["xml"], study=study)
    with pytest.raises(OptionError, match="COCO holds boxes of pictures.*a volume"):
        write_boxes(whole, source, out, ["json", "coco"], study=study)
    with pytest.raises(OptionError, match="a DICOM SR needs a DICOM image.*got raster.*write json"):
        write_boxes(finding_of(np.array([[0, 0, 1, 1.0]]), opened.grid), flat, out, ["dicom-sr"])
    with pytest.raises(OptionError, match="the name of a class is too long for DICOM"):
        write_boxes(whole, source, out, ["dicom-sr"], study=study, classes=("x" * 65,))
    with pytest.raises(OptionError, match="a DICOM SR needs a volume with a place in the patient"):
        write_boxes(whole, source, out, ["dicom-sr"], study=Study(study.image, study.grid, meta={"frames": 10}))
    item = pydicom.dcmread(source.files[0])
    del item.StudyInstanceUID
    item.save_as(source.files[0])
    with pytest.raises(DataError, match="nothing can refer to the DICOM image.*StudyInstanceUID.*write json instead"):
        write_boxes(whole, source, out, ["dicom-sr"], study=study)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["json", "csv", "dicom-sr"])
def test_a_file_that_says_something_else_is_removed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = series(tmp_path)
    writer = BOX_WRITERS.get(kind)
    honest = writer.write
    moved = ARRAY_3D.copy()
    moved[0, 1] += 0.5

    def wrong(found: object, part: Path) -> None:
        honest(type(found)(study, source, Boxes(moved, study.grid, NAMES, SCORES, RISK), tuple(sorted(NAMES))), part)  # type: ignore[call-arg]

    monkeypatch.setattr(writer, "write", wrong)
    with pytest.raises(RunError, match=f"the {kind} file does not say what was found.*'lung nodule' 0.930 at .1.25, 3.0.*3.5"):
        write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path / "out", [kind], study=study)
    monkeypatch.setattr(writer, "write", lambda found, part: honest(type(found)(study, source, Boxes(moved[:1], study.grid, NAMES[:1]), NAMES), part))
    with pytest.raises(RunError, match="expected 3 boxes, got 1"):
        write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path / "out", [kind], study=study)
    monkeypatch.setattr(writer, "write", lambda found, part: part.write_text("no such thing"))
    with pytest.raises(RunError, match=f"the {kind} file cannot be read back|does not say what was found"):
        write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path / "out", [kind], study=study)
    assert not list((tmp_path / "out").iterdir())


def test_damaged_files_are_told_when_they_are_read(tmp_path: Path) -> None:
    source, study = picture(tmp_path)
    (tmp_path / "x").write_text("{}")
    with pytest.raises(FormatError, match="the JSON file has no boxes"):
        JsonWriter.read(None, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="the COCO file has no boxes"):
        CocoWriter.read(None, tmp_path / "x")  # type: ignore[arg-type]
    (tmp_path / "y").write_text("class,score\na,1\n")
    found = type("F", (), {"study": study})()
    with pytest.raises(FormatError, match="the CSV file has no boxes"):
        CsvWriter.read(found, tmp_path / "y")  # type: ignore[arg-type]
    assert SrWriter.suffix == ".sr.dcm" and source


def test_a_row_of_two_places_is_refused(tmp_path: Path) -> None:
    source, study = series(tmp_path, oblique=True)
    path = write_boxes(finding_of(ARRAY_3D, study.grid), source, tmp_path, ["csv"], study=study)["csv"]
    table = pd.read_csv(path, encoding="utf-8-sig")
    table.loc[1, "corner_low_L_mm"] += 1
    table.to_csv(path, index=False, encoding="utf-8-sig")
    with pytest.raises(FormatError, match="a row says two places"):
        CsvWriter.read(type("F", (), {"study": study})(), path)  # type: ignore[arg-type]
