"""DICOM SEG as truth: frames placed by position, for every kind of segmentation and every way that slices lie."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.sr.codedict import codes

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicomseg import marks_of, segment_mask
from vesalius.phantoms import make_phantom
from vesalius.phantoms.truth import Truth

WAYS: list[dict[str, object]] = [{}, {"tilt": True}, {"oblique": True}, {"decreasing": True}, {"tilt": True, "oblique": True, "decreasing": True},
                                 {"anisotropic": False}]


def made(tmp_path: Path, **options: object) -> tuple[Truth, Study, str]:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=2, size=32, slices=12, **options)
    return truth, open_study(next(s for s in find_sources(truth.data) if "P0001/ct" in s.path)), str(truth.path / "P0001" / "seg")


def edited(path: str, out: Path, **values: object) -> str:
    item = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(item, keyword, value)
    item.save_as(out)
    return str(out)


@pytest.mark.parametrize("way", WAYS)
def test_spheres_are_where_they_were_planted(tmp_path: Path, way: dict[str, object]) -> None:
    truth, study, path = made(tmp_path, **way)
    for structure in marks_of(path).structures:
        mask = segment_mask(Source("dicom-seg", path, structure.member), study)
        assert mask.sum() == truth.planted["voxels"]["P0001/ct"][structure.name]
        bright = study.image[0][mask].mean()
        assert bright == pytest.approx({"liver": 70, "kidney": 160, "nodule": 240}[structure.name], abs=5)
        volume = truth.planted["volumes_mm3"]["P0001/ct"][structure.name]
        assert mask.sum() * study.grid.voxel_mm3 == pytest.approx(volume, rel=0.25 if structure.name == "nodule" else 0.1)


def test_what_a_segmentation_says_of_itself(tmp_path: Path) -> None:
    _, study, path = made(tmp_path)
    marks = marks_of(path)
    assert [(s.member, s.name, s.marked) for s in marks.structures] == [("1", "liver", True), ("2", "kidney", True), ("3", "nodule", True)]
    assert (marks.exclusive, marks.created, marks.series) == (True, "20260103080000", (study.meta["series_uid"],))
    assert marks.frame_uid == study.meta["frame_uid"]


def test_a_finer_segmentation_is_resampled_and_a_turned_one_refused(tmp_path: Path) -> None:
    _, study, path = made(tmp_path)
    item = pydicom.dcmread(path)
    frames = np.repeat(np.repeat(item.pixel_array, 2, 1), 2, 2)
    spacing = item.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    old = [float(v) for v in spacing.PixelSpacing]
    spacing.PixelSpacing = [v / 2 for v in old]
    for group in item.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        x, y, z = (float(v) for v in place.ImagePositionPatient)
        place.ImagePositionPatient = [x - old[1] / 4, y - old[0] / 4, z]
    item.Rows, item.Columns = frames.shape[1:]
    item.PixelData = np.packbits(frames.ravel(), bitorder="little").tobytes()
    item.save_as(tmp_path / "fine.dcm")
    for member in "123":
        fine = segment_mask(Source("dicom-seg", str(tmp_path / "fine.dcm"), member), study)
        np.testing.assert_array_equal(fine, segment_mask(Source("dicom-seg", path, member), study))
    item = pydicom.dcmread(path)
    item.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    item.save_as(tmp_path / "turned.dcm")
    with pytest.raises(FormatError, match=r"not parallel to the image \(.*turned.dcm#1, frame .*the planes of .*P0001/ct, got planes turned by 90.0 degrees"):
        segment_mask(Source("dicom-seg", str(tmp_path / "turned.dcm"), "1"), study)


@pytest.mark.parametrize(("shift", "told"), [((0, 0, 1.4), "planes of the segmentation are not those of the image"), ((0, 0, 300), "nearest .* mm away"),
                                             ((25, 0, 0), "marks samples outside of the image")])
def test_frames_beside_the_image_are_refused(tmp_path: Path, shift: tuple[float, float, float], told: str) -> None:
    _, study, path = made(tmp_path)
    item = pydicom.dcmread(path)
    for group in item.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [float(v) + d for v, d in zip(place.ImagePositionPatient, shift, strict=True)]
    item.save_as(tmp_path / "off.dcm")
    with pytest.raises(FormatError, match=told):
        segment_mask(Source("dicom-seg", str(tmp_path / "off.dcm"), "1"), study)


def test_bad_objects_are_one_error(tmp_path: Path) -> None:
    _, study, path = made(tmp_path)
    with pytest.raises(FormatError, match="no such segment.*expected one of 1, 2, 3, got 9"):
        segment_mask(Source("dicom-seg", path, "9"), study)
    with pytest.raises(FormatError, match="names no structure.*got liver"):
        segment_mask(Source("dicom-seg", path, "liver"), study)
    with pytest.raises(FormatError, match="there is no such file"):
        segment_mask(Source("dicom-seg", str(tmp_path / "none"), "1"), study)
    with pytest.raises(FormatError, match="no segmentation .*got CT"):
        marks_of(str(next((Path(path).parent / "ct").iterdir())))
    (tmp_path / "cut").write_bytes(Path(path).read_bytes()[:-200])
    with pytest.raises(FormatError, match="truncated or damaged.*1,024 bytes"):
        segment_mask(Source("dicom-seg", str(tmp_path / "cut"), "1"), study)
    other = edited(path, tmp_path / "other", FrameOfReferenceUID="1.2.3", ReferencedSeriesSequence=[])
    with pytest.raises(FormatError, match="another patient space than the image.*expected frame of reference .*P0001/ct, got 1.2.3"):
        segment_mask(Source("dicom-seg", other, "1"), study)


def description(number: int) -> hd.seg.SegmentDescription:
    algorithm = hd.AlgorithmIdentificationSequence("x", codes.cid7162.ArtificialIntelligence, "1")
    return hd.seg.SegmentDescription(number, f"s{number}", codes.SCT.Tissue, codes.SCT.Tissue, "AUTOMATIC", algorithm)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_every_kind_that_highdicom_writes(tmp_path: Path, kind: str) -> None:
    """The slices are given from head to feet, the study holds them from feet to head."""
    truth, study, _ = made(tmp_path)
    items = sorted((pydicom.dcmread(p) for p in (truth.path / "P0001" / "ct").iterdir()), key=lambda item: -float(item.ImagePositionPatient[2]))
    labels = np.random.default_rng(0).integers(0, 3, (12, 32, 32)).astype(np.uint8)
    given = labels if kind != "FRACTIONAL" else np.stack([(labels == 1) * 0.6, (labels == 2) * 0.6 + (labels == 1) * 0.3], -1)
    hd.seg.Segmentation(items, given, kind, [description(1), description(2)], hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "1").save_as(tmp_path / "s.dcm")
    assert [s.member for s in marks_of(str(tmp_path / "s.dcm")).structures] == ["1", "2"]
    for number in (1, 2):
        np.testing.assert_array_equal(segment_mask(Source("dicom-seg", str(tmp_path / "s.dcm"), str(number)), study), labels[::-1] == number)


def test_a_radiograph_has_no_position(tmp_path: Path) -> None:
    truth = make_phantom("dicom", tmp_path / "d", n=1, slices=2, size=32, odd=True)
    film = next(s for s in find_sources(truth.data) if "IM0000" in s.path)
    study, item = open_study(film), pydicom.dcmread(film.path)
    marked = np.zeros(study.grid.shape, np.uint8)
    marked[3:9, 5:20] = 1
    hd.seg.Segmentation([item], marked, "BINARY", [description(1)], hd.UID(), 1, hd.UID(), 1, "m", "m", "1", "1").save_as(tmp_path / "s.dcm")
    source = Source("dicom-seg", str(tmp_path / "s.dcm"), "1")
    np.testing.assert_array_equal(segment_mask(source, study), marked == 1)
    with pytest.raises(FormatError, match="states no position.*got"):
        segment_mask(source, Study(study.image[:, 1:], type(study.grid).plain((study.grid.shape[0] - 1, study.grid.shape[1]))))


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["ct_binary", "ct_binary_fractional", "ct_true_fractional"])
def test_files_of_highdicom_agree_with_its_own_reader(shared_data: Path, name: str) -> None:
    """The series is pydicom's; the fourth of its files lies 20 cm away."""
    files = [f for f in get_testdata_files("dicomdirtests/77654033/CT2/*") if float(pydicom.dcmread(f).ImagePositionPatient[2]) > 0]
    study = open_study(Source("dicom", "CT2", None, tuple(files)))
    path = str(shared_data / "dicom_derived_objects" / "highdicom" / f"seg_image_{name}.dcm")
    volume = hd.seg.segread(path).get_volume(segment_numbers=[1])
    index = np.argwhere(volume.array[..., 0] >= 0.5)
    theirs = (np.c_[index, np.ones(len(index))] @ volume.affine.T)[:, :3]
    mine = study.grid.world(np.argwhere(segment_mask(Source("dicom-seg", path, "1"), study)))
    assert len(mine) == 638
    np.testing.assert_allclose(sorted(map(tuple, mine.round(3))), sorted(map(tuple, theirs.round(3))), atol=2e-3)


@pytest.mark.realdata
def test_frames_of_slices_that_are_not_here_and_of_slides_are_refused(shared_data: Path) -> None:
    folder = shared_data / "dicom_derived_objects" / "highdicom"
    files = [f for f in get_testdata_files("dicomdirtests/77654033/CT2/*") if float(pydicom.dcmread(f).ImagePositionPatient[2]) > 0]
    study = open_study(Source("dicom", "CT2", None, tuple(files)))
    assert not marks_of(str(folder / "seg_image_ct_binary_overlap.dcm")).exclusive
    with pytest.raises(FormatError, match="expected a slice of CT2 within 0.125 mm, got the nearest 202.50 mm away"):
        segment_mask(Source("dicom-seg", str(folder / "seg_image_ct_binary_overlap.dcm"), "2"), study)
    with pytest.raises(FormatError, match="one of a slide"):
        marks_of(str(folder / "seg_image_sm_dots.dcm"))
