"""DICOM segmentations as truth: Segmentation and Label Map Segmentation objects (PS3.3 A.51, C.8.20; Supplement 243).

A `Source` of format ``"dicom-seg"`` names a segment by its number (``member``). Each frame is placed on the image by its
position and orientation in patient space, never by its order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.pixels import pixel_array

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.dicom import groups_of, parsed
from vesalius.formats.dicomgeometry import PARALLEL_TOLERANCE, Plane, plane_of
from vesalius.formats.dicommarks import SEG_CLASSES, Marks, Structure, created_at, member_number, reading, same_space
from vesalius.formats.dicomplanes import Planes, planes_of

SAME_PLANE = 0.1
"""A frame belongs to a plane of the image that is nearer than this part of the slice distance."""
SAME_PIXEL = 0.01
"""Frames whose corners are nearer than this (in samples) to those of the image are taken sample by sample."""
HALF = 0.5
"""A fractional segment holds the samples of at least this fraction."""
EDGE = 1e-6


def marks_of(path: str) -> Marks:
    """The segments of a file, and the images that it refers to, without decoding a frame. The background of a label map is left out.

    Raises
    ------
    FormatError: the file is damaged, or no segmentation.
    """
    source = Source("dicom-seg", path)
    with reading(source):
        item = _segmentation(source, stop_before_pixels=True)
        labelmap = item.get("SegmentationType") == "LABELMAP"
        with_frames = {number for _, number in _frames(item, None)}
        named = {int(s.SegmentNumber): str(s.get("SegmentLabel") or f"segment {s.SegmentNumber}") for s in item.SegmentSequence}
        segments = tuple(Structure(str(n), name, labelmap or n in with_frames) for n, name in named.items() if n or not labelmap)
        instances = tuple(str(one.ReferencedSOPInstanceUID) for each in item.get("ReferencedSeriesSequence") or []
                          for one in each.get("ReferencedInstanceSequence") or [])
        return Marks("dicom-seg", path, segments, _series(item), instances, str(item.get("FrameOfReferenceUID") or ""), created_at(item),
                     labelmap or item.get("SegmentsOverlap") == "NO" or len(segments) == 1)


def segment_mask(source: Source, study: Study) -> np.ndarray:
    """One segment on the grid of an image: bool ``[(Z,) Y, X]``.

    A binary segment as it is, a fractional one where its value is at least half of the maximum, a label map where it holds the
    segment's number. Frames on the image's own samples are taken as they are; frames of other samples in the same planes are
    resampled (nearest). Planes without a frame are empty.

    Raises
    ------
    FormatError: the file is damaged or no segmentation, has no such segment, lies in another patient space, has frames that
        are not parallel to the image's planes, lie between them, or mark something outside of it.
    """
    with reading(source):
        item = _segmentation(source)
        number = member_number(source)
        known = [int(segment.SegmentNumber) for segment in item.SegmentSequence]
        if number not in known:
            raise FormatError("the segmentation has no such segment", where=source.path, expected=f"one of {', '.join(map(str, known[:20]))}", got=number)
        same_space(str(item.get("FrameOfReferenceUID") or ""), _series(item), source, study)
        planes = planes_of(study)
        mask = np.zeros((len(planes.origins_mm), *planes.shape), bool)
        for frame, _ in _frames(item, number):
            _enter(mask, _marked(item, frame, number), item, frame, planes, source, study)
        return mask if study.ndim == 3 else mask[0]


def _segmentation(source: Source, **options: Any) -> Dataset:
    item = parsed(source.path, **options)
    if str(item.get("SOPClassUID") or "") not in SEG_CLASSES:
        raise FormatError("the DICOM file is no segmentation", where=source.path, expected="Segmentation Storage", got=item.get("Modality") or "no modality")
    if item.get("DimensionOrganizationType") == "TILED_FULL" or "TotalPixelMatrixRows" in item:
        raise FormatError("the segmentation is one of a slide", where=source.path, expected="frames with a position in the patient", got="tiles of a slide",
                          do="leave it out")
    return item


def _series(item: Dataset) -> tuple[str, ...]:
    return tuple(str(each.SeriesInstanceUID) for each in item.get("ReferencedSeriesSequence") or [] if each.get("SeriesInstanceUID"))


def _frames(item: Dataset, number: int | None) -> Iterator[tuple[int, int]]:
    """Frames (from 0) with the segment they show (-1 in a label map), of all segments or of one."""
    labelmap = item.get("SegmentationType") == "LABELMAP"
    shared = (item.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for frame, group in enumerate(item.get("PerFrameFunctionalGroupsSequence") or []):
        named = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        segment = -1 if labelmap else int(named[0].ReferencedSegmentNumber) if named else 0
        if number is None or labelmap or segment == number:
            yield frame, segment


def _marked(item: Dataset, frame: int, number: int) -> np.ndarray:
    """The samples of a frame that belong to a segment, bool ``[rows, columns]``."""
    values = pixel_array(item, index=frame)
    kind = item.get("SegmentationType")
    if kind == "LABELMAP":
        return np.asarray(values == number)
    if kind == "FRACTIONAL":
        return np.asarray(values >= HALF * int(item.get("MaximumFractionalValue") or 255))
    return np.asarray(values > 0)


def _enter(mask: np.ndarray, marked: np.ndarray, item: Dataset, frame: int, planes: Planes, source: Source, study: Study) -> None:
    """Add one frame to the mask at its place."""
    if not marked.any():
        return
    place = plane_of(groups_of(item, frame))
    if not place.located:
        _unplaced(mask, marked, frame, source, study)
        return
    _parallel(place, planes, frame, source, study)
    found, off = planes.nearest(np.array([place.position_mm]))
    k = int(found[0])
    if abs(off[0]) > SAME_PLANE * planes.step_mm:
        raise FormatError("the planes of the segmentation are not those of the image", where=f"{source}, frame {frame + 1}",
                          expected=f"a slice of {study.source} within {SAME_PLANE * planes.step_mm:.3f} mm", got=f"the nearest {abs(off[0]):.2f} mm away",
                          do="give the segmentation of this series, all its slices, or a segmentation that was resampled to it")
    mask[k] |= _laid(marked, place, planes, k, f"{source}, frame {frame + 1}", study)


def _unplaced(mask: np.ndarray, marked: np.ndarray, frame: int, source: Source, study: Study) -> None:
    """A radiograph has no place in the patient: its segmentation covers it sample by sample."""
    if len(mask) != 1 or marked.shape != mask.shape[1:]:
        raise FormatError("the segmentation states no position", where=f"{source}, frame {frame + 1}",
                          expected=f"samples of {study.source}, {study.grid.shape}", got=marked.shape, do="give a segmentation with plane positions")
    mask[0] |= marked


def _parallel(place: Plane, planes: Planes, frame: int, source: Source, study: Study) -> None:
    if np.linalg.norm(np.cross(place.normal, planes.normal)) > PARALLEL_TOLERANCE:
        angle = np.degrees(np.arccos(min(1.0, abs(float(place.normal @ planes.normal)))))
        raise FormatError("the segmentation is not parallel to the image", where=f"{source}, frame {frame + 1}", expected=f"the planes of {study.source}",
                          got=f"planes turned by {angle:.1f} degrees", do="resample it to the image, or give the series that it was drawn on")


def _laid(marked: np.ndarray, place: Plane, planes: Planes, k: int, where: str, study: Study) -> np.ndarray:
    """A frame's samples on plane ``k`` of the image; by nearest neighbours where they are not the image's own."""
    spacing = place.spacing_mm or (1.0, 1.0)
    orientation = np.array(place.orientation)
    own = Planes(np.array([place.position_mm]), orientation[:3] * spacing[1], orientation[3:] * spacing[0], 1.0, (marked.shape[0], marked.shape[1]))
    corners = np.array([(0, 0), (marked.shape[0] - 1, 0), (0, marked.shape[1] - 1)], float)
    if marked.shape == planes.shape and np.abs(planes.index(own.world(corners, 0), k) - corners).max() < SAME_PIXEL:
        return marked
    beyond = np.floor(planes.index(own.world(np.argwhere(marked), 0), k) + 0.5 + EDGE)
    outside = int(((beyond < 0) | (beyond >= planes.shape)).any(1).sum())
    if outside:
        raise FormatError("the segmentation marks samples outside of the image", where=where, expected=f"samples within {study.source}",
                          got=f"{outside} outside", do="give the series that it was drawn on, with all its slices")
    samples = np.stack(np.meshgrid(*(np.arange(n) for n in planes.shape), indexing="ij"), -1).reshape(-1, 2)
    y, x = np.floor(own.index(planes.world(samples, k), 0) + 0.5 + EDGE).astype(int).T
    inside = (y >= 0) & (y < marked.shape[0]) & (x >= 0) & (x < marked.shape[1])
    laid = np.zeros(len(samples), bool)
    laid[inside] = marked[y[inside], x[inside]]
    return laid.reshape(planes.shape)
