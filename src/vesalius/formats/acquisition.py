"""What a file says of how it was made, beside its samples: size, bits, spacing and, in DICOM, the machine, the view, the date.

Nothing here says who the patient is or what is wrong with them.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from vesalius.core.cohort import Source
from vesalius.formats.dicom import Dicom, DicomFilled, parsed
from vesalius.formats.opening import header

TEXTS = {
    "manufacturer": "Manufacturer", "model": "ManufacturerModelName", "institution": "InstitutionName", "station": "StationName",
    "body_part": "BodyPartExamined", "view": "ViewPosition", "laterality": "Laterality", "image_laterality": "ImageLaterality",
    "photometric": "PhotometricInterpretation", "position": "PatientPosition", "protocol": "ProtocolName", "software": "SoftwareVersions",
    "lossy": "LossyImageCompression", "conversion": "ConversionType",
}
NUMBERS = {"kvp": "KVP", "slice_mm": "SliceThickness", "exposure": "Exposure"}
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")


def acquisition(source: Source) -> dict[str, Any]:
    """Facts by name: ``suffix``, ``height``, ``width`` (``planes``), ``channels``, ``bits``, ``modality``; of DICOM also the names in `TEXTS`
    and `NUMBERS`, ``spacing_mm`` and ``date`` (days since year 1). What a file does not say is absent. Of a series the first file speaks.

    Raises
    ------
    FormatError: as `vesalius.formats.open_study`.
    """
    seen = header(source)
    shape = tuple(seen["shape"])
    facts: dict[str, Any] = {"suffix": Path(source.path).suffix.lower(), "height": shape[-2], "width": shape[-1], "bits": seen["bits"]}
    facts |= {"channels": seen["channels"], "modality": seen.get("modality")} | ({"planes": shape[0]} if len(shape) > 2 else {})
    facts |= _of_dicom(source) if source.format in (Dicom.name, DicomFilled.name) else {}
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _of_dicom(source: Source) -> dict[str, Any]:
    item = parsed(source.files[0] if source.files else source.path, specific_tags=[*TEXTS.values(), *NUMBERS.values(), *SPACINGS, "StudyDate"],
                  stop_before_pixels=True)
    facts: dict[str, Any] = {name: str(item.get(keyword) or "").strip() for name, keyword in TEXTS.items()}
    facts |= {name: float(item.get(keyword)) for name, keyword in NUMBERS.items() if item.get(keyword) not in (None, "")}
    spacing = next((item.get(keyword) for keyword in SPACINGS if item.get(keyword)), None)
    return facts | ({"spacing_mm": float(spacing[0])} if spacing else {}) | _date(str(item.get("StudyDate") or ""))


def _date(text: str) -> dict[str, Any]:
    """A DICOM date (PS3.5 6.2, VR DA) in days; nothing where it is none."""
    try:
        return {"date": datetime.datetime.strptime(text, "%Y%m%d").toordinal()}
    except ValueError:
        return {}
