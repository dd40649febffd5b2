"""A corrected mask of a finding that had an RTSTRUCT: outlines of what the doctor drew."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom

from stages.serve.clinicstandins import mask_model, series, standard_errors
from stages.serve.test_decisions import Site, grid_of
from vesalius.core.cohort import Source
from vesalius.formats import open_study
from vesalius.formats.rtstruct import roi_mask
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.reading import read_series


def test_a_corrected_mask_has_new_outlines_where_the_finding_had_some(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", series(tmp_path / "p"))
    finding = read_series(mask_model((8, 32, 32)), site.files, site.folder_of("j1"), name="lung", objects=("rtstruct", "sr"))
    assert finding["files"]["objects"] == ["rtstruct.dcm", "sr.dcm"]
    drawn = np.zeros((10, 32, 32), np.uint8)
    drawn[2:5, 4:9, 6:11], drawn[7, 20:23, 20:25] = 1, 2
    write_volume(site.folder_of("j1") / "drawn.nii.gz", drawn, grid_of(site, finding))
    made = decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    assert [path.name for path in made] == ["rtstruct.dcm", "seg.dcm", "sr.dcm"]
    study = open_study(Source("dicom", str(site.files[0].parent), None, tuple(map(str, site.files))))
    for number in (1, 2):
        assert np.array_equal(roi_mask(Source("rtstruct", str(made[0]), str(number)), study), drawn == number)
    held, before = pydicom.dcmread(made[0]), pydicom.dcmread(site.folder_of("j1") / "rtstruct.dcm")
    assert len({held.SOPInstanceUID, before.SOPInstanceUID, *(pydicom.dcmread(path).SOPInstanceUID for path in made[1:])}) == 4
    assert {each.ROIGenerationAlgorithm for each in held.StructureSetROISequence} == {"SEMIAUTOMATIC"} and not standard_errors(made[0])
    again = decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    shutil.rmtree(made[0].parent)
    anew = decided(site, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    assert again == made == anew and pydicom.dcmread(anew[0]).SOPInstanceUID == held.SOPInstanceUID
