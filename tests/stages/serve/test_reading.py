"""A series becomes a finding and DICOM objects: the same for every order and repeat, valid by the standard, of the same patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest

from stages.serve.clinicstandins import ZHANG, box_model, classes_model, film, mask_model, picture, series, standard_errors, volume
from vesalius.core.cohort import Source
from vesalius.core.finding import Text
from vesalius.errors import DataError, FormatError, OptionError, RunError
from vesalius.formats import open_study
from vesalius.formats.dicomseg import segment_mask
from vesalius.formats.rtstruct import roi_mask
from vesalius.kernels.conformal import patients_needed
from vesalius.kernels.tiled_labels import labels_of
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import Fitness, Reason
from vesalius.stages.knowing import Knowing
from vesalius.stages.serve import reading
from vesalius.stages.serve.objects import Ids
from vesalius.stages.serve.objects.report import Signed
from vesalius.stages.serve.reading import read_series

ALL = ("seg", "rtstruct", "sr", "sc")


def read(mapping: Any, files: list[Path], out: Path, **options: Any) -> dict[str, Any]:
    return read_series(mapping, files, out, name="lung", **{"objects": ALL} | options)


def objects_of(out: Path) -> dict[str, pydicom.Dataset]:
    return {path.stem: pydicom.dcmread(path) for path in sorted(out.glob("*.dcm"))}


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return series(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def marked(ct: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("marked") / "job1"
    return out, read(mask_model((8, 32, 32)), ct, out)


@pytest.fixture(scope="module")
def classed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("classed")
    return folder / "job2", read(classes_model(), [film(folder / "a.dcm")], folder / "job2")


def test_what_a_killed_process_left_of_the_same_job_is_taken_away(tmp_path: Path) -> None:
    left, others = [tmp_path / name for name in (".job.1a2b.part", ".job.1a2b.old")], tmp_path / ".job2.1a2b.part"
    for folder in (*left, others):
        folder.mkdir()
    read(classes_model(), [film(tmp_path / "a.dcm")], tmp_path / "job")
    assert [folder.exists() for folder in (*left, others)] == [False, False, True]


def test_a_class_is_told_with_its_patient_and_its_files(classed: tuple[Path, dict[str, Any]]) -> None:
    out, told = classed
    assert told == json.loads((out / "finding.json").read_text("utf-8"))
    assert told["id"] == "job2" and told["model"] | {"hash": ""} == {"name": "lung", "hash": "", "kind": "binary", "classes": ["normal", "pneumonia"]}
    assert told["patient"] == {"id": "P1", "name": ZHANG, "birth_date": "19600101", "sex": "M", "age": "066Y"}
    assert (told["modality"], told["body_part"], told["description"], told["study_date"], told["accession"]) == ("DX", "CHEST", "胸部", "20260101", "A1")
    assert told["label"] == "pneumonia" and told["probability"] == pytest.approx(told["scores"]["pneumonia"])
    assert sum(told["scores"].values()) == pytest.approx(1)
    assert told["urgency"] == pytest.approx(told["scores"]["pneumonia"], abs=1e-6) and told["refused"] == [] and not told["forced"]
    assert told["files"] == {"image": "image.nii.gz", "mask": None, "heat": "heat.nii.gz", "picture": "picture.png", "objects": ["sr.dcm", "sc.dcm"]}
    assert {path.name for path in out.iterdir()} == {"finding.json", "image.nii.gz", "heat.nii.gz", "picture.png", "sr.dcm", "sc.dcm"}
    assert told["grid"] == {"shape": [48, 40], "spacing_mm": [0.5, 0.5]} and set(told["seconds"]) == {"open", "judge", "predict", "write"}
    assert np.array_equal(nib.load(out / "image.nii.gz").get_fdata()[..., 0].T, picture())
    assert open_study(Source("nifti", str(out / "heat.nii.gz"))).grid.shape == (48, 40)


def test_the_report_of_a_class_says_the_scores_and_that_nobody_has_verified_it(classed: tuple[Path, dict[str, Any]]) -> None:
    out, told = classed
    held = hd.sr.srread(out / "sr.dcm")
    assert (held.CompletionFlag, held.VerificationFlag, held.PreliminaryFlag) == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert held.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (group,) = held.content.get_image_measurement_groups()
    values = {each.name.meaning: float(each.value) for each in group.get_measurements()}
    wanted = {f"Probability of {name}": 100 * p for name, p in told["scores"].items()} | {"Certainty of Finding": 100 * told["probability"]}
    assert values == pytest.approx(wanted, abs=1e-4)
    assert "pneumonia" in [each.value.meaning for each in group.get_qualitative_evaluations()]
    text = held.to_json()
    assert "Vesalius" in text and told["model"]["hash"] in text


def test_structures_come_back_voxel_by_voxel_in_every_kind(ct: list[Path], marked: tuple[Path, dict[str, Any]]) -> None:
    out, told = marked
    assert told["files"]["objects"] == ["seg.dcm", "rtstruct.dcm", "sr.dcm", "sc.dcm"] and told["label"] == "liver"
    study = open_study(Source("dicom", str(ct[0].parent), None, tuple(map(str, ct))))
    wanted = study.image[0] > 2000  # 3600 stored is 2576 HU: of 4095 in the first range
    assert wanted.sum() == (volume() == 3600).sum() == 24
    assert np.array_equal(segment_mask(Source("dicom-seg", str(out / "seg.dcm"), "1"), study), wanted)
    assert roi_mask(Source("rtstruct", str(out / "rtstruct.dcm"), "1"), study).sum() == wanted.sum()
    mask = open_study(Source("nifti", str(out / "mask.nii.gz")))
    assert mask.grid == study.grid and (mask.image[0] == 1).sum() == wanted.sum()
    rows = {row["name"]: row["value"] for row in told["measurements"] if row["class"] == "liver"}
    assert rows["volume_mm3"] == pytest.approx(wanted.sum() * study.grid.voxel_mm3)
    report = hd.sr.srread(out / "sr.dcm").content
    (there,) = report.get_volumetric_roi_measurement_groups()
    values = {each.name.meaning: float(each.value) for each in there.get_measurements()}
    assert values["Volume"] == pytest.approx(rows["volume_mm3"], rel=1e-5) and values["Long axis"] == pytest.approx(rows["longest_diameter_mm"], rel=1e-5)
    held = objects_of(out)
    named = [item.ReferencedSOPSequence[0] for item in there[0].ContentSequence if item.ValueType == "IMAGE"]
    assert {(str(each.ReferencedSOPInstanceUID), each.get("ReferencedSegmentNumber")) for each in named} >= {(str(held["seg"].SOPInstanceUID), 1)}
    (absent,) = report.get_image_measurement_groups()
    assert absent.tracking_identifier == "结节 nodule" and "Absent" in [each.value.meaning for each in absent.get_qualitative_evaluations()]


@pytest.mark.parametrize("flat", [True, False])
def test_boxes_come_back_in_the_report(flat: bool, ct: list[Path], tmp_path: Path) -> None:
    files, size = ([film(tmp_path / "a.dcm")], (48, 48)) if flat else (ct, (10, 32, 32))
    told = read(box_model(size), files, tmp_path / "job")
    assert told["files"]["objects"] == ["sr.dcm", "sc.dcm"] and len(told["boxes"]) == 1 and told["label"] == "nodule"
    box = told["boxes"][0]
    assert box["score"] == pytest.approx(0.8808, abs=1e-3) and len(box["box"]) == 2 * len(told["grid"]["shape"])
    ndim = len(box["box"]) // 2
    np.testing.assert_allclose(box["size_mm"], np.subtract(box["box"][ndim:], box["box"][:ndim]) * told["grid"]["spacing_mm"], rtol=1e-5)
    assert told["urgency"] == pytest.approx(box["score"], abs=1e-6)
    assert not standard_errors(tmp_path / "job" / "sr.dcm")


def test_every_object_is_valid_by_the_standard(marked: tuple[Path, dict[str, Any]], classed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    read(mask_model((32, 32)), [film(tmp_path / "a.dcm")], tmp_path / "flat")
    read(classes_model("regression", ()), [tmp_path / "a.dcm"], tmp_path / "number")
    read(classes_model("multilabel", ("浸润", "b")), [tmp_path / "a.dcm"], tmp_path / "several")
    for out in (marked[0], classed[0], tmp_path / "flat", tmp_path / "number", tmp_path / "several"):
        for path in out.glob("*.dcm"):
            assert not standard_errors(path), path


@pytest.mark.parametrize(("name", "charset"), [(ZHANG, "GB18030"), ("王^小东=王^小东", "ISO_IR 192"), ("ZHANGSAN", "GB18030"), ("", "ISO_IR 192"),
                                                ("Müller^Jürgen", "ISO_IR 192")])
def test_every_object_is_of_the_patient_and_study_of_its_image(name: str, charset: str, tmp_path: Path) -> None:
    path = film(tmp_path / "a.dcm", name=name, charset=charset, PatientComments="无")
    read(mask_model((32, 32)), [path], tmp_path / "job")
    image = pydicom.dcmread(path)
    for held in objects_of(tmp_path / "job").values():
        assert held.SpecificCharacterSet == "ISO_IR 192"
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber",
                        "ReferringPhysicianName"):
            assert str(held[keyword].value) == str(image[keyword].value), keyword
    assert objects_of(tmp_path / "job")["seg"].StudyDescription == "胸部正位"


@pytest.mark.parametrize(("keyword", "value"), [("PatientSex", "U"), ("PatientBirthDate", "1960"), ("StudyTime", "12h")])
def test_a_value_that_no_object_may_hold_is_left_empty(keyword: str, value: str, tmp_path: Path) -> None:
    path = film(tmp_path / "a.dcm")
    item = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        setattr(item, keyword, value)
        item.save_as(path)
    told = read(classes_model(), [path], tmp_path / "job")
    assert told["files"]["objects"] == ["sr.dcm", "sc.dcm"]
    assert all(not held[keyword].value for held in objects_of(tmp_path / "job").values())


def test_no_name_reaches_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(0):
        read(mask_model((32, 32)), [film(tmp_path / "a.dcm", name="ZHANGSAN")], tmp_path / "job")
    assert "ZHANGSAN" not in caplog.text and "P1" not in caplog.text.split()


def test_the_picture_says_what_it_is_in_its_pixels(classed: tuple[Path, dict[str, Any]]) -> None:
    held = pydicom.dcmread(classed[0] / "sc.dcm")
    assert held.BurnedInAnnotation == "YES" and held.Modality == "OT" and held.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert (held.pixel_array[-60:] > 200).sum() > 500  # light text on black below the picture
    assert np.array_equal(held.pixel_array[: held.Rows - 60].shape[1:], (held.Columns, 3))


def test_a_repeat_and_another_order_give_the_same_objects(ct: list[Path], marked: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    copies = [shutil.copy(path, tmp_path / f"{i}.dcm") for i, path in enumerate(reversed(ct))]
    told = read(mask_model((8, 32, 32)), [*map(Path, copies), ct[3]], tmp_path / "again", ids={"job": "job1"})
    first, again = objects_of(marked[0]), objects_of(tmp_path / "again")
    for kind, held in again.items():
        assert (held.SOPInstanceUID, held.SeriesInstanceUID) == (first[kind].SOPInstanceUID, first[kind].SeriesInstanceUID)
        assert held.SOPInstanceUID.startswith("2.25.") and len(held.SOPInstanceUID) <= 64
    assert np.array_equal(again["seg"].pixel_array, first["seg"].pixel_array)
    uids = {str(held[keyword].value) for held in again.values() for keyword in ("SOPInstanceUID", "SeriesInstanceUID")}
    assert len(uids) == 2 * len(again)  # no two objects share a series of another modality
    same = {name for name in told if name not in ("seconds", "instances")}
    assert {name: told[name] for name in same} == {name: marked[1][name] for name in same}
    assert sorted(told["instances"]) == sorted(marked[1]["instances"]) and len(told["instances"]) == 10


def test_a_finding_that_is_there_is_not_made_again_unless_the_model_is_another(classed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "job2"
    shutil.copytree(classed[0], out)
    stamp = (out / "sr.dcm").stat().st_mtime_ns
    assert read(classes_model(), [tmp_path / "gone.dcm"], out) == classed[1]
    other = read(classes_model("multiclass", ("a", "b", "c")), [film(tmp_path / "a.dcm")], out)
    assert other["label"] == "c" and (out / "sr.dcm").stat().st_mtime_ns != stamp
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "write_objects", lambda *_, **__: (_ for _ in ()).throw(RunError("the disk is full")))
    with pytest.raises(RunError, match="the disk is full"):
        read(classes_model(), [film(tmp_path / "a.dcm")], tmp_path / "job")
    assert {path.name for path in tmp_path.iterdir()} == {"a.dcm"}


def test_a_study_that_the_model_refuses_has_reasons_and_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = Reason("modality", True, "It is of another modality.", "模态不符。")
    monkeypatch.setattr(reading, "judge", lambda *_: Fitness.by([reason, Reason("unusual", False, "It is unusual.", "不常见。")], 3.0))
    path = film(tmp_path / "a.dcm")
    told = read(classes_model(), [path], tmp_path / "job")
    assert told["refused"] == [{"code": "modality", "en": "It is of another modality.", "zh": "模态不符。"}] and not told["forced"]
    assert told["label"] == "" and told["probability"] is None and told["urgency"] == 0.5 and told["files"]["objects"] == []
    assert {"code": "unusual", "en": "It is unusual.", "zh": "不常见。"} in told["notes"]
    assert {each.name for each in (tmp_path / "job").iterdir()} == {"finding.json", "image.nii.gz", "picture.png"}
    forced = read(classes_model(), [path], tmp_path / "forced", force=True)
    assert forced["forced"] and forced["refused"] == told["refused"] and forced["label"] == "pneumonia" and forced["files"]["objects"]


def test_of_several_films_the_most_urgent_is_told_and_a_broken_one_hides_none(tmp_path: Path) -> None:
    dark, bright = film(tmp_path / "a.dcm", image=np.zeros((48, 40), int)), film(tmp_path / "b.dcm", image=np.full((48, 40), 4000))
    broken = film(tmp_path / "c.dcm")
    broken.write_bytes(broken.read_bytes()[:-2000])
    single = {path.name: read(classes_model(), [path], tmp_path / path.stem)["urgency"] for path in (dark, bright)}
    told = read(classes_model(), [dark, broken, bright], tmp_path / "job")
    best = max(single, key=lambda name: single[name])
    assert told["urgency"] == single[best] and told["instances"] == [pydicom.dcmread(tmp_path / best).SOPInstanceUID]
    (note,) = [note["en"] for note in told["notes"] if note["code"] == "several-images"]
    assert note == "2 images of the series were read one by one; this is the most urgent one."
    with pytest.raises(FormatError):
        read(classes_model(), [broken], tmp_path / "none")


def test_a_localizer_in_the_series_is_left_out(ct: list[Path], tmp_path: Path) -> None:
    item = pydicom.dcmread(ct[0])
    item.SOPInstanceUID, item.ImageOrientationPatient = "1.2.3", [0, 1, 0, 0, 0, -1]
    item.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    item.save_as(tmp_path / "scout.dcm")
    told = read(box_model((10, 32, 32)), [tmp_path / "scout.dcm", *ct], tmp_path / "job")
    assert len(told["instances"]) == 10 and [note["code"] for note in told["notes"]].count("left-out") == 1


def test_an_image_of_another_format_has_no_objects(tmp_path: Path, classed: tuple[Path, dict[str, Any]]) -> None:
    told = read(classes_model(), [classed[0] / "image.nii.gz"], tmp_path / "job")
    assert told["files"]["objects"] == [] and told["instances"] == [] and told["patient"]["id"] is None and told["study_uid"] == ""
    assert told["scores"] == pytest.approx(classed[1]["scores"], abs=0.05) and not [note for note in told["notes"] if note["code"] == "object-left-out"]


def test_an_object_that_the_image_cannot_have_is_told(tmp_path: Path) -> None:
    told = read(mask_model((32, 32)), [film(tmp_path / "a.dcm")], tmp_path / "job")
    (note,) = [note for note in told["notes"] if note["code"] == "object-left-out"]
    assert note["en"] == "No RTSTRUCT was written: an RTSTRUCT needs the image's frame of reference: expected FrameOfReferenceUID (0020,0052)."
    assert told["files"]["objects"] == ["seg.dcm", "sr.dcm", "sc.dcm"]


def test_bounds_of_the_model_make_sets_and_abstention(tmp_path: Path) -> None:
    mapping = classes_model()
    mapping.folder = tmp_path / "model"
    Knowing("binary", 0.1, (0.9, 0.9), facts={"n": patients_needed(0.1)}).save(mapping.folder)
    path = film(tmp_path / "a.dcm")
    told = read(mapping, [path], tmp_path / "unsure")
    assert told["set"] == ["pneumonia", "normal"] and told["abstain"] and told["urgency"] >= 0.5
    assert [note["zh"] for note in told["notes"] if note["code"] == "undecided"]
    Knowing("binary", 0.1, (0.1, 0.9)).save(mapping.folder)
    sure = read(mapping, [path], tmp_path / "sure")
    assert sure["set"] == ["pneumonia"] and not sure["abstain"]
    group = hd.sr.srread(tmp_path / "unsure" / "sr.dcm").content.get_image_measurement_groups()[0]
    assert "the model does not decide" in [each.value.meaning for each in group.get_qualitative_evaluations()]


def test_a_promise_of_boxes_is_told(tmp_path: Path) -> None:
    mapping, path = box_model((48, 48)), film(tmp_path / "a.dcm")
    mapping.folder = tmp_path / "model"
    mapping.output.facts["thresholds"] = {"nodule": 0.95}
    Knowing("boxes", 0.1, (0.3,), facts={"n_patients": 40}).save(mapping.folder)
    told = read(mapping, [path], tmp_path / "job")
    assert told["boxes"] == [] and told["label"] == ""  # the operating point is what it was
    (kept,) = told["kept_at_risk"]
    assert kept["score"] == pytest.approx(0.8808, abs=1e-3) and kept["reported"] is False
    (note,) = [note for note in told["notes"] if note["code"] == "kept-at-risk"]
    assert "at most 10% of a new patient's boxes" in note["en"] and "漏检不超过 10%" in note["zh"] and "其中 1 个低于工作点" in note["zh"]
    mapping.output.facts["thresholds"] = {"nodule": 0.5}
    Knowing("boxes", 0.1, (0.9,)).save(mapping.folder)
    high = read(mapping, [path], tmp_path / "high")
    assert [box["kept_at_risk"] for box in high["boxes"]] == [False] and high["kept_at_risk"] == []
    Knowing("boxes", 0.1, (float("inf"),)).save(mapping.folder)
    unable = read(mapping, [path], tmp_path / "unable")
    assert "kept_at_risk" not in unable and "kept_at_risk" not in unable["boxes"][0]
    assert [note["zh"][:4] for note in unable["notes"] if note["code"] == "no-promise"] == ["没有分数"]


def test_bounds_of_a_number_are_told(tmp_path: Path) -> None:
    mapping = classes_model("regression", ())
    mapping.folder = tmp_path / "model"
    Knowing("regression", 0.1, (2.0,), (40.0, 60.0), (1.0, 1.0)).save(mapping.folder)
    told = read(mapping, [film(tmp_path / "a.dcm")], tmp_path / "job")
    value = told["scores"]["age"]
    assert (told["low"], told["high"]) == (pytest.approx(value - 2), pytest.approx(value + 2)) and told["probability"] is None and told["urgency"] == 0.5


@pytest.mark.parametrize(("files", "error", "match"), [
    ([], DataError, "there is nothing to read: expected the files of one study, got none"),
    (["sr"], DataError, "the series holds no image: expected images, got 1 objects without; leave it out"),
    (["nii", "nii2"], DataError, r"not one study: expected one file, or 1 \(one a channel\), got 2 files; send each study on its own"),
])
def test_what_is_no_study_is_refused(files: list[str], error: type[Exception], match: str, classed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copy(classed[0] / "image.nii.gz", tmp_path / "b.nii.gz")
    known = {"sr": classed[0] / "sr.dcm", "nii": classed[0] / "image.nii.gz", "nii2": tmp_path / "b.nii.gz"}
    with pytest.raises(error, match=match):
        read(classes_model(), [known[name] for name in files], tmp_path / "job")


def test_an_unknown_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown object 'sg': expected one of"):
        read(classes_model(), [film(tmp_path / "a.dcm")], tmp_path / "job", objects=("sg",))


def test_ids_come_in_every_form_that_a_line_carries() -> None:
    assert Ids.of(None, "a") == Ids.of("a", "b") == Ids.of({"job": "a"}, "b") == Ids.of(Ids("a"), "b")
    assert Ids("a").within("x").uid("sr") != Ids("a").uid("sr")
    assert Signed("li", "o").person == "li^" and Signed("Li^Si", "o").person == "Li^Si"


def test_a_mapping_remembers_nothing_of_a_study(tmp_path: Path) -> None:
    mapping = classes_model()
    before = {name: value.clone() for name, value in mapping.network.state_dict().items()}
    read(mapping, [film(tmp_path / "a.dcm")], tmp_path / "job")
    assert all((value == before[name]).all() for name, value in mapping.network.state_dict().items())
    assert isinstance(mapping, Mapping) and Text("a", "b").code == "a"


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_a_process_looks_for_the_fastest_engine_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    for name in ("quicken", "quicken_boxes"):
        monkeypatch.setattr(reading, name, lambda mapping, x, n: asked.append(n))
    mapping = mask_model((32, 32)) if kind == "masks" else box_model((48, 48))
    for name in ("a", "b"):
        read(mapping, [film(tmp_path / f"{name}.dcm")], tmp_path / name)
    assert asked == [reading.TO_COME]
    if kind == "masks":
        assert mapping.labels is not labels_of, "it heeds the memory from the first study on"
