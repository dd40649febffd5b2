"""Every kind of file says what was found, in patient coordinates, and what does not is not handed out."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding, Mask
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError, RunError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicom import filled
from vesalius.formats.nifti import RAS_TO_LPS
from vesalius.phantoms import make_phantom
from vesalius.stages.writing import WRITERS, Writer, write_finding
from vesalius.stages.writing.dicomseg import SegWriter
from vesalius.stages.writing.rtstruct import RtstructWriter

ALL = ("nifti", "png", "dicom-seg", "rtstruct")
NAMES = ("liver", "kidney cyst", "ring", "dot", "nowhere")
WAYS: list[dict[str, object]] = [{}, {"oblique": True, "decreasing": True}, {"tilt": True, "oblique": True}, {"gap": True}]


def series(tmp_path: Path, **options: object) -> tuple[Source, Study]:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=1, size=32, slices=10, **options)
    source = filled(next(s for s in find_sources(truth.data) if s.files))
    return source, open_study(source)


def labels_on(shape: tuple[int, ...]) -> np.ndarray:
    """A block up to the corner of the image, scattered samples, a ring with an island, a single sample; the fifth structure is empty."""
    labels = np.zeros(shape, np.uint8)
    labels[0:3, 0:9, 0:7] = 1
    labels[3] = 2 * (np.random.default_rng(0).random(shape[1:]) < 0.3)
    labels[5:7, 4:20, 5:25], labels[5:7, 7:17, 8:22], labels[5:7, 11:13, 12:15] = 3, 0, 3
    labels[9, 31, 31] = 4
    return labels


def finding_of(labels: np.ndarray, study: Study) -> Finding:
    return Finding("case", "liver", None, study.grid, (Mask(labels, study.grid, NAMES),))


@pytest.mark.parametrize("way", WAYS)
def test_each_kind_says_what_was_found(tmp_path: Path, way: dict[str, object]) -> None:
    source, study = series(tmp_path, **way)
    labels = labels_on(study.grid.shape)
    paths = write_finding(finding_of(labels, study), source, tmp_path / "out", ALL)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in paths.values()}
    table = json.loads(paths["table"].read_text())
    assert table["classes"] == {name: n for n, name in enumerate(NAMES, 1)}
    assert all(count == 0 for kind in ("nifti", "dicom-seg", "rtstruct") for count in table["differing_samples"][kind].values())
    image: nib.Nifti1Image = nib.load(paths["nifti"])
    index = np.argwhere(np.asarray(image.dataobj) == 3)
    theirs = (np.c_[index, np.ones(len(index))] @ (RAS_TO_LPS @ image.affine).T)[:, :3]
    mine = study.grid.world(np.argwhere(labels == 3))
    np.testing.assert_allclose(sorted(map(tuple, theirs.round(2))), sorted(map(tuple, mine.round(2))), atol=0.02)
    assert Image.open(paths["png"]).size[0] > 400


@pytest.mark.parametrize("way", WAYS[:2])
def test_a_segmentation_agrees_with_highdicoms_own_reader(tmp_path: Path, way: dict[str, object]) -> None:
    source, study = series(tmp_path, **way)
    labels = labels_on(study.grid.shape)
    seg = hd.seg.segread(write_finding(finding_of(labels, study), source, tmp_path / "out", ["dicom-seg"])["dicom-seg"])
    volume = seg.get_volume(segment_numbers=[3], combine_segments=False)
    index = np.argwhere(volume.array[..., 0])
    theirs = (np.c_[index, np.ones(len(index))] @ volume.affine.T)[:, :3]
    np.testing.assert_allclose(sorted(map(tuple, theirs.round(2))), sorted(map(tuple, study.grid.world(np.argwhere(labels == 3)).round(2))), atol=0.02)
    described = [seg.get_segment_description(n) for n in range(1, 6)]
    assert [each.SegmentLabel for each in described] == list(NAMES)
    assert {each.SegmentAlgorithmType for each in described} == {"AUTOMATIC"}
    assert [each.segmented_property_type.meaning for each in described] == ["Liver", "Cyst", "Tissue", "Tissue", "Tissue"]
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == study.meta["series_uid"]
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    (origin,) = frame.DerivationImageSequence[0].SourceImageSequence
    shown = next(item for path in source.files if (item := pydicom.dcmread(path)).SOPInstanceUID == origin.ReferencedSOPInstanceUID)
    np.testing.assert_allclose(list(map(float, shown.ImagePositionPatient)), list(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)), atol=1e-3)


def test_a_structure_set_refers_to_its_images_and_marks_holes(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    item = pydicom.dcmread(write_finding(finding_of(labels_on(study.grid.shape), study), source, tmp_path / "out", ["rtstruct"])["rtstruct"])
    assert [roi.ROIName for roi in item.StructureSetROISequence] == list(NAMES)
    assert (item.PatientID, item.StudyInstanceUID, item.FrameOfReferenceUID) == ("P0000", study.meta["study_uid"], study.meta["frame_uid"])
    block, _, ring, dot, nowhere = item.ROIContourSequence
    assert {c.ContourGeometricType for c in block.ContourSequence} == {"CLOSED_PLANAR"}
    assert [c.ContourGeometricType for c in ring.ContourSequence] == ["CLOSEDPLANAR_XOR"] * 6
    assert len(dot.ContourSequence) == 1 and dot.ContourSequence[0].NumberOfContourPoints == 4
    assert "ContourSequence" not in nowhere
    corners = np.array(dot.ContourSequence[0].ContourData, float).reshape(-1, 3)
    np.testing.assert_allclose(corners.mean(0), study.grid.world(np.array([9, 31, 31])), atol=1e-4)
    named = {c.ContourImageSequence[0].ReferencedSOPInstanceUID for r in (block, ring, dot) for c in r.ContourSequence}
    places = {pydicom.dcmread(path).SOPInstanceUID for path in source.files}
    assert len(named) == 6 and named < places
    assert str(item.SOPInstanceUID) not in str(tmp_path / "out")


def test_structures_that_overlap(tmp_path: Path) -> None:
    source, study = series(tmp_path, oblique=True)
    whole, core = np.zeros(study.grid.shape, np.uint8), np.zeros(study.grid.shape, np.uint8)
    whole[2:8, 5:20, 5:20], core[4:6, 8:12, 8:12] = 1, 1
    finding = Finding("case", "x", None, study.grid, (Mask(whole, study.grid, ("whole",)), Mask(core, study.grid, ("core",))))
    paths = write_finding(finding, source, tmp_path / "out", ALL, study=study, stem="p1")
    assert json.loads(paths["table"].read_text())["overlapping"] is True
    assert np.asarray(nib.load(paths["nifti"]).dataobj).sum((0, 1, 2)).tolist() == [whole.sum(), core.sum()]
    assert paths["nifti"].name == "p1.nii.gz"
    assert hd.seg.segread(paths["dicom-seg"]).number_of_segments == 2


def test_a_finding_without_any_mark(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    paths = write_finding(finding_of(np.zeros(study.grid.shape, np.uint8), study), source, tmp_path / "out", ALL)
    assert not hd.seg.segread(paths["dicom-seg"]).pixel_array.any()


def test_one_slice_and_a_picture(tmp_path: Path) -> None:
    source, study = series(tmp_path, oblique=True)
    single = Source("dicom", source.files[4])
    flat = open_study(single)
    mask = labels_on((10, *flat.grid.shape))[5]
    write_finding(finding_of(mask, flat), single, tmp_path / "out", ALL)
    Image.fromarray(np.arange(32 * 40, dtype=np.uint8).reshape(32, 40)).save(tmp_path / "a.png")
    picture = Source("raster", str(tmp_path / "a.png"))
    finding = finding_of(labels_on((10, 32, 40))[5], open_study(picture))
    drawn = write_finding(finding, picture, tmp_path / "flat", ["nifti", "png"])
    assert (np.asarray(Image.open(drawn["png"]))[: 420 * 32 // 40] == (0, 160, 135)).all(-1).any()
    with pytest.raises(OptionError, match="a DICOM SEG needs a DICOM image.*got raster"):
        write_finding(finding, picture, tmp_path / "x", ["nifti", "dicom-seg"])
    assert not (tmp_path / "x").exists()
    with pytest.raises(OptionError, match="an RTSTRUCT needs a DICOM image"):
        write_finding(finding, picture, tmp_path / "x", ["rtstruct"])
    with pytest.raises(OptionError, match="unknown kind of file 'niftu'.*nifti"):
        write_finding(finding, picture, tmp_path / "x", ["niftu"])


class Shifting:
    """Writes a finding that is moved by one column."""

    @classmethod
    def moved(cls, writer: type[Writer], monkeypatch: pytest.MonkeyPatch) -> None:
        honest = writer.write.__func__  # type: ignore[attr-defined]

        def write(cls: type[Writer], marked: object, part: Path) -> None:
            shifted = [np.roll(each, 3, -1) for each in marked.maps]  # type: ignore[attr-defined]
            honest(cls, type(marked)(marked.study, marked.source, marked.names, tuple(shifted), marked.places), part)  # type: ignore[attr-defined,call-arg]

        monkeypatch.setattr(writer, "write", classmethod(write))


@pytest.mark.parametrize("kind", ["nifti", "dicom-seg", "rtstruct"])
def test_a_file_that_says_something_else_is_removed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = series(tmp_path)
    Shifting.moved(WRITERS.get(kind), monkeypatch)
    labels = np.zeros(study.grid.shape, np.uint8)
    labels[4, 10:20, 10:20] = 1
    with pytest.raises(RunError, match=rf"the {kind} file does not say what was found.*expected 100 samples of 'liver', got [0-9]+ that differ, "
                                       r"first at index \(4, 10, [12][0-9]\), LPS \(.*\) mm; the file was removed"):
        write_finding(finding_of(labels, study), source, tmp_path / "out", [kind])
    assert list((tmp_path / "out").iterdir()) == []


def test_contours_may_differ_at_the_rim_and_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = series(tmp_path)
    labels = np.zeros(study.grid.shape, np.uint8)
    labels[4, 10:20, 10:20] = 1
    read = RtstructWriter.read
    monkeypatch.setattr(RtstructWriter, "read", lambda marked, part: [np.roll(each, 1, -1) for each in read(marked, part)])
    table = json.loads(write_finding(finding_of(labels, study), source, tmp_path / "out", ["rtstruct"])["table"].read_text())
    assert table["differing_samples"]["rtstruct"]["liver"] == 20


def test_a_file_that_cannot_be_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, study = series(tmp_path)
    monkeypatch.setattr(SegWriter, "write", classmethod(lambda cls, marked, part: part.write_bytes(b"nothing")))
    with pytest.raises(RunError, match="the dicom-seg file cannot be read back.*mask.seg.dcm"):
        write_finding(finding_of(labels_on(study.grid.shape), study), source, tmp_path / "out", ["dicom-seg"])
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_findings_and_images(tmp_path: Path) -> None:
    source, study = series(tmp_path)
    with pytest.raises(DataError, match="marks no structure.*case"):
        write_finding(Finding("case", "x", 0.5, study.grid), source, tmp_path / "out", ["nifti"])
    other = type(study.grid).plain((10, 32, 32))
    with pytest.raises(DataError, match="does not lie on the grid of the image.*P0000/ct"):
        write_finding(Finding("case", "x", None, other, (Mask(np.zeros((10, 32, 32), int), other),)), source, tmp_path / "out", ["nifti"])
    for keyword, told in (("FrameOfReferenceUID", "needs the image's frame of reference"), ("StudyInstanceUID", "nothing can refer to the DICOM image")):
        folder = tmp_path / keyword
        folder.mkdir()
        files = []
        for path in source.files:
            item = pydicom.dcmread(path)
            delattr(item, keyword)
            files.append(str(folder / Path(path).name))
            item.save_as(files[-1])
        bare = Source("dicom", str(folder), None, tuple(files))
        for kind in ("dicom-seg", "rtstruct"):
            with pytest.raises(DataError, match=told):
                write_finding(finding_of(labels_on(study.grid.shape), study), bare, tmp_path / "out", [kind])


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["12-T1post-05670", "36459-FLAIRreg-76244", "13_HCropVolume"])
def test_real_series_of_mr(shared_data: Path, tmp_path: Path, folder: str) -> None:
    (source,) = find_sources(shared_data / "dicom_brain_mr_series" / "Study1" / folder)
    study = open_study(source)
    labels = np.zeros(study.grid.shape, np.uint8)
    y, x = (n // 3 for n in study.grid.shape[1:])
    inner = study.image[0, 4:18, y : 2 * y, x : 2 * x]
    labels[4:18, y : 2 * y, x : 2 * x][inner > np.percentile(inner, 80)] = 1
    labels[3, 7, 9] = 4
    paths = write_finding(finding_of(labels, study), source, tmp_path, ALL, study=study)
    counts = json.loads(paths["table"].read_text())["differing_samples"]
    assert all(set(counts[kind].values()) == {0} for kind in ("nifti", "dicom-seg", "rtstruct"))


@pytest.mark.realdata
@pytest.mark.slow
def test_a_real_series_of_ct_with_organs(shared_data: Path, tmp_path: Path) -> None:
    """20 slices of 512 x 512 in JPEG 2000, with the label map of another program on the same grid.

    Somebody took every identifier away, so that nothing could refer to the images; new ones are put in.
    """
    folder = shared_data / "totalsegmentator_examples"
    (bare,) = find_sources(folder / "example_ct_dicom")
    study = open_study(bare)
    with pytest.raises(DataError, match="nothing can refer to the DICOM image.*expected StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID"):
        write_finding(finding_of(np.ones(study.grid.shape, np.uint8), study), bare, tmp_path, ["dicom-seg"], study=study)
    for n, path in enumerate(bare.files):
        item = pydicom.dcmread(path)
        item.StudyInstanceUID, item.SeriesInstanceUID, item.SOPInstanceUID = "1.2.3", "1.2.3.4", f"1.2.3.4.{n + 1}"
        item.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        item.save_as(tmp_path / f"{n}.dcm")
    source = Source("dicom", str(tmp_path), None, tuple(str(tmp_path / f"{n}.dcm") for n in range(len(bare.files))))
    theirs = open_study(Source("nifti", str(folder / "example_seg_dicom.nii.gz")))
    y, x = (1 if np.sign(theirs.grid.affine_lps[i, i]) == np.sign(study.grid.affine_lps[i, i]) else -1 for i in (1, 0))
    z = 1 if np.sign(theirs.grid.affine_lps[2, 2]) == np.sign(study.grid.affine_lps[2, 2]) else -1
    numbers = theirs.image[0][::z, ::y, ::x]
    assert numbers.shape == study.grid.shape
    found = [int(v) for v in np.unique(numbers) if v][:6]
    labels = np.zeros(study.grid.shape, np.uint8)
    for place, number in enumerate(found, 1):
        labels[numbers == number] = place
    names = tuple(f"organ {number}" for number in found)
    finding = Finding("ct", "x", None, study.grid, (Mask(labels, study.grid, names),))
    paths = write_finding(finding, source, tmp_path / "out", ALL, study=study)
    counts = json.loads(paths["table"].read_text())["differing_samples"]
    assert all(set(counts[kind].values()) == {0} for kind in ("nifti", "dicom-seg", "rtstruct"))
