"""Structured reports as truth: regions of every kind are where they say, on the image that they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from formats.reporting import ARRAY, NAMES, below, change, redraw, report, series
from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import open_study
from vesalius.formats.dicom import filled
from vesalius.formats.dicomsr import boxes_of, placed, report_of

WAYS: list[dict[str, object]] = [{}, {"oblique": True, "decreasing": True}, {"tilt": True}, {"gap": True}]


@pytest.mark.parametrize("way", WAYS)
def test_an_image_is_placed_without_its_pixels(tmp_path: Path, way: dict[str, object]) -> None:
    truth, _ = series(tmp_path, **{key: value for key, value in way.items() if key != "gap"})
    source = filled(Source("dicom", str(truth / "P0000/ct"), None, tuple(sorted(map(str, (truth / "P0000/ct").iterdir())))))
    if way.get("gap"):
        gone = max(source.files, key=lambda name: 5 == pydicom.dcmread(name).InstanceNumber)
        source = filled(Source("dicom", source.path, None, tuple(name for name in source.files if name != gone)))
    study, image = open_study(source), placed(source)
    assert image.grid == study.grid and image.frame_uid == study.meta["frame_uid"]
    assert len(image.planes) == len(source.files)
    for name in source.files:
        item = pydicom.dcmread(name)
        z = image.planes[item.SOPInstanceUID, 0]
        np.testing.assert_allclose(study.grid.world(np.array([z, 0, 0])), list(map(float, item.ImagePositionPatient)), atol=0.01)
    single = Source("dicom", source.files[3])
    assert placed(single).grid == open_study(single).grid


@pytest.mark.parametrize("way", WAYS[:3])
def test_what_was_written_is_read(tmp_path: Path, way: dict[str, object]) -> None:
    _, ((source, study),) = series(tmp_path, **way)
    read = report_of(str(report(tmp_path / "sr", source, study)))
    assert (read.verified, read.by_device, read.series) == (False, True, (study.meta["series_uid"],))
    assert len(read.instances) == 10 and read.created
    boxes, wrong = boxes_of(read, placed(source))
    assert not wrong and [box.name for box in boxes] == list(NAMES)
    np.testing.assert_allclose([[*box.low, *box.high] for box in boxes], ARRAY, atol=1e-3)
    assert boxes[0].facts == {"score": 0.75}


def test_outlines_that_others_draw_on_slices_fill_them(tmp_path: Path) -> None:
    """Contours on slices 3 and 6: samples 3 .. 6 are marked, so that the box is 3 .. 7."""
    _, ((source, study),) = series(tmp_path, oblique=True, decreasing=True)
    drawn = [study.grid.world(np.array([(z, 10, 5), (z, 10, 15), (z, 20, 15), (z, 20, 5), (z, 10, 5)]) - [0, 0.5, 0.5]) for z in (3.0, 6.0)]
    (box, _), _ = boxes_of(report_of(str(redraw(report(tmp_path / "sr", source, study), "POLYGON", *drawn))), placed(source))
    np.testing.assert_allclose([*box.low, *box.high], [3, 10, 5, 7, 20, 15], atol=1e-3)


def test_an_ellipsoid_is_bounded_in_the_way_of_the_image(tmp_path: Path) -> None:
    _, ((source, study),) = series(tmp_path, oblique=True)
    centre, radius = np.array([5.0, 15.0, 12.0]), 6.0
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    middle = study.grid.world(centre)
    ends = np.concatenate([[middle - radius * axis, middle + radius * axis] for axis in turn])
    (box, _), _ = boxes_of(report_of(str(redraw(report(tmp_path / "sr", source, study), "ELLIPSOID", ends))), placed(source))
    half = radius / np.array(study.grid.spacing_mm)
    np.testing.assert_allclose([*box.low, *box.high], [*(centre + 0.5 - half), *(centre + 0.5 + half)], atol=1e-3)


@pytest.mark.parametrize(("kind", "points", "wanted"), [
    ("CIRCLE", [(10, 12), (13, 16)], (7, 5, 17, 15)),
    ("ELLIPSE", [(4, 10), (16, 10), (10, 7), (10, 13)], (7, 4, 13, 16)),
    ("MULTIPOINT", [(4, 10), (16, 11), (10, 7.5)], (7.5, 4, 11, 16)),
])
def test_regions_in_pixels(tmp_path: Path, kind: str, points: list[tuple[float, float]], wanted: tuple[float, ...]) -> None:
    _, ((source, _),) = series(tmp_path)
    single = Source("dicom", source.files[4])
    flat = open_study(single)
    path = redraw(report(tmp_path / "sr", single, flat, np.array([[3, 4.5, 9, 12.125]])), kind, np.array(points))
    (box,), wrong = boxes_of(report_of(str(path)), placed(single))
    np.testing.assert_allclose([*box.low, *box.high], wanted, atol=1e-4)
    z = placed(source).planes[pydicom.dcmread(single.path).SOPInstanceUID, 0]
    (box,), _ = boxes_of(report_of(str(path)), placed(source))
    np.testing.assert_allclose([*box.low, *box.high], [z, *wanted[:2], z + 1, *wanted[2:]], atol=1e-4)
    assert boxes_of(report_of(str(path)), placed(Source("dicom", source.files[5])))[0] == [] and not wrong


def test_what_has_no_extent_or_no_place_is_told(tmp_path: Path) -> None:
    _, ((source, study),) = series(tmp_path)
    point = redraw(report(tmp_path / "sr", source, study), "POINT", study.grid.world(np.array([[4.0, 5, 6]])))
    boxes, wrong = boxes_of(report_of(str(point)), placed(source))
    assert [box.name for box in boxes] == [NAMES[1]] and "group 1 (nodule)" in wrong[0] and "marks a point, which has no extent" in wrong[0]
    bare = redraw(report(tmp_path / "bare", source, study), "POLYGON")
    boxes, wrong = boxes_of(report_of(str(bare)), placed(source))
    assert len(boxes) == 1 and wrong[0].endswith("has no region")
    moved = change(report(tmp_path / "moved", source, study), lambda item: [setattr(each, "ReferencedFrameOfReferenceUID", "1.2.3")
                                                                            for each in below(item, "SCOORD3D")])
    assert boxes_of(report_of(str(moved)), placed(source)) == ([], [])


def test_names_come_from_the_finding_where_no_class_is_stated(tmp_path: Path) -> None:
    _, ((source, study),) = series(tmp_path)

    def anonymous(item: pydicom.Dataset) -> None:
        for group in below(item, "CONTAINER"):
            group.ContentSequence = [each for each in group.ContentSequence if each.ConceptNameCodeSequence[0].CodingSchemeDesignator != "99VESALIUS"]

    read = report_of(str(change(report(tmp_path / "sr", source, study, names=("lung nodule", "cyst")), anonymous)))
    assert [group.name for group in read.groups] == ["Nodule", "Cyst"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    _, ((source, study),) = series(tmp_path)
    with pytest.raises(FormatError, match="the DICOM file is no structured report.*got CT"):
        report_of(source.files[0])
    path = report(tmp_path / "sr", source, study)

    def other(item: pydicom.Dataset) -> None:
        item.ContentTemplateSequence[0].TemplateIdentifier = "2000"
        item.ContentSequence = [each for each in item.ContentSequence if each.ValueType != "CONTAINER"]

    with pytest.raises(FormatError, match="the structured report is none of measurements.*TID 1500.*template 2000"):
        report_of(str(change(path, other)))
    whole = report(tmp_path / "whole", source, study).read_bytes()
    for cut in (700, 2000, len(whole) - 3000):
        (tmp_path / "half").write_bytes(whole[:-cut])
        with pytest.raises(FormatError, match="the file is truncated"):
            report_of(str(tmp_path / "half"))
    with pytest.raises(FormatError, match="there is no such file"):
        report_of(str(tmp_path / "absent"))
