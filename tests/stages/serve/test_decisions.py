"""A doctor's decision: what is signed and sent, what the next fit learns, and that neither happens twice."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest

from stages.serve.clinicstandins import box_model, classes_model, film, mask_model, picture, series, standard_errors
from vesalius.core.cohort import Source
from vesalius.errors import DataError, LabelError, OptionError, VesaliusError
from vesalius.formats import open_study
from vesalius.formats.dicomseg import segment_mask
from vesalius.stages.check import check
from vesalius.stages.fit import fit
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.reading import read_series
from vesalius.stages.serve.store import Received, Store

Decided = tuple["Site", dict[str, Any]]


@dataclass
class Site:
    """What `decided` asks of the store."""

    folder: Path
    files: list[Path]

    def folder_of(self, finding_id: str) -> Path:
        return self.folder / "results" / finding_id

    def files_of(self, series_uid: str) -> list[Path]:
        return self.files


def read(mapping: Any, site: Site, job: str = "j1") -> dict[str, Any]:
    return read_series(mapping, site.files, site.folder_of(job), name="lung", objects=("seg", "sr", "sc"))


@pytest.fixture
def classed(tmp_path: Path) -> Decided:
    site = Site(tmp_path / "site", [film(tmp_path / "a.dcm")])
    return site, read(classes_model(), site)


@pytest.fixture
def marked(tmp_path: Path) -> Decided:
    site = Site(tmp_path / "site", series(tmp_path / "p"))
    return site, read(mask_model((8, 32, 32)), site)


@pytest.fixture
def boxed(tmp_path: Path) -> Decided:
    site = Site(tmp_path / "site", [film(tmp_path / "a.dcm")])
    return site, read(box_model((48, 48)), site)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def text_of(report: pydicom.Dataset) -> str:
    return json.dumps(report.to_json_dict(), ensure_ascii=False)


def test_an_accepted_finding_is_signed_and_names_the_models_report(classed: Decided) -> None:
    site, finding = classed
    paths = decided(site, finding, "Li^Si", "accept", "同意", organization="协和医院")
    folder = site.folder_of("j1")
    assert [path.relative_to(folder).parts[-1] for path in paths] == ["sc.dcm", "sr.dcm"] and paths[0] == folder / "sc.dcm"
    report, own = pydicom.dcmread(paths[1]), pydicom.dcmread(folder / "sr.dcm")
    assert (report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag) == ("VERIFIED", "COMPLETE", "FINAL")
    assert report.VerifyingObserverSequence[0].VerifyingObserverName == "Li^Si" and report.VerifyingObserverSequence[0].VerifyingOrganization == "协和医院"
    before = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == own.SOPInstanceUID != report.SOPInstanceUID and report.SeriesInstanceUID != own.SeriesInstanceUID
    (group,) = hd.sr.srread(paths[1]).content.get_image_measurement_groups()
    values = {each.name.meaning: float(each.value) for each in group.get_measurements()}
    assert values["Certainty of Finding"] == pytest.approx(100 * finding["probability"], abs=1e-3)
    assert "同意" in text_of(report) and "Li^Si" in text_of(report) and not (site.folder / "truth" / "lung").exists()
    assert not standard_errors(paths[1])


def test_the_same_decision_again_makes_nothing_and_another_one_follows_it(classed: Decided) -> None:
    site, finding = classed
    first = decided(site, finding, "li", "accept")
    stamp, uid = first[-1].stat().st_mtime_ns, pydicom.dcmread(first[-1]).SOPInstanceUID
    assert decided(site, finding, "li", "accept") == first and first[-1].stat().st_mtime_ns == stamp
    shutil.rmtree(first[-1].parent)  # as if a stop had come before it was written
    assert pydicom.dcmread(decided(site, finding, "li", "accept")[-1]).SOPInstanceUID == uid
    later = decided(site, finding, "wang", "correct", "no", {"label": "normal"})
    held = pydicom.dcmread(later[-1])
    before = held.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == uid != held.SOPInstanceUID


def test_a_corrected_class_is_reported_without_the_models_numbers_and_learnt(classed: Decided) -> None:
    site, finding = classed
    (path,) = decided(site, finding, "li", "correct", "", {"label": "normal"})
    (group,) = hd.sr.srread(path).content.get_image_measurement_groups()
    assert not group.get_measurements() and "normal" in [each.value.meaning for each in group.get_qualitative_evaluations()]
    assert "Algorithm Name" not in text_of(pydicom.dcmread(path)) and "Algorithm Name" in text_of(pydicom.dcmread(site.folder_of("j1") / "sr.dcm"))
    assert not standard_errors(path)
    (row,) = table(site.folder / "truth" / "lung" / "labels.csv")
    assert row["label"] == "normal" and row["patient"].startswith("P") and row["image"].startswith(f"images/{row['patient']}_")
    assert np.array_equal(nib.load(site.folder / "truth" / "lung" / row["image"]).get_fdata()[..., 0].T, picture())


def test_a_series_is_in_the_truth_once_and_leaves_it_again(classed: Decided, tmp_path: Path) -> None:
    site, finding = classed
    decided(site, finding, "li", "correct", "", {"label": "normal"})
    again = read(classes_model(), site, "j2")  # read again as another job
    decided(site, again, "wang", "correct", "", {"label": "pneumonia"})
    other = Site(site.folder, [film(tmp_path / "b.dcm", series="other")])
    decided(other, read(classes_model(), other, "j3"), "li", "correct", "", {"label": "normal"})
    rows = table(site.folder / "truth" / "lung" / "labels.csv")
    assert sorted(row["label"] for row in rows) == ["normal", "pneumonia"] and len({row["patient"] for row in rows}) == 1
    assert len(list((site.folder / "truth" / "lung" / "images").iterdir())) == 2
    assert decided(site, again, "wang", "reject") == [] and len(table(site.folder / "truth" / "lung" / "labels.csv")) == 1
    assert len(list((site.folder / "truth" / "lung" / "images").iterdir())) == 1


def test_nothing_in_the_truth_names_a_patient(marked: Decided) -> None:
    site, finding = marked
    write_volume(site.folder_of("j1") / "drawn.nii.gz", np.ones((10, 32, 32), np.uint8), grid_of(site, finding))
    decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    named = [str(finding["patient"]["id"]), "Zhang", "张", str(finding["study_uid"]), str(finding["series_uid"])]
    for path in (site.folder / "truth").rglob("*"):
        held = path.read_bytes() if path.is_file() else b""
        assert not any(each.encode() in held or each in path.name for each in named), path
    assert (site.folder / "truth.key").stat().st_mode & 0o077 == 0


def grid_of(site: Site, finding: dict[str, Any]) -> Any:
    return open_study(Source("nifti", str(site.folder_of(finding["id"]) / "image.nii.gz"))).grid


def test_a_corrected_mask_is_a_new_segmentation_that_the_report_names(marked: Decided) -> None:
    site, finding = marked
    drawn = np.zeros((10, 32, 32), np.uint8)
    drawn[2:5, 4:9, 6:11], drawn[7, 20, 20:25] = 1, 2
    write_volume(site.folder_of("j1") / "drawn.nii.gz", drawn, grid_of(site, finding))
    seg, report = decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    assert (seg.name, report.name) == ("seg.dcm", "sr.dcm")
    study = open_study(Source("dicom", str(site.files[0].parent), None, tuple(map(str, site.files))))
    for number in (1, 2):
        assert np.array_equal(segment_mask(Source("dicom-seg", str(seg), str(number)), study), drawn == number)
    held = pydicom.dcmread(seg)
    assert {each.SegmentAlgorithmType for each in held.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert held.SOPInstanceUID != pydicom.dcmread(site.folder_of("j1") / "seg.dcm").SOPInstanceUID
    groups = hd.sr.srread(report).content.get_volumetric_roi_measurement_groups()
    volumes = [float(each.get_measurements(name=hd.sr.CodedConcept("118565006", "SCT", "Volume"))[0].value) for each in groups]
    assert volumes == pytest.approx([(drawn == n).sum() * study.grid.voxel_mm3 for n in (1, 2)], rel=1e-5)
    assert str(held.SOPInstanceUID) in text_of(pydicom.dcmread(report)) and not standard_errors(seg) and not standard_errors(report)
    (row,) = table(site.folder / "truth" / "lung" / "cases.csv")
    label = nib.load(site.folder / "truth" / "lung" / "labelsTr" / Path(row["image"]).name)
    assert np.array_equal(label.get_fdata().T, drawn) and np.allclose(label.affine, nib.load(site.folder / "truth" / "lung" / row["image"]).affine)


@pytest.mark.parametrize("boxes", [[{"box": [3, 4, 20.5, 30], "label": "nodule"}, {"box": [-5, 1, 7, 99], "label": "nodule"}], []])
def test_corrected_boxes_are_reported_and_learnt(boxed: Decided, boxes: list[dict[str, Any]]) -> None:
    site, finding = boxed
    (path,) = decided(site, finding, "li", "correct", "", {"boxes": boxes})
    rows = table(site.folder / "truth" / "lung" / "boxes.csv")
    wanted = [[3.0, 4.0, 20.5, 30.0], [0.0, 1.0, 7.0, 40.0]][: len(boxes)]  # cut to the image
    held = [[float(row[name]) for name in ("ymin", "xmin", "ymax", "xmax")] for row in rows if row["class"]]
    assert held == wanted and len(rows) == max(1, len(boxes))
    groups = hd.sr.srread(path).content.get_planar_roi_measurement_groups()
    assert len(groups) == len(boxes) and not standard_errors(path)
    assert all("Certainty of Finding" not in [each.name.meaning for each in group.get_measurements()] for group in groups)


def test_a_rejected_finding_sends_nothing(classed: Decided) -> None:
    site, finding = classed
    assert decided(site, finding, "li", "reject", "wrong side") == []
    assert not list(site.folder_of("j1").glob("decision-*")) and not (site.folder / "truth").exists()


def test_a_refused_study_cannot_be_accepted_and_can_be_corrected(classed: Decided) -> None:
    site, finding = classed
    refused = finding | {"refused": [{"code": "modality", "en": "x", "zh": "x"}], "forced": False, "label": "", "scores": {}}
    refused["files"] = finding["files"] | {"objects": []}
    with pytest.raises(OptionError, match="there is nothing to accept: expected a finding, got a study that the model refused; correct it, or reject it"):
        decided(site, refused, "li", "accept")
    assert decided(site, refused, "li", "correct", "", {"label": "normal"})
    unread = refused | {"files": refused["files"] | {"image": None}, "instances": []}
    with pytest.raises(OptionError, match="there is nothing to correct: expected a study that was read, got one that could not be read; reject it"):
        decided(site, unread, "li", "correct", "", {"label": "normal"})


@pytest.mark.parametrize(("kind", "correction", "error", "match"), [
    ("classed", {}, OptionError, "the correction does not say what is right: expected 'label' for a model of binary, got nothing"),
    ("classed", {"boxes": []}, OptionError, "expected 'label' for a model of binary, got boxes"),
    ("classed", {"label": "flu"}, LabelError, "the model has no such class: expected one of normal, pneumonia, got 'flu'"),
    ("classed", {"label": " "}, LabelError, "the model has no such class|the correction names no class: expected one of normal, pneumonia"),
    ("boxed", {"boxes": [{"box": [5, 5, 5, 9], "label": "nodule"}]}, DataError, "a box has no extent in the image: expected 4 numbers, low then high"),
    ("boxed", {"boxes": [{"box": [1, 2, 3], "label": "nodule"}]}, DataError, "a box has no extent in the image"),
    ("boxed", {"boxes": [{"box": [float("nan"), 2, 3, 4], "label": "nodule"}]}, DataError, "a box has no extent in the image"),
    ("boxed", {"boxes": [{"box": [50, 2, 60, 4], "label": "nodule"}]}, DataError, "a box has no extent in the image"),
    ("boxed", {"boxes": [{"box": [1, 2, 3, 4]}]}, LabelError, "the model has no such class: expected one of nodule, got 'None'"),
    ("marked", {"mask": "../../a.nii.gz"}, DataError, "the corrected mask is not there: expected the name of a mask that was stored.*got 'a.nii.gz'"),
    ("marked", {"mask": "image.nii.gz"}, VesaliusError, "the mask holds a number that is no label|stands for no class"),
])
def test_a_correction_that_cannot_be_right_is_refused_and_nothing_is_kept(
    kind: str, correction: dict[str, Any], error: type[Exception], match: str, request: pytest.FixtureRequest,
) -> None:
    site, finding = request.getfixturevalue(kind)
    with pytest.raises(error, match=match):
        decided(site, finding, "li", "correct", "", correction)
    assert not list(site.folder_of("j1").glob("decision-*")) and not (site.folder / "truth" / "lung").exists()


def test_a_mask_on_another_grid_or_with_another_number_is_refused(marked: Decided) -> None:
    site, finding = marked
    folder, grid = site.folder_of("j1"), grid_of(site, finding)
    write_volume(folder / "three.nii.gz", np.full((10, 32, 32), 3, np.uint8), grid)
    with pytest.raises(LabelError, match="the corrected mask holds a number that stands for no class: expected 0 to 2, got 3"):
        decided(site, finding, "li", "correct", "", {"mask": "three.nii.gz"})
    shutil.copy(folder / "image.nii.gz", folder / "moved.nii.gz")
    volume: Any = nib.load(folder / "three.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((32, 32, 10), np.uint8), volume.affine + np.eye(4)), folder / "moved.nii.gz")
    with pytest.raises(DataError, match="the corrected mask does not lie on the grid of the image"):
        decided(site, finding, "li", "correct", "", {"mask": "moved.nii.gz"})


def test_an_unknown_action_and_images_that_are_gone_are_told(classed: Decided) -> None:
    site, finding = classed
    with pytest.raises(OptionError, match="unknown action 'acept': expected one of accept"):
        decided(site, finding, "li", "acept")
    site.files = []
    with pytest.raises(DataError, match="images of the finding are no longer there: expected 1 images, got 1 missing; send the series again"):
        decided(site, finding, "li", "accept")


def test_truth_of_another_model_of_the_same_name_is_not_mixed_in(marked: Decided) -> None:
    site, finding = marked
    write_volume(site.folder_of("j1") / "drawn.nii.gz", np.ones((10, 32, 32), np.uint8), grid_of(site, finding))
    decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    other = finding | {"model": finding["model"] | {"classes": ["spleen", "b"]}}
    with pytest.raises(DataError, match="the corrections of this model are of other classes.*liver, 结节 nodule, got background, spleen, b;"):
        decided(site, other, "wang", "correct", "", {"mask": "drawn.nii.gz"})
    with pytest.raises(DataError, match="the name of the model cannot be one of a folder: expected letters, digits, dot, dash, underscore, got '../x'"):
        decided(site, finding | {"model": finding["model"] | {"name": "../x"}}, "wang", "reject")


def test_an_image_of_another_format_is_learnt_and_sends_nothing(classed: Decided, tmp_path: Path) -> None:
    site, _ = classed
    site.files = [site.folder_of("j1") / "image.nii.gz"]
    finding = read(classes_model(), site, "upload")
    assert decided(site, finding, "li", "correct", "", {"label": "normal"}) == []
    assert len(table(site.folder / "truth" / "lung" / "labels.csv")) == 1


def many(tmp_path: Path, mapping: Any, right: Any, n: int = 12) -> Path:
    """Corrections of n uploaded pictures of n - 2 patients; ``right(i)`` is what is right for the i-th."""
    site = Site(tmp_path / "site", [film(tmp_path / "a.dcm")])
    first = read(mapping, site) | {"instances": []}
    for i in range(n):
        finding = first | {"id": f"f{i}", "series_uid": f"1.2.{i}", "patient": first["patient"] | {"id": f"Z{min(i, n - 3)}"}}
        noise = np.random.default_rng(i).integers(0, 4096, (6, 5)).repeat(8, 0).repeat(8, 1)
        write_volume(site.folder_of(f"f{i}") / "image.nii.gz", noise.astype(np.uint16), grid_of(site, first))
        decided(site, finding, "li", "correct", "", right(i, site, finding))
    return site.folder / "truth" / "lung"


def drawn_for(i: int, site: Site, finding: dict[str, Any]) -> dict[str, Any]:
    mask = np.zeros((48, 40), np.uint8)
    mask[5 + i : 15 + i, 8:20] = 1 + i % 2
    write_volume(site.folder_of(finding["id"]) / "drawn.nii.gz", mask, grid_of(site, finding))
    return {"mask": "drawn.nii.gz"}


KINDS = [
    ("table", classes_model(), lambda i, *_: {"label": ("normal", "pneumonia")[i % 2]}, "binary", ("normal", "pneumonia")),
    ("table", classes_model("multilabel", ("a", "b", "c")), lambda i, *_: {"label": ("a|b", "c", "", "b|c")[i % 4]}, "multilabel", ("a", "b", "c")),
    ("table", classes_model("regression", ()), lambda i, *_: {"label": f"{40 + 1.5 * i}"}, "regression", ()),
    ("dataset-json", mask_model((32, 32), ("liver", "nodule")), drawn_for, "mask", ("liver", "nodule")),
    ("box-table", box_model((48, 48)), lambda i, *_: {"boxes": [{"box": [i, 4, i + 9, 30], "label": "nodule"}] * (i % 3 > 0)}, "boxes", ("nodule",)),
]


@pytest.mark.parametrize(("layout", "mapping", "right", "kind", "classes"), KINDS, ids=["labels", "several", "number", "masks", "boxes"])
def test_check_reads_the_truth_with_nothing_else(layout: str, mapping: Any, right: Any, kind: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    folder = many(tmp_path, mapping, right)
    audit = check(str(folder))
    facts = audit.to_dict()
    assert facts["layout"] == layout and facts["target"]["kind"] == kind and tuple(facts["target"]["classes"]) == classes
    assert facts["n_images"] == 12 and facts["n_patients"] == 10 and facts["patient_known"]
    assert not [issue for issue in facts["issues"] if issue["severity"] == "error"]


@pytest.mark.slow
def test_a_fit_on_the_truth_starts_and_ends(tmp_path: Path) -> None:
    folder = many(tmp_path, classes_model(), lambda i, *_: {"label": ("normal", "pneumonia")[i % 2]}, 24)
    run = fit(str(folder), tmp_path / "run", network=("small-cnn",), epochs=1, size=32, precision="32-true", jobs=1)
    facts = json.loads((run / "metrics.json").read_text())
    assert facts["target"]["classes"] == ["normal", "pneumonia"] and (run / "model" / "weights.safetensors").is_file()


def test_a_decision_over_the_real_store(tmp_path: Path) -> None:
    site = tmp_path / "site"
    store = Store(f"sqlite:///{site / 'vesalius.db'}", site)
    try:
        path = film(site / "inbox" / "0a")
        item, data = pydicom.dcmread(path), path.read_bytes()
        (new,) = store.add_objects([Received(path, item.SOPInstanceUID, item.SOPClassUID, item.SeriesInstanceUID, item.StudyInstanceUID,
                                             item.file_meta.TransferSyntaxUID, hashlib.sha256(data).hexdigest(), len(data), {"PatientID": "P1"})])
        assert new
        job = store.enqueue(item.SeriesInstanceUID, "lung", {"objects": ["sr", "sc"]})
        store.claim()
        document = read_series(classes_model(), store.files_of(item.SeriesInstanceUID), site / "results" / job, name="lung", objects=("sr", "sc"))
        store.finish(job, document, site / "results" / job)
        finding = store.finding(job)
        sc, report = decided(store, finding, "li", "accept")
        assert sc == site / "results" / job / "sc.dcm" and pydicom.dcmread(report).VerificationFlag == "VERIFIED"
        store.decide(job, "li", "correct", "", {"label": "normal"})
        (path,) = decided(store, store.finding(job), "li", "correct", "", store.decisions(job)[-1].correction)
        assert path.name == "sr.dcm" and [row["label"] for row in table(site / "truth" / "lung" / "labels.csv")] == ["normal"]
    finally:
        store.close()
