"""DICOM trees with reports: what was written can be learnt from; whose word counts when several speak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from formats.reporting import ARRAY, NAMES, change, redraw, report, series
from vesalius.core.cohort import Cohort, Source
from vesalius.errors import DataError, LabelError
from vesalius.formats import find_sources, open_boxes, open_case, open_study, recognise
from vesalius.formats.data import LAYOUTS
from vesalius.phantoms import make_phantom


def boxes(cohort: Cohort, case: int = 0) -> list[tuple[str, ...]]:
    held = cohort.cases[case].boxes
    assert held is not None
    return [row(box.name, [*box.low, *box.high]) for box in held]


def row(name: str, box: Sequence[float] | np.ndarray) -> tuple[str, ...]:
    """To an eighth of a sample."""
    return (name, *(np.round(np.asarray(box, float) * 8) / 8).tolist())


def unrelated(item: Dataset) -> None:
    """The report rests on a series that is not here."""
    (evidence,) = item.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    evidence.SeriesInstanceUID = "1.2.3"


def test_what_was_found_can_be_learnt_from(tmp_path: Path) -> None:
    data, ((first, study), (second, other)) = series(tmp_path, 2, oblique=True, decreasing=True)
    report(data / "P0000" / "sr", first, study, SeriesInstanceUID="1.2.1")
    report(data / "P0001" / "sr", second, other, np.zeros((0, 6)), SeriesInstanceUID="1.2.2")
    cohort = recognise(data)
    assert (cohort.layout, cohort.target.kind, cohort.target.classes, cohort.ndim) == ("dicom-boxes", "boxes", tuple(sorted(NAMES)), 3)
    assert [(case.id, case.patient, case.label) for case in cohort.cases] == [("P0000/ct", "P0000", "cyst (left)|nodule"), ("P0001/ct", "P0001", "")]
    assert cohort.patient_evidence.startswith("DICOM PatientID")
    assert any("2 of 2 reports were made by an algorithm and verified by nobody" in note for note in cohort.notes)
    truth = open_boxes(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    np.testing.assert_allclose(truth.boxes, ARRAY, atol=1e-3)
    assert [cohort.target.classes[k] for k in truth.labels] == list(NAMES)
    assert len(open_boxes(cohort.cases[1], cohort.target, open_case(cohort.cases[1]))) == 0
    assert recognise(data, label="nodule").target.classes == ("nodule",)
    with pytest.raises(LabelError, match="there is no class of that name"):
        recognise(data, label="spleen")


def test_a_person_counts_before_an_algorithm_and_the_newest_algorithm_before_others(tmp_path: Path) -> None:
    data, ((source, study),) = series(tmp_path)
    moved = ARRAY + np.float32(1)
    report(data / "old", source, study, InstanceCreationDate="20200101")
    report(data / "new", source, study, moved[:1], InstanceCreationDate="20210101")
    cohort = recognise(data)
    assert boxes(cohort) == [row("nodule", moved[0])]
    assert any("old does not count" in note for note in cohort.notes)
    report(data / "checked", source, study, ARRAY[:1] + np.float32(2), InstanceCreationDate="20190101", VerificationFlag="VERIFIED")
    report(data / "second", source, study, ARRAY[1:], ("Nodule",), InstanceCreationDate="20180101", VerificationFlag="VERIFIED")
    cohort = recognise(data)
    assert boxes(cohort) == [row("Nodule", ARRAY[0] + 2), row("Nodule", ARRAY[1])], "persons add up; one spelling"
    assert not any("made by an algorithm" in note for note in cohort.notes)
    corrected = (data / "checked").read_bytes()
    (data / "corrected").write_bytes(corrected)
    point = [study.grid.world(np.array([[5.0, 5, 5], [5, 9, 5], [5, 9, 9]])) for _ in range(2)]
    redraw(change(data / "corrected", lambda item: setattr(item, "InstanceCreationDate", "20220101")), "POLYGON", *point)
    assert boxes(recognise(data))[0] == ("Nodule", 5, 5.5, 5.5, 6, 9.5, 9.5) and len(boxes(recognise(data))) == 2, "the same object, tracked"


def test_each_view_has_its_own_boxes(tmp_path: Path) -> None:
    data, ((source, _),) = series(tmp_path)
    for i, name in enumerate(source.files[:3]):
        change(Path(name), lambda item: [delattr(item, keyword) for keyword in ("ImagePositionPatient", "ImageOrientationPatient")])
        (data / f"view{i}").write_bytes(Path(name).read_bytes())
    for name in source.files:
        Path(name).unlink()
    views = [Source("dicom", str(data / f"view{i}")) for i in range(3)]
    report(data / "a", views[0], open_study(views[0]), np.array([[3, 4, 9, 12.0]]))
    report(data / "b", views[1], open_study(views[1]), np.zeros((0, 4)))
    cohort = recognise(data)
    assert [(case.id, case.label) for case in cohort.cases] == [("view0", "nodule"), ("view1", "")]
    assert any("1 images are not marked and were left out: view2" in note for note in cohort.notes)


def test_reports_of_absent_images_and_damaged_ones_are_told(tmp_path: Path) -> None:
    data, ((source, study),) = series(tmp_path)
    report(data / "sr", source, study)
    (data / "elsewhere").write_bytes((data / "sr").read_bytes())
    change(data / "elsewhere", unrelated)
    cohort = recognise(data, target="boxes")
    assert cohort.lost == (str(data / "elsewhere"),)
    (data / "half").write_bytes((data / "sr").read_bytes()[:-700])
    cohort = recognise(data)
    assert len(cohort.cases) == 1
    assert any("1 reports cannot be read and were left out" in note and "half" in note for note in cohort.notes), cohort.notes


def test_reports_beside_segmentations_need_a_word(tmp_path: Path) -> None:
    truth = make_phantom("dicom-masks", tmp_path, n=1, size=32, slices=10, objects="seg")
    source = next(source for source in find_sources(truth.data) if source.files)
    report(Path(truth.data) / "sr", source, open_study(source))
    with pytest.raises(DataError, match="two readings of the data fit.*1 reports .SR. that mark regions"):
        recognise(truth.data)
    assert recognise(truth.data, target="mask").layout == "dicom-masks"
    assert recognise(truth.data, target="boxes").layout == "dicom-boxes"
    assert recognise(truth.data, target="boxes", layout="dicom-masks").target.kind == "boxes"


def test_a_tree_without_reports(tmp_path: Path) -> None:
    data, ((source, study),) = series(tmp_path)
    layout = LAYOUTS.get("dicom-boxes")
    with pytest.raises(LabelError, match="there is no report of measurements.*TID 1500"):
        recognise(data, layout="dicom-boxes")
    path = report(data / "sr", source, study)
    change(path, unrelated)
    with pytest.raises(DataError, match="no box belongs to an image that is there"):
        recognise(data)
    assert layout.boxes and not layout.marks
