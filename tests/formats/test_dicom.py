from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from making import dicom, noise, source
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats import header, open_study
from vesalius.formats.dicom import years

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pytest sets aside the package's own filter for pydicom
SHIPPED = sorted(path for path in (Path(pydicom.__file__).parent / "data").rglob("*") if path.is_file() and path.suffix in (".dcm",
                                                                                                                            "") and "__" not in path.name)
PATIENT = "DOE^JANE"


def opened(path: Path) -> object:
    return open_study(Source("dicom", str(path)))


def test_ct_is_in_hounsfield_units(tmp_path: Path) -> None:
    stored = noise(4, 6, high=4096, kind=np.uint16)
    path = dicom(tmp_path / "a.dcm", stored, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400, PatientID="P7",
                 PatientAge="045Y", PatientSex="F")
    study = open_study(source(path))
    np.testing.assert_array_equal(study.image[0], stored.astype(int) - 1024)
    assert study.image.dtype == np.int16
    assert (study.modality, study.bits) == ("CT", 12)
    assert study.window == (-160.0, 239.0)  # PS3.3 C.11.2.1.2.1: c - 0.5 -+ (w - 1) / 2
    assert (study.meta["patient_id"], study.meta["age"], study.meta["sex"]) == ("P7", 45.0, "F")
    assert header(source(path)) == {"shape": (4, 6), "channels": 1, "bits": 12, "modality": "CT", "patient_id": "P7"}


def test_fractional_rescale_is_float(tmp_path: Path) -> None:
    study = open_study(source(dicom(tmp_path / "a.dcm", np.array([[0, 3]], np.uint16), RescaleSlope=0.5, RescaleIntercept=0.25)))
    assert study.image.dtype == np.float32
    assert study.image.tolist() == [[[0.25, 1.75]]]


def test_modality_lut(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData, lut.ModalityLUTType = [3, 0, 16], np.array([10, 20, 40], np.uint16).tobytes(), "US"
    path = dicom(tmp_path / "a.dcm", np.array([[0, 1, 2, 2]], np.uint16), ModalityLUTSequence=Sequence([lut]))
    assert open_study(source(path)).image[0].tolist() == [[10, 20, 40, 40]]


def test_window_functions(tmp_path: Path) -> None:
    exact = dicom(tmp_path / "a.dcm", noise(4, 6), WindowCenter=[50, 1], WindowWidth=[100, 2], VOILUTFunction="LINEAR_EXACT")
    assert open_study(source(exact)).window == (0.0, 100.0)
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [256, 100, 16], np.arange(256, dtype=np.uint16).tobytes()
    assert open_study(source(dicom(tmp_path / "b.dcm", noise(4, 6), VOILUTSequence=Sequence([lut])))).window == (100.0, 355.0)
    assert open_study(source(dicom(tmp_path / "c.dcm", noise(4, 6), WindowCenter=50, WindowWidth=0))).window is None


def test_monochrome1_is_turned_with_its_window(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.array([[0, 1000], [4095, 0]], np.uint16), BitsStored=12, PhotometricInterpretation="MONOCHROME1", WindowCenter=1000.5,
                 WindowWidth=1001)
    study = open_study(source(path))
    assert study.image[0].tolist() == [[4095, 3095], [0, 4095]]
    assert study.image.dtype == np.uint16
    assert study.window == (4095 - 1500, 4095 - 500)
    assert study.meta["photometric"] == "MONOCHROME1"


def test_overlay_bits_are_not_signal(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.array([[0x1005, 0x0FFF]], np.uint16), BitsStored=12)
    assert open_study(source(path)).image[0].tolist() == [[5, 0xFFF]]


def test_signed_samples(tmp_path: Path) -> None:
    assert open_study(source(dicom(tmp_path / "a.dcm", np.array([[-5, 7]], np.int16)))).image[0].tolist() == [[-5, 7]]


def test_colour(tmp_path: Path) -> None:
    array = noise(4, 6, 3)
    study = open_study(source(dicom(tmp_path / "a.dcm", array)))
    np.testing.assert_array_equal(study.image, np.moveaxis(array, -1, 0))
    assert study.window is None


def test_ybr_is_rgb() -> None:
    rgb = opened(Path(str(get_testdata_file("SC_rgb_dcmtk_+eb+cr.dcm", download=False))))
    ybr = opened(Path(str(get_testdata_file("SC_rgb_dcmtk_+eb+cy+np.dcm", download=False))))
    assert np.abs(rgb.image.astype(int) - ybr.image).mean() < 4


def test_spacing_at_the_detector_is_said(tmp_path: Path) -> None:
    study = open_study(source(dicom(tmp_path / "a.dcm", noise(4, 6), ImagerPixelSpacing=[0.2, 0.1])))
    assert study.grid.spacing_mm == (0.2, 0.1)
    assert "at the detector" in study.meta["notes"][0]
    assert not open_study(source(dicom(tmp_path / "b.dcm", noise(4, 6)))).grid.spacing_known


def test_ultrasound_region_states_the_spacing(tmp_path: Path) -> None:
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.01, 0.02
    path = dicom(tmp_path / "a.dcm", noise(4, 6), SequenceOfUltrasoundRegions=Sequence([region]))
    assert open_study(source(path)).grid.spacing_mm == pytest.approx((0.2, 0.1))


def frame_group(k: int, intercept: float = 0.0) -> Dataset:
    group, position, rescale = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, 3.0 * k]
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, intercept
    group.PlanePositionSequence, group.PixelValueTransformationSequence = Sequence([position]), Sequence([rescale])
    return group


def shared_group() -> Dataset:
    group, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, orientation.ImageOrientationPatient = [0.5, 0.5], [1, 0, 0, 0, 1, 0]
    group.PixelMeasuresSequence, group.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    return group


def enhanced(path: Path, places: list[int]) -> Path:
    pixels = np.stack([np.full((4, 6), 10 * k, np.uint16) for k in places])
    return dicom(path, pixels, Rows=4, Columns=6, NumberOfFrames=len(places), SharedFunctionalGroupsSequence=Sequence([shared_group()]),
                 PerFrameFunctionalGroupsSequence=Sequence([frame_group(k, -k) for k in places]))


def test_enhanced_frames_are_sorted_and_rescaled_each(tmp_path: Path) -> None:
    study = open_study(source(enhanced(tmp_path / "a.dcm", [2, 0, 1])))
    assert study.image.shape == (1, 3, 4, 6)
    assert study.image[0, :, 0, 0].tolist() == [0, 9, 18]
    assert study.grid.spacing_mm == (3.0, 0.5, 0.5)
    assert header(source(tmp_path / "a.dcm"))["shape"] == (3, 4, 6)


def test_enhanced_frames_at_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="lie at the same place.*frame 1 and frame 3"):
        open_study(source(enhanced(tmp_path / "a.dcm", [0, 1, 0])))


def test_cine_is_a_stack_in_time_order(tmp_path: Path) -> None:
    array = noise(3, 4, 6)
    study = open_study(source(dicom(tmp_path / "a.dcm", array, Rows=4, Columns=6, NumberOfFrames=3)))
    np.testing.assert_array_equal(study.image[0], array)
    assert study.meta["frames"] == 3
    assert not study.grid.spacing_known


@pytest.mark.parametrize(("number", "held"), [("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation"), ("1.2.840.10008.5.1.4.1.1.481.2", "a radiotherapy dose")])
def test_findings_are_no_images(tmp_path: Path, number: str, held: str) -> None:
    with pytest.raises(FormatError, match=f"the DICOM file holds {held}"):
        open_study(source(dicom(tmp_path / "a.dcm", noise(4, 6), SOPClassUID=number)))


def test_too_few_samples_are_truncation(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", noise(4, 6), Rows=400, PatientName=PATIENT)
    with pytest.raises(FormatError, match=r"truncated or damaged.*1 x 400 x 6 x 1 samples of 8 bits of \(7FE0,0010\), got 24 bytes") as caught:
        open_study(source(path))
    assert "DOE" not in str(caught.value)


def test_a_bare_data_set_is_read_and_other_bytes_are_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", noise(4, 6))
    item = pydicom.dcmread(path)
    expected = open_study(source(path)).image
    item.save_as(tmp_path / "bare.dcm", enforce_file_format=False)
    raw = (tmp_path / "bare.dcm").read_bytes()
    start = raw.index(b"\x08\x00\x16\x00")
    (tmp_path / "bare.dcm").write_bytes(raw[start:])
    np.testing.assert_array_equal(open_study(source(tmp_path / "bare.dcm")).image, expected)
    (tmp_path / "other.dcm").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(FormatError, match="the file is not DICOM|not what its name says"):
        open_study(source(tmp_path / "other.dcm"))


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom(tmp_path / "a.dcm", np.zeros((512, 512), np.uint16))
    raw = path.read_bytes()
    item = pydicom.dcmread(path)
    start = 128 + 4 + 12 + item.file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(raw[start:]) + packer.flush()
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    item.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    deflated = (tmp_path / "b.dcm").read_bytes()
    assert len(deflated) < len(raw) / 20
    assert len(body) < len(raw) / 20
    assert open_study(source(tmp_path / "b.dcm")).image.max() == 0
    monkeypatch.setattr("vesalius.formats.base.MAX_SAMPLES", 1000)
    with pytest.raises(FormatError, match="too large to decode"):
        open_study(source(tmp_path / "b.dcm"))


def test_age() -> None:
    assert [years(text) for text in ("045Y", "006M", "014D", "", None, "old")] == [45.0, 0.5, pytest.approx(14 / 365.25), None, None, None]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_file_that_pydicom_ships_is_read_or_refused_for_a_reason(path: Path) -> None:
    where = Source("dicom", str(path))
    try:
        study = open_study(where)
    except FormatError as error:
        assert str(path) in str(error)
        assert error.expected is not None
        name = str(pydicom.dcmread(path, force=True).get("PatientName") or "")
        assert not name or name not in str(error).replace(str(path), "")
        return
    facts = header(where)
    assert (tuple(facts["shape"]), facts["channels"], facts["bits"]) == (study.grid.shape, study.channels, study.bits)
    assert np.isfinite(study.image).all()


READABLE = ("CT_small", "MR_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_bigendian", "JPGExtended", "JPEG2000",
            "693_J2KI", "image_dfl",
            "examples_palette", "examples_ybr_color", "SC_rgb_jpeg_dcmtk", "SC_rgb_rle_16bit")


@pytest.mark.parametrize("name", READABLE)
def test_these_shipped_files_are_read(name: str) -> None:
    study = opened(Path(str(get_testdata_file(f"{name}.dcm", download=False))))
    assert study.image.std() > 0


def test_every_syntax_gives_the_same_samples() -> None:
    plain = opened(Path(str(get_testdata_file("MR_small.dcm", download=False)))).image
    for name in ("RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "expb", "padded"):
        np.testing.assert_array_equal(opened(Path(str(get_testdata_file(f"MR_small_{name}.dcm", download=False)))).image, plain)


def test_a_broken_frame_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(FormatError, match="compressed frame is damaged.*14,540,801 JPEG 2000 tiles"):
        opened(Path(str(get_testdata_file("JPEG2000-embedded-sequence-delimiter.dcm", download=False))))


@pytest.mark.realdata
def test_real_single_files(shared_data: Path) -> None:
    shapes = {path.name: open_study(source(path)).image.shape for path in sorted((shared_data / "dicom_misc").glob("*.dcm"))}
    assert len(shapes) == 15
    assert shapes["HTJ2K_08_RGB.dcm"] == (3, 480, 640)
    assert shapes["eCT_Supplemental.dcm"] == (1, 2, 512, 512)
    plain, packed = (open_study(source(shared_data / "dicom_misc" / f"MR2_{name}.dcm")).image for name in ("UNCR", "J2KR"))
    np.testing.assert_array_equal(plain, packed)


def test_no_warning_quotes_the_file(tmp_path: Path) -> None:
    """In a process of its own, as pytest has its own filters."""
    import subprocess
    import sys

    path = dicom(tmp_path / "a.dcm", noise(4, 6), PatientID="X" * 80, StudyDate="not a date " + PATIENT)
    code = f"from vesalius.formats import find_sources, open_study; print(open_study(find_sources({str(path)!r})[0]).image.shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 4, 6)"
    assert "DOE" not in done.stderr
    assert done.stderr == ""


def test_a_jpeg_ls_frame_of_another_size_is_refused_before_its_decoder_ends_the_process(tmp_path: Path) -> None:
    item = pydicom.dcmread(get_testdata_file("JPEGLSNearLossless_08.dcm"))
    rows, columns = item.Rows, item.Columns
    item.Columns = columns + 1
    item.save_as(tmp_path / "other.dcm")
    with pytest.raises(FormatError, match=f"states another size than the data set.*expected {rows} x {columns + 1} x 1, got {rows} x {columns} x 1"):
        open_study(Source("dicom", str(tmp_path / "other.dcm")))
