"""DICOM structured reports of measurements (PS3.16 TID 1500) as truth: where each measurement group says that something is.

A group's region is a `Region` in pixels of one image (SCOORD, PS3.3 C.18.6) or in LPS mm (SCOORD3D, C.18.9). Its box is the smallest one around it
along the axes of the image. Strict about what it cannot place, tolerant about everything that it need not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from vesalius.core.cohort import MarkedBox, Source
from vesalius.core.geometry import Grid
from vesalius.errors import FormatError
from vesalius.formats.dicom import groups_of, headers_of, parsed
from vesalius.formats.dicomgeometry import Gaps, flat_grid, plane_of, stack_of
from vesalius.formats.dicommarks import created_at, reading

SR_CLASSES = ("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.35")
"""Enhanced, Comprehensive, Comprehensive 3D and Extensible SR Storage."""
SCHEME = "99VESALIUS"
"""Designator of our own codes (PS3.16 8.2: private ones begin with 99)."""
CLASS, RISK = "CLASS", "RISK"
"""Our codes: the class as the model calls it, and the probability of the second label."""
GROUP, FINDING, REGION, SURFACE = ("DCM", "125007"), ("DCM", "121071"), ("DCM", "111030"), ("DCM", "121231")
CERTAINTY, CANCER = ("DCM", "111012"), ("DCM", "111047")
PURPOSE, BOUNDED = ("DCM", "130400"), ("SCT", "75958009")
TRACKING, TRACKING_UID, OBSERVER, DEVICE = ("DCM", "112039"), ("DCM", "112040"), ("DCM", "121005"), ("DCM", "121007")
AREAS = ("POLYLINE", "POLYGON", "MULTIPOINT", "CIRCLE", "ELLIPSE", "ELLIPSOID")
"""Graphic types with an extent; a point has none."""
UNDEFINED = 0xFFFFFFFF
ON_SLICE = 0.25
"""A contour nearer than this to the middle of a slice (in slices) is drawn on it: its object fills the slice."""


@dataclass(frozen=True)
class Region:
    """``points``: ``[N, 2]`` (column, row) in pixels of ``image`` (a SOPInstanceUID; ``frame`` from 0), or ``[N, 3]`` LPS mm."""

    kind: str
    points: np.ndarray
    image: str = ""
    frame: int = 0
    frame_uid: str = ""


@dataclass(frozen=True)
class Group:
    """One measurement group: what was found and where.

    ``bounding``: its region is stated to be a box around the object rather than its outline. ``tracking_uid``: stays with the object.
    ``facts``: ``score`` and ``risk`` (0 .. 1), where stated.
    """

    name: str
    regions: tuple[Region, ...]
    bounding: bool = False
    tracking_uid: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """One report: its groups, the images that it rests on, and whether a person stands for it."""

    path: str
    groups: tuple[Group, ...]
    series: tuple[str, ...] = ()
    instances: tuple[str, ...] = ()
    created: str = ""
    verified: bool = False
    by_device: bool = False


def report_of(path: str) -> Report:
    """The measurement groups of a file.

    Raises
    ------
    FormatError: the file is damaged, or no report of measurements (TID 1500).
    """
    source = Source("dicom-sr", path)
    with reading(source):
        item = parsed(path)
        _whole(item, path)
        if str(item.get("SOPClassUID") or "") not in SR_CLASSES:
            raise FormatError("the DICOM file is no structured report", where=path, expected="Enhanced, Comprehensive or Comprehensive 3D SR",
                              got=item.get("Modality") or "no modality")
        template = (item.get("ContentTemplateSequence") or [Dataset()])[0].get("TemplateIdentifier")
        found = [_group(each) for each in _below(item) if _concept(each) == GROUP and each.get("ValueType") == "CONTAINER"]
        groups = tuple(group for group in found if group is not None)
        if str(template or "") != "1500" and not groups:
            raise FormatError("the structured report is none of measurements", where=path, expected="TID 1500", got=f"template {template or 'not stated'}",
                              do="leave it out")
        evidence = [one for each in item.get("CurrentRequestedProcedureEvidenceSequence") or [] for one in each.get("ReferencedSeriesSequence") or []]
        observers = [_coded(each.get("ConceptCodeSequence")) for each in _children(item) if _concept(each) == OBSERVER]
        return Report(path, groups, tuple(str(each.SeriesInstanceUID) for each in evidence),
                      tuple(str(one.ReferencedSOPInstanceUID) for each in evidence for one in each.get("ReferencedSOPSequence") or []),
                      created_at(item), item.get("VerificationFlag") == "VERIFIED", bool(observers) and set(observers) == {DEVICE})


def _whole(item: Dataset, path: str) -> None:
    """The parser takes a file that ends within a sequence for one with fewer groups: compare what each element states with what is there."""
    for tag in item.keys():
        raw = item.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.value is not None and raw.length != UNDEFINED and len(raw.value) < raw.length:
            raise FormatError("the file is truncated", where=path, expected=f"{raw.length} bytes of {raw.tag}", got=len(raw.value),
                              do="fetch it again, or leave it out")


@dataclass(frozen=True)
class Placed:
    """A DICOM image without its pixels: its grid, its slices (0 for a picture) by SOPInstanceUID and frame, its frame of reference."""

    grid: Grid
    planes: Mapping[tuple[str, int], int]
    frame_uid: str = ""


def placed(source: Source) -> Placed:
    """Where a DICOM image lies, from its headers alone: the same grid that reading it gives.

    Raises
    ------
    FormatError: a file is damaged, or the slices are no volume (see `dicomgeometry.stack_of`).
    """
    with reading(source):
        items, places = headers_of(source)
        flat = (int(items[0].Rows), int(items[0].Columns))
        planes = {(str(items[i].get("SOPInstanceUID") or ""), frame): k for k, (i, frame) in enumerate(places) if i >= 0}
        held = [plane_of(groups_of(items[i], frame)) for i, frame in places if i >= 0]
        frame_uid = str(items[0].get("FrameOfReferenceUID") or "")
        if len(places) == 1:
            return Placed(flat_grid(held[0], flat), planes, frame_uid)
        if not all(plane.located for plane in held):
            return Placed(Grid.plain((len(places), *flat)), planes, frame_uid)
        gaps: Gaps = "fill" if len(held) < len(places) else "refuse"
        stack = stack_of(held, flat, [str(place) for place in places if place[0] >= 0], source.path, gaps)
        return Placed(stack.grid, planes, frame_uid)


def boxes_of(report: Report, image: Placed) -> tuple[list[MarkedBox], list[str]]:
    """The boxes of a report on an image, in samples of its grid, and why others have none.

    Regions on other images are passed over. An outline that is drawn on slices fills them: half a slice is added on either side of its
    first and last contour, unless the report states that the region bounds the object.
    """
    boxes, wrong = [], []
    for number, group in enumerate(report.groups, 1):
        mine = [region for region in group.regions if _on(region, image)]
        flat = [region for region in mine if region.kind not in AREAS]
        if not group.regions:
            wrong.append(f"group {number} ({group.name}) of {report.path} has no region")
        elif flat:
            wrong.append(f"group {number} ({group.name}) of {report.path} marks a {flat[0].kind.lower()}, which has no extent")
        elif mine:
            low, high = _hull([_edges(region, image) for region in mine], group.bounding)
            boxes.append(MarkedBox(group.name, tuple(map(float, low)), tuple(map(float, high)), facts=dict(group.facts)))
    return boxes, wrong


def _on(region: Region, image: Placed) -> bool:
    """A region in mm belongs to every image of its frame of reference; one in pixels to its image alone."""
    if region.points.shape[1] == 3:
        return bool(region.frame_uid) and region.frame_uid == image.frame_uid
    return (region.image, region.frame) in image.planes


def _hull(edges: Sequence[np.ndarray], bounding: bool) -> tuple[np.ndarray, np.ndarray]:
    every = np.concatenate(edges)
    low, high = every.min(0), every.max(0)
    if every.shape[1] == 3 and not bounding and all(_on_slice(each[:, 0]) for each in edges):
        low, high = low - [0.5, 0, 0], high + [0.5, 0, 0]
    return low, high


def _on_slice(depths: np.ndarray) -> bool:
    return bool(np.ptp(depths) < ON_SLICE and abs(float(depths.mean()) % 1 - 0.5) < ON_SLICE)


def _edges(region: Region, image: Placed) -> np.ndarray:
    """Outermost points of a region in samples with the edges of `core.boxes`, ``[N, ndim]``."""
    if region.points.shape[1] == 3:
        return _outermost(region.kind, image.grid.index(region.points) + 0.5)
    flat = _outermost(region.kind, region.points)[:, ::-1]
    if image.grid.ndim == 2:
        return flat
    return np.concatenate([np.full((len(flat), 1), image.planes[region.image, region.frame] + 0.5), flat], 1)


def _outermost(kind: str, points: np.ndarray) -> np.ndarray:
    """The two corners of the smallest box about an ellipse (ellipsoid) given by the ends of its axes, or about a circle; else the points."""
    if kind == "CIRCLE":
        reach = np.full(points.shape[1], np.linalg.norm(points[1] - points[0]))
        return np.stack([points[0] - reach, points[0] + reach])
    if kind not in ("ELLIPSE", "ELLIPSOID"):
        return points
    half = (points[1::2] - points[::2]) / 2
    centre, reach = points.mean(0), np.sqrt((half**2).sum(0))
    return np.stack([centre - reach, centre + reach])


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or [])


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in _children(item):
        yield child
        yield from _below(child)


def _coded(sequence: Any) -> tuple[str, str]:
    """Scheme and value of a code; empty where there is none."""
    code = (sequence or [Dataset()])[0]
    return str(code.get("CodingSchemeDesignator") or ""), str(code.get("CodeValue") or code.get("LongCodeValue") or "")


def _meaning(item: Dataset) -> str:
    return str((item.get("ConceptCodeSequence") or [Dataset()])[0].get("CodeMeaning") or "").strip()


def _concept(item: Dataset) -> tuple[str, str]:
    return _coded(item.get("ConceptNameCodeSequence"))


def _group(item: Dataset) -> Group | None:
    """None for one that is about the image as a whole: it names neither a finding nor a region."""
    held = _children(item)
    named = {_concept(each): each for each in held if each.get("ValueType") == "CODE"}
    own = named.get((SCHEME, CLASS)) or named.get(FINDING)
    regions = tuple(_region(each) for each in held if each.get("ValueType") in ("SCOORD", "SCOORD3D") and _concept(each) in (REGION, SURFACE))
    if own is None and not regions:
        return None
    tracking, uid = (next((str(each.get(keyword)) for each in held if _concept(each) == concept), "")
                     for concept, keyword in ((TRACKING, "TextValue"), (TRACKING_UID, "UID")))
    purposes = [_coded(each.get("ConceptCodeSequence")) for each in _below(item) if _concept(each) == PURPOSE]
    return Group((_meaning(own) if own is not None else "") or tracking or "object", regions, BOUNDED in purposes, uid, _facts(held))


def _facts(held: Sequence[Dataset]) -> dict[str, float]:
    """Shares of a hundred, as numbers of 0 .. 1."""
    facts = {}
    for each in held:
        name = {CERTAINTY: "score", CANCER: "risk", (SCHEME, RISK): "risk"}.get(_concept(each))
        values = each.get("MeasuredValueSequence") or []
        if name and values:
            facts[name] = float(values[0].NumericValue) / 100
    return facts


def _region(item: Dataset) -> Region:
    spatial = item.ValueType == "SCOORD3D"
    points = np.array(item.GraphicData, float).reshape(-1, 3 if spatial else 2)
    if spatial:
        return Region(str(item.GraphicType), points, frame_uid=str(item.get("ReferencedFrameOfReferenceUID") or ""))
    image = next((one for child in _children(item) for one in child.get("ReferencedSOPSequence") or []), Dataset())
    stated = image.get("ReferencedFrameNumber") or 1
    frame = int(stated if isinstance(stated, (int, str)) else stated[0]) - 1
    return Region(str(item.GraphicType), points, str(image.get("ReferencedSOPInstanceUID") or ""), frame)
