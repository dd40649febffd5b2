"""Which images a row of a table means: by path, file name, stem, folder or DICOM identifier."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vesalius.core.cohort import Source

SAMPLE = 500
UID = re.compile(r"[0-2](?:\.\d+){4,}")
"""What follows the last dot of a DICOM identifier is no ending of a file name."""
DICOM_KEYS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")


class Index:
    """Images by every name under which a table may mention them.

    A name is looked up in this order: relative path (also its end), file name, stem, folder, DICOM UID or PatientID.
    """

    def __init__(self, items: Sequence[tuple[str, Source]], dicom: Mapping[str, Mapping[str, Any]]) -> None:
        self.by: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(5)]
        for name, source in items:
            path = name.split("#", 1)[0]
            base = path.rsplit("/", 1)[-1]
            for place, key in enumerate((name, base, stem(base))):
                self.by[place][key].append(name)
            for folder in path.split("/")[:-1]:
                self.by[3][folder].append(name)
            for keyword in DICOM_KEYS[1:] if source.files else DICOM_KEYS:  # the identifier of its first slice is not that of a series
                if value := dicom.get(name, {}).get(keyword):
                    self.by[4][str(value)].append(name)
        self.by = [dict(each) for each in self.by]

    def find(self, cell: str | None) -> list[str]:
        """The images that a cell means; empty when there is none."""
        if not cell:
            return []
        path = cell.replace("\\", "/").removeprefix("./").strip("/")
        base = path.rsplit("/", 1)[-1]
        whole = self.by[0].get(path)
        if whole:
            return whole
        named = self.by[1].get(base) or self.by[2].get(base) or ([] if UID.fullmatch(base) else self.by[2].get(stem(base))) or []
        if named:
            return _nearest(named, path)
        return self.by[3].get(base) or self.by[4].get(cell.strip()) or []

    def share(self, cells: Sequence[str | None]) -> float:
        """Which part of a column's cells means an image."""
        held = [cell for cell in cells if cell][:SAMPLE]
        return sum(bool(self.find(cell)) for cell in held) / len(held) if held else 0.0


def stem(base: str) -> str:
    """A file name without its ending.

    >>> stem("a.b.nii.gz"), stem("1.png")
    ('a.b', '1')
    """
    return base[:-7] if base.lower().endswith(".nii.gz") else base.rsplit(".", 1)[0] if "." in base else base


def _nearest(names: list[str], path: str) -> list[str]:
    """Of several files of one name, those whose path ends like the cell; all when the cell says no more than the name."""
    if len(names) == 1:
        return names
    ends = [name for name in names if name.endswith("/" + path) or path.endswith("/" + name)]
    parts = set(path.split("/")[:-1])
    return ends or [name for name in names if parts and parts & set(name.split("/")[:-1])] or names
