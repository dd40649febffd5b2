"""Which images the files of one series hold, as a model reads them: slices are one volume, films are an image each, a localizer is left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.core.cohort import Case, Source
from vesalius.errors import DataError
from vesalius.formats import find_sources
from vesalius.formats.dicom import facts_of
from vesalius.formats.opening import format_of

Note = dict[str, str]


@dataclass(frozen=True)
class _File:
    path: Path
    facts: dict[str, Any]

    @property
    def plane(self) -> tuple[Any, ...] | None:
        """What the slices of one volume share; None for an image of its own (PS3.3 C.7.6.2: no position, or several frames)."""
        facts = self.facts
        if int(facts.get("NumberOfFrames") or 1) > 1 or not (facts.get("ImageOrientationPatient") and facts.get("ImagePositionPatient")):
            return None
        return tuple(round(float(v), 2) for v in facts["ImageOrientationPatient"]), facts["Rows"], facts["Columns"]


def cases_of_files(files: Sequence[Path], ndim: int, channels: int = 1) -> tuple[list[Case], list[Note]]:
    """The images of the given files, and what the reader should know of those that were left out.

    Parameters
    ----------
    files: of one DICOM series in any order (an instance that is there twice counts once), one file of another format, or one for each channel.
    ndim, channels: of the images that the model reads. A model of pictures reads every slice of a volume on its own.

    Raises
    ------
    FormatError: a file is no image. DataError: nothing is left, or the files are several studies.
    """
    kinds = {format_of(Path(path)) for path in files}
    if not kinds:
        raise DataError("there is nothing to read", expected="the files of one study", got="none")
    if not any(kind.startswith("dicom") for kind in kinds):
        return [_other(files, channels)], []
    held, notes = _images(files)
    if ndim == 2:
        return [_case([each]) for each in held], notes
    volumes, single = _grouped(held)
    if not volumes:
        return [_case([each]) for each in single], notes
    rest = [each for group in volumes[1:] for each in group] + single
    return [_case(volumes[0])], notes + ([_left_out(len(rest))] if rest else [])


def _other(files: Sequence[Path], channels: int) -> Case:
    """One file of another format, or one a channel in the order of their names."""
    if len(files) not in (1, channels):
        raise DataError("not one study", expected=f"one file, or {channels} (one a channel)", got=f"{len(files)} files", do="send each study on its own")
    sources = [source for path in sorted(files) for source in find_sources(path)]
    if len(sources) != len(files):
        raise DataError("not one study", expected="one image a file", got=f"{len(sources)} images", do="send each image on its own")
    return Case(sources[0].path, sources[0], "", channels=tuple(sources[1:]))


def _images(files: Sequence[Path]) -> tuple[list[_File], list[Note]]:
    """Files that hold images, each instance once and in the order of their UIDs, so that the order of arrival does not matter."""
    by_uid: dict[str, _File] = {}
    for path in sorted(map(Path, files)):
        facts = facts_of(str(path))
        by_uid.setdefault(str(facts.get("SOPInstanceUID") or path), _File(path, facts))
    every = [by_uid[uid] for uid in sorted(by_uid)]
    images = [each for each in every if each.facts.get("Rows") and each.facts.get("Columns")]
    if not images:
        raise DataError("the series holds no image", expected="images", got=f"{len(every)} objects without", do="leave it out")
    return images, [_left_out(len(every) - len(images))] if len(images) < len(every) else []


def _grouped(held: Sequence[_File]) -> tuple[list[list[_File]], list[_File]]:
    """Volumes (two slices and more of one plane), the largest first, and images of their own."""
    placed = sorted((each for each in held if each.plane is not None), key=lambda each: str(each.plane))
    groups = [list(group) for _, group in itertools.groupby(placed, key=lambda each: each.plane)]
    single = [each for each in held if each.plane is None] + [group[0] for group in groups if len(group) == 1]
    return sorted((group for group in groups if len(group) > 1), key=len, reverse=True), single


def _case(held: Sequence[_File]) -> Case:
    first = str(held[0].path)
    if len(held) == 1:
        return Case(first, Source("dicom", first), "")
    return Case(first, Source("dicom", str(held[0].path.parent), None, tuple(str(each.path) for each in held)), "")


def _left_out(n: int) -> Note:
    return {"code": "left-out", "en": f"{n} objects of the series were not read: other planes, localizers, or no images.",
            "zh": f"该序列中有 {n} 个对象未被读取：其他平面、定位像或非影像对象。"}
