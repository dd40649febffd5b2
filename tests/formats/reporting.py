"""Structured reports for tests: those that Vesalius writes, and those of others made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes, Finding
from vesalius.core.study import Study
from vesalius.formats import find_sources, open_study
from vesalius.phantoms import make_phantom
from vesalius.stages.writing.boxes import write_boxes

ARRAY = np.array([[1.25, 3, 4.5, 5, 9, 12.125], [2, 20, 20, 3, 30.5, 31]], np.float32)
NAMES = ("nodule", "cyst (left)")


def series(folder: Path, n: int = 1, **options: object) -> tuple[Path, list[tuple[Source, Study]]]:
    """CT series without any mark, in a folder each."""
    truth = make_phantom("dicom-masks", folder, n=n, size=32, slices=10, objects="seg", **options)
    for path in Path(truth.data).glob("*/seg"):
        path.unlink()
    sources = [source for source in find_sources(truth.data) if source.files]
    return Path(truth.data), [(source, open_study(source)) for source in sources]


def report(path: Path, source: Source, study: Study, array: np.ndarray = ARRAY, names: tuple[str, ...] = NAMES, **values: object) -> Path:
    """A report that Vesalius writes, with attributes changed."""
    finding = Finding("x", "", None, study.grid, (Boxes(array, study.grid, names[: len(array)], (0.75,) * len(array)),))
    write_boxes(finding, source, path.parent, ["dicom-sr"], study=study, stem=path.name)["dicom-sr"].rename(path)
    return change(path, lambda item: [setattr(item, keyword, value) for keyword, value in values.items()])


def change(path: Path, edit: Callable[[Dataset], object]) -> Path:
    item = pydicom.dcmread(path)
    edit(item)
    item.save_as(path)
    return path


def below(item: Dataset, value_type: str | None = None) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        if value_type in (None, child.get("ValueType")):
            yield child
        yield from below(child, value_type)


def redraw(path: Path, kind: str, *points: np.ndarray) -> Path:
    """The regions of the first group become these, an outline of somebody else: nothing says that they bound the object."""

    def edit(item: Dataset) -> None:
        for each in list(below(item)):
            if each.get("ContentSequence"):
                each.ContentSequence = [child for child in each.ContentSequence if _name(child) != "130400"]
        group = next(each for each in below(item, "CONTAINER") if any(_name(child) in ("111030", "121231") for child in each.get("ContentSequence") or []))
        regions = [child for child in group.ContentSequence if _name(child) in ("111030", "121231")]
        for extra in regions[len(points) :]:
            group.ContentSequence.remove(extra)
        for region, held in zip(regions, points, strict=False):
            region.GraphicType, region.GraphicData = kind, [float(v) for v in np.asarray(held).ravel()]

    return change(path, edit)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if item.get("ConceptNameCodeSequence") else ""
