"""What DICOM segmentations (SEG) and structure sets (RTSTRUCT) say of themselves: which structures of which images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError, VesaliusError

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage (Supplement 243)."""
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
MOMENTS = ("InstanceCreation", "StructureSet", "Content", "Series", "Study")
"""Pairs of date and time that tell which of two objects is newer; the first that is there counts."""


@dataclass(frozen=True)
class Structure:
    """One segment or ROI: its number in the object, its name, and whether anything is marked."""

    member: str
    name: str
    marked: bool = True


@dataclass(frozen=True)
class Marks:
    """One object: its structures, and the images that it says it marks.

    ``exclusive``: the object states that no sample belongs to two structures. ``created``: sorts objects by age.
    """

    format: str
    path: str
    structures: tuple[Structure, ...]
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    frame_uid: str = ""
    created: str = ""
    exclusive: bool = False


def created_at(item: Any) -> str:
    """Date and time as one text that sorts (``YYYYMMDDhhmmss.f``); empty where none is stated.

    >>> created_at({"ContentDate": "20260102", "ContentTime": "0930"})
    '202601020930'
    """
    return next((f"{item.get(what + 'Date')}{item.get(what + 'Time') or ''}" for what in MOMENTS if item.get(what + "Date")), "")


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Whatever the parser or a decoder raises on a broken file becomes one `FormatError` that quotes no value of it."""
    try:
        yield
    except VesaliusError:
        raise
    except FileNotFoundError as error:
        raise FormatError("there is no such file", where=source.path, expected="a DICOM file", do="check the path") from error
    except Exception as error:  # parsers raise anything on broken files; all of it becomes the one error for the user
        raise FormatError("the file is truncated or damaged", where=str(source), expected=f"a whole {source.format} object", got=type(error).__name__,
                          do="fetch it again, or leave it out") from error


def member_number(source: Source) -> int:
    """The segment or ROI that a source names.

    Raises
    ------
    FormatError: ``member`` is no number.
    """
    if source.member is None or not source.member.lstrip("-").isdigit():
        raise FormatError("the source names no structure", where=str(source), expected="the number of a segment or ROI as member", got=source.member)
    return int(source.member)


def same_space(frame_uid: str, series: tuple[str, ...], source: Source, study: Study) -> None:
    """Refuse an object of another frame of reference that does not name the study's series either.

    Raises
    ------
    FormatError: names both.
    """
    mine, its_series = str(study.meta.get("frame_uid") or ""), str(study.meta.get("series_uid") or "")
    if mine and frame_uid and mine != frame_uid and its_series not in series:
        raise FormatError("the segmentation lies in another patient space than the image", where=source.path,
                          expected=f"frame of reference {mine} of {study.source}", got=frame_uid, do="give it the series that it was drawn on")
