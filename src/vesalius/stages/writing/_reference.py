"""The images that a DICOM object is derived from: their headers in the order of the study's planes.

highdicom refuses a header that breaks a rule of its own (a sex that is none of M, F and O) and writes a name without a caret into the log. So it is given a
header without what identifies; `finished` puts the patient's own values back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.errors import DataError, OptionError
from vesalius.formats.dicom import headers_of
from vesalius.stages.writing.base import Marked

WANTED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
BLANK = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName")
"""Attributes of type 2: a derived object holds them even where the image does not."""
UTF8 = "ISO_IR 192"
"""Names of classes are in any language, whatever the image's own character set holds."""
SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class Reference:
    """Headers of the source files, and for each plane of the grid its file and frame (from 0; -1 for an interpolated slice).

    ``identity``: the attributes of `BLANK` as the image has them; in ``items`` they are empty (see `finished`).
    """

    items: list[Dataset]
    places: list[tuple[int, int]]
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Dataset:
        return self.items[0]


def is_dicom(marked: Marked, what: str) -> None:
    """Refuse an image that is no DICOM.

    Raises
    ------
    OptionError: it is of another format.
    """
    is_dicom_source(marked.source, what)


def is_dicom_source(source: Source, what: str, instead: str = "nifti") -> None:
    """As `is_dicom`, of where an image is stored; ``instead``: the kind that is advised."""
    if not source.format.startswith("dicom"):
        raise OptionError(f"{what} needs a DICOM image", expected="a DICOM file or series", got=f"{source.format}, {source}", do=f"write {instead} instead")


def reference_of(marked: Marked) -> Reference:
    """The source's headers, with empty values where attributes of type 2 are absent.

    Raises
    ------
    DataError: a file lacks an identifier, so that nothing can refer to it.
    """
    return reference_to(marked.source)


def reference_to(source: Source, instead: str = "nifti") -> Reference:
    """As `reference_of`, of where an image is stored; ``instead``: the kind that is advised."""
    items, places = headers_of(source)
    for item, path in zip(items, source.files or (source.path,), strict=True):
        lacks = [keyword for keyword in WANTED if not item.get(keyword)]
        if lacks:
            raise DataError("nothing can refer to the DICOM image", where=path, expected=", ".join(lacks), got="a file without",
                            do=f"write {instead} instead")
        if not item.get("SpecificCharacterSet"):
            item.pop("SpecificCharacterSet", None)  # present but empty is common, and no value of it
        item.decode()  # text in sequences too: a derived object is written in another character set
    identity = {keyword: _sound(items[0], keyword) for keyword in BLANK}
    for item in items:
        for keyword in BLANK:
            setattr(item, keyword, "")
    return Reference(items, places, identity)


def finished(item: Dataset, reference: Reference) -> Dataset:
    """A derived object with the patient and the study of its image, in UTF-8."""
    for keyword, value in reference.identity.items():
        setattr(item, keyword, value)
    item.SpecificCharacterSet = UTF8
    return item


def _sound(item: Dataset, keyword: str) -> Any:
    """The value, or nothing where no object with it would be valid: dates and times that are none (PS3.5 6.2), a sex of no known letter."""
    value = item.get(keyword)
    if value in (None, ""):
        return ""
    text = str(value)
    if keyword.endswith("Date"):
        return value if len(text) == 8 and text.isdigit() else ""
    if keyword.endswith("Time"):
        return value if text.replace(".", "", 1).isdigit() and len(text.split(".")[0]) in (2, 4, 6) else ""
    return value if keyword != "PatientSex" or text in SEXES else ""
