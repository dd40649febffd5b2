"""benchmarks/dicom_files.py: what is read of the files that pydicom ships is what they hold."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_rescale, pixel_array

from vesalius.core.cohort import Source
from vesalius.formats import open_study

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "dicom_files.py"
DATA = Path(pydicom.__file__).parent / "data" / "test_files"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vesalius_dicom_files", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_all_files_are_read_or_refused_with_a_reason(program: ModuleType) -> None:
    paths = [path for path in program.shipped() if path.suffix == ".dcm"]
    assert len(paths) >= 104
    rows = [program.judged(path) for path in paths]
    assert {row.kind for row in rows} == {"read", "refused"} and sum(row.kind == "read" for row in rows) >= 60
    page = program.table(rows, rows[:6])
    assert str(DATA) not in page and "104 of them `*.dcm`" in page
    for row in rows:
        assert row.kind == "read" or ("expected" in row.read and "DOE" not in row.read.upper())


@pytest.mark.parametrize("name", ["CT_small", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless",
                                  "image_dfl", "SC_rgb", "SC_rgb_rle", "J2K_pixelrep_mismatch", "emri_small", "color3d_jpeg_baseline"])
def test_what_is_read_is_what_the_file_holds(name: str) -> None:
    path = DATA / f"{name}.dcm"
    if not path.exists():
        pytest.skip("this pydicom does not ship it")
    image, item = open_study(Source("dicom", str(path))).image, pydicom.dcmread(path)
    held = pixel_array(item)
    expected = np.moveaxis(held, -1, 0) if item.SamplesPerPixel == 3 else apply_rescale(held, item)[None]
    np.testing.assert_allclose(image.astype(float), expected.astype(float))
