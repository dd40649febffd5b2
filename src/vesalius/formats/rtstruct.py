"""Contours of radiotherapy structure sets as truth: RT Structure Set objects (PS3.3 A.19, C.8.8.5, C.8.8.6).

A `Source` of format ``"rtstruct"`` names a region of interest by its ROI Number (``member``).

**Rule.** A sample belongs to a region when its centre lies inside an odd number of the contours of its slice, so that a contour
within another one is a hole (which is also what ``CLOSEDPLANAR_XOR`` says), and a keyhole channel, walked to and fro, marks
nothing. A centre on a contour belongs when the inside lies at higher row or column numbers (half-open intervals), so that
regions that share a border share no sample. Positions are rounded to `ROUNDED` of a sample before that.

**Slices.** Contours of one depth go to the nearest slice, at most half a slice away; where several depths are nearest to the
same slice, the nearest of them counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.dicom import parsed
from vesalius.formats.dicomgeometry import SAME_PLACE_MM
from vesalius.formats.dicommarks import RTSTRUCT_CLASS, Marks, Structure, created_at, member_number, reading, same_space
from vesalius.formats.dicomplanes import Planes, planes_of

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contour Geometric Types that enclose an area; points and open lines mark no sample."""
ROUNDED = 1e-4
"""Of a sample: contours that run through centres would otherwise be decided by the last digit."""
HALF_SLICE = 0.5 + 1e-3


def marks_of(path: str) -> Marks:
    """The regions of a file, and the images that it refers to.

    Raises
    ------
    FormatError: the file is damaged, or no structure set.
    """
    source = Source("rtstruct", path)
    with reading(source):
        item = _structure_set(source)
        marked = {int(each.ReferencedROINumber) for each in item.get("ROIContourSequence") or [] if _closed(each)}
        regions = tuple(Structure(str(int(roi.ROINumber)), str(roi.get("ROIName") or f"ROI {roi.ROINumber}"), int(roi.ROINumber) in marked)
                        for roi in item.get("StructureSetROISequence") or [])
        return Marks("rtstruct", path, regions, _series(item), _instances(item), _frame_uid(item), created_at(item))


def roi_mask(source: Source, study: Study) -> np.ndarray:
    """One region of interest on the grid of an image: bool ``[(Z,) Y, X]``. A region without closed contours is empty.

    Raises
    ------
    FormatError: the file is damaged or no structure set, has no such region, lies in another patient space, or has contours
        that do not lie in the image's slices or lie outside of them.
    """
    with reading(source):
        item = _structure_set(source)
        number = member_number(source)
        known = [int(roi.ROINumber) for roi in item.get("StructureSetROISequence") or []]
        if number not in known:
            raise FormatError("the structure set has no such region", where=source.path, expected=f"one of {', '.join(map(str, known[:20]))}", got=number)
        same_space(_frame_uid(item), _series(item), source, study)
        planes = planes_of(study)
        contours = [c for each in item.get("ROIContourSequence") or [] if int(each.ReferencedROINumber) == number for c in _closed(each)]
        mask = np.zeros((len(planes.origins_mm), *planes.shape), bool)
        for k, loops in _by_slice(contours, planes, source, study).items():
            mask[k] = filled_loops([planes.index(loop, k) for loop in loops], planes.shape)
        return mask if study.ndim == 3 else mask[0]


def filled_loops(loops: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Samples whose centres lie inside an odd number of closed polygons: bool ``[Y, X]``.

    Parameters
    ----------
    loops: ``[N, 2]`` vertices ``(y, x)`` in samples (a centre is whole), the last one joined to the first.

    >>> square = np.array([[0.5, 0.5], [0.5, 2.5], [2.5, 2.5], [2.5, 0.5]])
    >>> filled_loops([square], (4, 4)).sum().item()
    4
    """
    crossings = np.zeros((shape[0], shape[1] + 1), np.int64)
    for loop in loops:
        start = np.round(np.asarray(loop, float) / ROUNDED) * ROUNDED
        _cross(crossings, start, np.roll(start, -1, axis=0))
    return np.asarray(np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1)


def _cross(crossings: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
    """Count for each row where edges cross its line of centres: at the first centre that is not left of the crossing."""
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(_ceil(low), 0, crossings.shape[0]).astype(int)
    last = np.clip(_ceil(high), 0, crossings.shape[0]).astype(int)
    counts = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(start)), counts)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    slope = (end[edge, 1] - start[edge, 1]) / (end[edge, 0] - start[edge, 0])
    column = _ceil(start[edge, 1] + (row - start[edge, 0]) * slope)
    np.add.at(crossings, (row, np.clip(column, 0, crossings.shape[1] - 1).astype(int)), 1)


def _ceil(values: np.ndarray) -> np.ndarray:
    return np.ceil(values - 0.1 * ROUNDED)


def _structure_set(source: Source) -> Dataset:
    item = parsed(source.path)
    if str(item.get("SOPClassUID") or "") != RTSTRUCT_CLASS:
        raise FormatError("the DICOM file is no structure set", where=source.path, expected="RT Structure Set Storage",
                          got=item.get("Modality") or "no modality")
    return item


def _closed(region: Dataset) -> list[Dataset]:
    return [contour for contour in region.get("ContourSequence") or [] if contour.get("ContourGeometricType") in CLOSED and contour.get("ContourData")]


def _series(item: Dataset) -> tuple[str, ...]:
    return tuple(str(series.SeriesInstanceUID) for frame in item.get("ReferencedFrameOfReferenceSequence") or []
                 for study in frame.get("RTReferencedStudySequence") or [] for series in study.get("RTReferencedSeriesSequence") or [])


def _frame_uid(item: Dataset) -> str:
    held = [each.get("FrameOfReferenceUID") for each in item.get("ReferencedFrameOfReferenceSequence") or []]
    held += [each.get("ReferencedFrameOfReferenceUID") for each in item.get("StructureSetROISequence") or []]
    return next((str(uid) for uid in held if uid), str(item.get("FrameOfReferenceUID") or ""))


def _instances(item: Dataset) -> tuple[str, ...]:
    """The images that contours name."""
    named = (image.get("ReferencedSOPInstanceUID") for region in item.get("ROIContourSequence") or [] for contour in region.get("ContourSequence") or []
             for image in contour.get("ContourImageSequence") or [])
    return tuple(dict.fromkeys(str(uid) for uid in named if uid))


def _by_slice(contours: list[Dataset], planes: Planes, source: Source, study: Study) -> dict[int, list[np.ndarray]]:
    """Contours ``[N, 3]`` LPS mm by the slice that they belong to."""
    loops = [np.array(contour.ContourData, float).reshape(-1, 3) for contour in contours]
    if not loops:
        return {}
    depths = np.array([float(np.mean(loop @ planes.normal)) for loop in loops])
    _within(loops, planes, source, study)
    found, off = planes.nearest(np.outer(depths, planes.normal))
    beyond = np.flatnonzero(np.abs(off) > HALF_SLICE * planes.step_mm)
    if len(beyond):
        raise FormatError("contours lie outside of the image", where=str(source), expected=f"within half a slice of {study.source}",
                          got=f"{len(beyond)} of {len(loops)} contours, e.g. {abs(off[beyond[0]]):.2f} mm from the nearest slice",
                          do="give the series that they were drawn on, with all its slices")
    chosen: dict[int, list[np.ndarray]] = defaultdict(list)
    nearest = {int(k): np.abs(off[found == k]).min() for k in np.unique(found)}
    depth_of = {k: depths[(found == k) & (np.abs(off) == nearest[k])][0] for k in nearest}
    for loop, depth, k in zip(loops, depths, found, strict=True):
        if abs(depth - depth_of[int(k)]) <= SAME_PLACE_MM + 1e-3 * planes.step_mm:
            chosen[int(k)].append(loop)
    return chosen


def _within(loops: list[np.ndarray], planes: Planes, source: Source, study: Study) -> None:
    """Each contour lies in one plane, parallel to the image's."""
    for number, loop in enumerate(loops, 1):
        spread = float(np.ptp(loop @ planes.normal))
        if spread > 0.5 * planes.step_mm:
            raise FormatError("a contour does not lie in a slice of the image", where=f"{source}, contour {number}", expected=f"the planes of {study.source}",
                              got=f"a contour that spans {spread:.2f} mm across them", do="give the series that it was drawn on")
