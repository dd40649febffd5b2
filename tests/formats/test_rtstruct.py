"""RTSTRUCT as truth: the rule for samples on the border, holes, keyholes, slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicomseg import segment_mask
from vesalius.formats.rtstruct import filled_loops, marks_of, roi_mask
from vesalius.phantoms import make_phantom


def box(y0: float, x0: float, y1: float, x1: float) -> np.ndarray:
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)], float)


def test_a_centre_on_the_border_belongs_to_one_side() -> None:
    left, right = box(0, 0, 4, 2), box(0, 2, 4, 5)
    a, b = filled_loops([left], (6, 6)), filled_loops([right], (6, 6))
    assert a[:4, :2].all() and a.sum() == 8
    assert b[:4, 2:5].all() and b.sum() == 12
    np.testing.assert_array_equal(filled_loops([left + 1e-6], (6, 6)), a)


def test_holes_islands_and_keyholes() -> None:
    outer, hole, island = box(0.5, 0.5, 9.5, 9.5), box(2.5, 2.5, 7.5, 7.5), box(4.5, 4.5, 5.5, 5.5)
    nested = filled_loops([outer, hole, island], (11, 11))
    assert nested.sum() == 81 - 25 + 1
    assert nested[5, 5] and not nested[4, 4]
    channel = np.concatenate([outer, outer[:1], hole[:1], hole[::-1], outer[:1]])
    np.testing.assert_array_equal(filled_loops([channel], (11, 11)), filled_loops([outer, hole], (11, 11)))


def test_contours_beyond_the_image_are_cut() -> None:
    assert filled_loops([box(-5, -5, 20, 20)], (3, 4)).all()
    assert filled_loops([box(1, -9, 2, 9)], (3, 4)).sum() == 4
    assert not filled_loops([box(50, 50, 60, 60)], (3, 4)).any()
    assert not filled_loops([], (3, 4)).any()


@pytest.mark.parametrize("way", [{}, {"tilt": True, "oblique": True, "decreasing": True}])
def test_circles_give_the_samples_of_the_spheres(tmp_path: Path, way: dict[str, object]) -> None:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=2, size=32, slices=12, **way)
    study = open_study(next(s for s in find_sources(truth.data) if "P0001/ct" in s.path))
    folder = truth.path / "P0001"
    assert [(s.member, s.name) for s in marks_of(str(folder / "rtstruct")).structures] == [("1", "liver"), ("2", "kidney"), ("3", "nodule")]
    for member in "123":
        drawn = roi_mask(Source("rtstruct", str(folder / "rtstruct"), member), study)
        planted = segment_mask(Source("dicom-seg", str(folder / "seg"), member), study)
        assert (drawn != planted).sum() <= 0.01 * planted.sum()
    kidney = roi_mask(Source("rtstruct", str(folder / "rtstruct"), "2"), study)
    middle = int(kidney.sum((1, 2)).argmax())
    assert 5 < study.image[0][kidney].mean() - 140 < 40 and kidney[middle].any()


def structure_set(tmp_path: Path, contours: list[np.ndarray], kind: str = "CLOSED_PLANAR") -> Source:
    """A structure set of one region ``[N, 3]`` LPS mm."""
    truth = make_phantom("dicom-masks", tmp_path / "made", n=1, size=32, slices=4, objects="rtstruct")
    item = pydicom.dcmread(truth.path / "P0000" / "rtstruct")
    item.ReferencedFrameOfReferenceSequence = []
    for roi in item.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3"
    region = item.ROIContourSequence[0]
    region.ContourSequence = []
    for points in contours:
        contour = pydicom.Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints, contour.ContourData = kind, len(points), [f"{v:.4f}" for v in points.ravel()]
        region.ContourSequence.append(contour)
    item.save_as(tmp_path / "rt.dcm")
    return Source("rtstruct", str(tmp_path / "rt.dcm"), "1")


def flat(z: float, x0: float = 1.5, x1: float = 4.5) -> np.ndarray:
    return np.array([(x0, 1.5, z), (x1, 1.5, z), (x1, 4.5, z), (x0, 4.5, z)])


STUDY = Study(np.zeros((1, 5, 8, 8), np.int16), Grid.plain((5, 8, 8), (2.0, 1.0, 1.0)), source="image")


def test_contours_go_to_the_nearest_slice(tmp_path: Path) -> None:
    mask = roi_mask(structure_set(tmp_path, [flat(2.9), flat(6.0), flat(5.2, 1.5, 2.5), flat(9.0)]), STUDY)
    assert mask.sum((1, 2)).tolist() == [0, 9, 0, 9, 9], "2.9 is nearest to 2, 5.2 yields to 6.0, 9.0 is half a slice beyond the last"


def test_lines_and_points_mark_nothing(tmp_path: Path) -> None:
    source = structure_set(tmp_path, [flat(2.0)], "OPEN_PLANAR")
    assert not roi_mask(source, STUDY).any()
    assert not marks_of(source.path).structures[0].marked


def test_contours_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"contours lie outside of the image.*half a slice of image, got 1 of 2 contours, e.g. 12.00 mm"):
        roi_mask(structure_set(tmp_path, [flat(2), flat(20)]), STUDY)
    sagittal = flat(2)[:, [2, 1, 0]] + [0, 0, 0]
    with pytest.raises(FormatError, match="a contour does not lie in a slice of the image.*contour 1.*spans 3.00 mm"):
        roi_mask(structure_set(tmp_path / "b", [sagittal]), STUDY)


def test_bad_objects_are_one_error(tmp_path: Path) -> None:
    source = structure_set(tmp_path, [flat(2)])
    with pytest.raises(FormatError, match="no such region.*expected one of 1, 2, got 7"):
        roi_mask(Source("rtstruct", source.path, "7"), STUDY)
    other = Study(STUDY.image, STUDY.grid, source="image", meta={"frame_uid": "9.9"})
    with pytest.raises(FormatError, match="another patient space.*frame of reference 9.9 of image, got 1.2.3"):
        roi_mask(source, other)
    image = tmp_path / "made" / "data" / "P0000" / "ct" / "IM0000"
    with pytest.raises(FormatError, match="no structure set .*got CT"):
        marks_of(str(image))
    (tmp_path / "cut").write_bytes(Path(source.path).read_bytes()[:700])
    with pytest.raises(FormatError, match="damaged|no structure set|no such region"):
        roi_mask(Source("rtstruct", str(tmp_path / "cut"), "1"), STUDY)


@pytest.mark.realdata
def test_a_clinical_structure_set(shared_data: Path) -> None:
    """Its contours are 3 mm apart from -122.44 to 168.56 mm; one of its slices is here."""
    folder = shared_data / "dicom_derived_objects" / "dicompyler_rt"
    path = str(folder / "rtss.dcm")
    names = {s.name: s.member for s in marks_of(path).structures if s.marked}
    assert len(names) == 9 and "Areola" not in names
    one = open_study(Source("dicom", str(folder / "ct.0.dcm")))
    affine = one.grid.affine_lps.copy()
    affine[:3, 2], affine[:3, 3] = (0, 0, 3), affine[:3, 3] - [0, 0, 3 * 98]
    study = Study(np.zeros((1, 99, 512, 512), np.int8), Grid((99, 512, 512), (3.0, *one.grid.spacing_mm), affine), source="series")
    heart = roi_mask(Source("rtstruct", path, names["Heart"]), study)
    lung = roi_mask(Source("rtstruct", path, names["Lt Lung"]), study)
    assert heart.any((1, 2)).sum() == 33
    assert lung.any((1, 2)).sum() == 80
    assert heart.sum() * study.grid.voxel_mm3 / 1000 == pytest.approx(area_ml(path, names["Heart"]), rel=0.01)


def area_ml(path: str, member: str) -> float:
    """By the shoelace formula: single contours a slice, 3 mm apart."""
    region = next(r for r in pydicom.dcmread(path).ROIContourSequence if str(r.ReferencedROINumber) == member)
    total = 0.0
    for contour in region.ContourSequence:
        x, y, _ = np.array(contour.ContourData, float).reshape(-1, 3).T
        total += abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2
    return total * 3 / 1000
