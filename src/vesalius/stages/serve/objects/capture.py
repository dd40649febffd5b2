"""The picture of a finding as secondary capture (PS3.3 A.8.1): what a workstation can show that knows neither SEG nor SR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from vesalius import __version__
from vesalius.errors import RunError
from vesalius.formats.dicom import parsed
from vesalius.stages.serve.objects.ids import Ids
from vesalius.stages.writing._reference import Reference, finished
from vesalius.storage import atomic_file

SERIES_NUMBER = 303
DESCRIPTION = "Vesalius picture, research use, unverified"
BURNED = "Research use only. Made by an algorithm. A doctor decides."
LINE = 18
LONGEST = 90
"""Characters of a line; what is longer is cut."""
WIDTH = 480
"""A picture is set on a canvas at least so wide, so that the lines fit."""


def write_capture(path: Path, picture: Path, finding: Mapping[str, Any], reference: Reference, ids: Ids) -> None:
    """Write a picture (PNG) with the model's answer and the line on research use below it, and read it back.

    The object says that annotation is burned in. It holds no more of the patient than its own header does.

    Raises
    ------
    RunError: the file cannot be written, or is not what was drawn.
    """
    drawn = burned(np.asarray(Image.open(picture).convert("RGB")), lines_of(finding))
    first = reference.first
    item: Any = SCImage(
        pixel_array=drawn, photometric_interpretation="RGB", bits_allocated=8, coordinate_system="PATIENT", patient_orientation=("L", "P"),
        study_instance_uid=first.StudyInstanceUID, series_instance_uid=ids.uid("sc/series"), series_number=SERIES_NUMBER, sop_instance_uid=ids.uid("sc"),
        instance_number=1, manufacturer="Vesalius", manufacturer_model_name="vesalius", software_versions=__version__, series_description=DESCRIPTION,
        transfer_syntax_uid=ExplicitVRLittleEndian)
    item.PatientOrientation = ""  # a sheet of slices has none
    item.Laterality = first.get("Laterality") or first.get("ImageLaterality") or ""
    item.BurnedInAnnotation = "YES"
    item.SourceImageSequence = [_reference(each) for each in reference.items[:1]]
    atomic_file(path, lambda part: finished(item, reference).save_as(part, enforce_file_format=True))
    _prove(path, drawn)


def lines_of(finding: Mapping[str, Any]) -> list[str]:
    """What is burned in: the answer, the model, the line on research use. No name, no date."""
    model, p = finding["model"], finding.get("probability")
    decides = "  (the model does not decide)" if finding["abstain"] else ""
    answer = f"{finding['label'] or 'nothing found'}" + (f"  {p:.1%}" if p is not None else "") + decides
    return [answer[:LONGEST], f"{model['name']} {model['hash']}  Vesalius {__version__}"[:LONGEST], BURNED]


def burned(rgb: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture ``[Y, X, 3]`` uint8 with lines of text below it."""
    height, width = rgb.shape[:2]
    canvas = Image.new("RGB", (max(width, WIDTH), height + LINE * len(lines) + 6))
    canvas.paste(Image.fromarray(rgb), ((max(width, WIDTH) - width) // 2, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(LINE - 5)
    for row, line in enumerate(lines):
        pen.text((6, height + 4 + row * LINE), line, fill=(235, 235, 235), font=font)
    return np.asarray(canvas)


def _reference(image: Any) -> Any:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _prove(path: Path, drawn: np.ndarray) -> None:
    if not np.array_equal(parsed(str(path)).pixel_array, drawn):
        path.unlink()
        raise RunError("the secondary capture is not what was drawn", where=path, do="the file was removed; report this")
