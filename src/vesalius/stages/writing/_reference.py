"""The images that a DICOM object is derived from: their headers in the order of the study's planes."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.errors import DataError, OptionError
from vesalius.formats.dicom import headers_of
from vesalius.stages.writing.base import Marked

WANTED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
BLANK = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName")
"""Attributes of type 2: a derived object holds them even where the image does not."""


@dataclass(frozen=True)
class Reference:
    """Headers of the source files, and for each plane of the grid its file and frame (from 0; -1 for an interpolated slice)."""

    items: list[Dataset]
    places: list[tuple[int, int]]

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
        for keyword in BLANK:
            if keyword not in item:
                setattr(item, keyword, "")
    return Reference(items, places)
