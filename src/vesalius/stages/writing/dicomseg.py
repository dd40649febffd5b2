"""A finding as DICOM Segmentation (PS3.3 A.51) through highdicom: binary, a segment for each structure, on the planes of the source."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes

from vesalius import __version__
from vesalius.core.cohort import Source
from vesalius.errors import DataError
from vesalius.formats.dicomplanes import planes_of
from vesalius.formats.dicomseg import segment_mask
from vesalius.stages.writing._reference import Reference, finished, is_dicom, reference_of
from vesalius.stages.writing.base import WRITERS, Marked, Writer
from vesalius.stages.writing.codes import codes_of

MAKER, MODEL = "Vesalius", "vesalius"
SERIES_NUMBER = 300
LABEL_LENGTH = 64
"""Characters of a segment's label (VR LO)."""
warnings.filterwarnings("ignore", message=".*omit_empty_frames.*", module=r"highdicom\.")
"""An empty finding is stored with empty frames, which is right."""


@WRITERS.register("dicom-seg")
class SegWriter(Writer):
    """One file with one bit a sample. A structure that is nowhere has a segment without frames; a finding without any mark has empty frames."""

    name = "dicom-seg"
    suffix = ".seg.dcm"

    @classmethod
    def check(cls, marked: Marked) -> None:
        is_dicom(marked, "a DICOM SEG")

    @classmethod
    def write(cls, marked: Marked, part: Path) -> None:
        reference = reference_of(marked)
        seg = hd.seg.Segmentation(
            source_images=reference.items, pixel_array=_samples(marked), segmentation_type="BINARY", segment_descriptions=_descriptions(marked),
            series_instance_uid=marked.uid("seg/series"), series_number=SERIES_NUMBER, sop_instance_uid=marked.uid("seg"), instance_number=1,
            manufacturer=MAKER, manufacturer_model_name=MODEL, software_versions=__version__, device_serial_number="0", content_label="VESALIUS",
            series_description="Vesalius segmentation", **_geometry(marked, reference))
        if "ImageOrientationPatient" not in reference.first:
            seg.PatientOrientation = reference.first.get("PatientOrientation", "")  # type 2C where no plane states it (PS3.3 C.7.6.1)
        finished(seg, reference).save_as(part, enforce_file_format=True)

    @classmethod
    def read(cls, marked: Marked, part: Path) -> list[np.ndarray]:
        return [segment_mask(Source("dicom-seg", str(part), str(n)), marked.study) for n in range(1, len(marked.names) + 1)]


def _samples(marked: Marked) -> np.ndarray:
    """A label map ``[Z, Y, X]``, or ``[Z, Y, X, K]`` of 0/1 where structures may overlap."""
    if marked.exclusive:
        labels = marked.labels()
        return labels if labels.ndim == 3 else labels[None]
    stacked = np.stack([marked.mask(i) for i in range(len(marked.names))], -1).astype(np.uint8)
    return stacked if stacked.ndim == 4 else stacked[None]


def _descriptions(marked: Marked) -> list[Any]:
    algorithm = hd.AlgorithmIdentificationSequence(name=MAKER, version=__version__, family=codes.cid7162.ArtificialIntelligence)
    found = []
    for n, name in enumerate(marked.names, 1):
        category, kind = codes_of(name)
        found.append(hd.seg.SegmentDescription(segment_number=n, segment_label=name[:LABEL_LENGTH], segmented_property_category=category,
                                               segmented_property_type=kind, algorithm_type=marked.algorithm,
                                               algorithm_identification=None if marked.algorithm == "MANUAL" else algorithm))
    return found


def _geometry(marked: Marked, reference: Reference) -> dict[str, Any]:
    """Where every plane lies, stated in full, so that neither interpolated slices nor the order of files matter.

    A radiograph has no place in the patient; its segmentation covers it sample by sample.
    """
    located = "ImagePositionPatient" in reference.first or "PerFrameFunctionalGroupsSequence" in reference.first
    if not located:
        return {}
    if not reference.first.get("FrameOfReferenceUID"):
        raise DataError("a DICOM SEG needs the image's frame of reference", where=str(marked.source), expected="FrameOfReferenceUID (0020,0052)",
                        got="a file without", do="write nifti instead")
    planes = planes_of(marked.study)
    down, right = float(np.linalg.norm(planes.down_mm)), float(np.linalg.norm(planes.right_mm))
    measures = hd.PixelMeasuresSequence(pixel_spacing=[down, right], slice_thickness=planes.step_mm, spacing_between_slices=planes.step_mm)
    turned = hd.PlaneOrientationSequence("PATIENT", [*(planes.right_mm / right), *(planes.down_mm / down)])
    positions = [hd.PlanePositionSequence("PATIENT", list(origin)) for origin in planes.origins_mm]
    return {"pixel_measures": measures, "plane_orientation": turned, "plane_positions": positions}
