"""Facts of how a file was made, and nothing of whose it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from vesalius.core.cohort import Source
from vesalius.errors import FormatError
from vesalius.formats.acquisition import acquisition


def test_a_picture_says_its_size_and_bits(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    assert acquisition(Source("raster", str(tmp_path / "a.png"))) == {"suffix": ".png", "height": 20, "width": 30, "bits": 8, "channels": 1}


def test_dicom_says_machine_view_and_date_but_not_who() -> None:
    facts = acquisition(Source("dicom", str(get_testdata_file("CT_small.dcm"))))
    assert facts["manufacturer"] == "GE MEDICAL SYSTEMS" and facts["modality"] == "CT" and facts["height"] == 128
    assert facts["date"] == 731599 and facts["kvp"] == 120 and 0.6 < facts["spacing_mm"] < 0.7
    assert not any("patient" in name or "CompressedSamples" in str(value) for name, value in facts.items())


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.png"):
        acquisition(Source("raster", str(tmp_path / "gone.png")))
