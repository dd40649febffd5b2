"""Where the samples of DICOM planes lie: DICOM PS3.3 C.7.6.2 (image plane) and C.7.6.16.2 (functional groups).

Planes are sorted by their position along the normal of their orientation, never by file name or InstanceNumber.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vesalius.core.geometry import Grid
from vesalius.errors import FormatError

PARALLEL_TOLERANCE = 1e-3
"""Largest difference of direction cosines between planes of one stack (about 0.06 degrees)."""
SAME_PLACE_MM = 1e-2
"""Planes nearer than this lie at the same place."""
GAP_RATIO = 1.5
"""A step longer than this many usual steps is a gap: at least half a plane is missing."""
UNEVEN_RATIO = 0.05
"""Steps that differ by more than this part of the usual one are told."""
Gaps = Literal["refuse", "fill"]
"""What is done with a stack whose planes are missing in between."""
FEWEST_PRESENT = 0.5
"""A stack of which less than this part is there is not filled, whatever was asked for: most of it would be invented."""
OFF_PLACE = 0.02
"""Planes further than this part of a step from where the grid puts them are kept with their own positions."""
TILT_DEG = 0.1
"""A stack whose planes are shifted by more than this angle against its normal is a tilted one (CT gantry)."""


@dataclass(frozen=True)
class Plane:
    """One plane: spacing (row, column) mm, orientation (6 cosines) and position (3, LPS mm); the last two may be absent."""

    spacing_mm: tuple[float, float] | None = None
    orientation: tuple[float, ...] | None = None
    position_mm: tuple[float, ...] | None = None
    thickness_mm: float | None = None
    note: str = ""

    @property
    def located(self) -> bool:
        return self.orientation is not None and self.position_mm is not None

    @property
    def normal(self) -> np.ndarray:
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])  # type: ignore[index]
        normal = np.cross(row, column)
        return normal / np.linalg.norm(normal)


@dataclass(frozen=True)
class Stack:
    """Order of the planes, their grid, and what has to be said of it.

    Parameters
    ----------
    order: numbers of the planes as they were given, sorted by place.
    places: index of each of them along the first axis of the grid; they leave out the planes that are missing.
    positions_mm: first sample of every plane of the grid, ``[Z, 3]`` LPS; those of missing planes lie in between.
    uneven: the positions differ from those of the grid, which has one step.
    """

    order: tuple[int, ...]
    grid: Grid
    notes: tuple[str, ...] = ()
    tilt_deg: float = 0.0
    places: tuple[int, ...] = ()
    positions_mm: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    uneven: bool = False

    @property
    def missing(self) -> tuple[int, ...]:
        """Places of the grid that no plane fills."""
        return tuple(sorted(set(range(self.grid.shape[0])) - set(self.places)))


def plane_of(item: Any) -> Plane:
    """The plane of an instance (or of a flat mixture of functional groups)."""
    spacing, note = _spacing(item)
    return Plane(spacing, _floats(item, "ImageOrientationPatient", 6), _floats(item, "ImagePositionPatient", 3), _thickness(item), note)


def _floats(item: Any, keyword: str, n: int) -> tuple[float, ...] | None:
    value = item.get(keyword)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != n or any(v is None or v == "" for v in value):
        return None
    return tuple(float(v) for v in value)


def _thickness(item: Any) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = item.get(keyword)
        if value not in (None, "") and float(value) > 0:
            return float(value)
    return None


def _spacing(item: Any) -> tuple[tuple[float, float] | None, str]:
    """PixelSpacing; else the detector's (projection radiography, PS3.3 10.7.1.3); else the one ultrasound region's (C.8.5.5)."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = _floats(item, keyword, 2)
        if value and min(value) > 0:
            return (value[0], value[1]), "" if keyword == "PixelSpacing" else f"the spacing is {keyword}, measured at the detector"
    regions = item.get("SequenceOfUltrasoundRegions") or []
    if len(regions) == 1 and regions[0].get("PhysicalUnitsXDirection") == 3 and regions[0].get("PhysicalDeltaX") and regions[0].get("PhysicalDeltaY"):
        return (abs(float(regions[0].PhysicalDeltaY)) * 10, abs(float(regions[0].PhysicalDeltaX)) * 10), ""
    return None, ""


def flat_grid(plane: Plane, shape: tuple[int, int]) -> Grid:
    """The grid of one plane; at the origin when it states no position."""
    if not plane.located:
        return Grid.plain(shape, plane.spacing_mm)
    spacing = plane.spacing_mm or (1.0, 1.0)
    return Grid(shape, spacing, _affine(plane, spacing, plane.normal * (plane.thickness_mm or 1.0)), plane.spacing_mm is not None)


def _affine(plane: Plane, spacing: tuple[float, float], step: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.2.1.1: the row cosines go with the column index, which steps by the column spacing."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(plane.orientation[:3]) * spacing[1]  # type: ignore[index]
    affine[:3, 1] = np.array(plane.orientation[3:]) * spacing[0]  # type: ignore[index]
    affine[:3, 2], affine[:3, 3] = step, plane.position_mm
    return affine


def stack_of(planes: list[Plane], shape: tuple[int, int], names: list[str], where: str, gaps: Gaps = "refuse") -> Stack:
    """Sort planes along their normal and check that they fill a volume.

    Parameters
    ----------
    planes: one a slice or frame, all located. shape: ``(Y, X)``. names: for messages (file names or frame numbers).
    gaps: ``"fill"`` leaves places in the grid for planes that are missing between others (see `Stack.missing`).

    Returns
    -------
    A stack whose ``grid.spacing_mm[0]`` is the distance along the normal; the affine's third column is the true step,
    which is oblique in a tilted stack.

    Raises
    ------
    FormatError: planes are not parallel, lie at the same place, or are missing in between (with ``"fill"``: more are missing than there).
    """
    _parallel(planes, names, where)
    depths = np.array([float(np.dot(plane.position_mm, planes[0].normal)) for plane in planes])  # type: ignore[arg-type]
    order = np.argsort(depths, kind="stable")
    steps = np.diff(depths[order])
    _distinct(order, steps, depths, names, where)
    usual = float(np.median(steps)) if len(steps) else planes[0].thickness_mm or 1.0
    places = np.arange(len(planes))
    notes = []
    if gaps == "refuse":
        _complete(order, steps, usual, depths, names, where)
    else:
        usual = _shortest(steps, usual)
        places = _places(steps, usual, where)
        notes = _filled_note(places, order, depths, names)
    return _stack([planes[i] for i in order], order, places, shape, usual, notes)


def _shortest(steps: np.ndarray, usual: float) -> float:
    """The step of a stack of which many planes may be missing: of those that are about as short as the shortest, the median."""
    return float(np.median(steps[steps <= GAP_RATIO * steps.min()])) if len(steps) else usual


def _places(steps: np.ndarray, usual: float, where: str) -> np.ndarray:
    """Index of each sorted plane in a grid that has room for those that are missing."""
    counts = np.where(steps > GAP_RATIO * usual, np.maximum(np.round(steps / usual), 2), 1).astype(int)
    places = np.concatenate([[0], np.cumsum(counts)])
    if len(places) < FEWEST_PRESENT * (places[-1] + 1):
        raise FormatError("more slices of the series are missing than there", where=where, expected=f"at least {FEWEST_PRESENT:.0%} of the slices",
                          got=f"{len(places)} of about {places[-1] + 1}", do="fetch the whole series")
    return places


def _filled_note(places: np.ndarray, order: np.ndarray, depths: np.ndarray, names: list[str]) -> list[str]:
    gaps = np.flatnonzero(np.diff(places) > 1)
    if not len(gaps):
        return []
    i, lost = int(gaps[0]), int(places[-1] + 1 - len(places))
    return [f"{lost} missing slices were interpolated, first between {_at(i, order, depths, names)} and {_at(i + 1, order, depths, names)}"]


def _stack(planes: list[Plane], order: np.ndarray, places: np.ndarray, shape: tuple[int, int], usual: float, notes: list[str]) -> Stack:
    first, total = planes[0], int(places[-1]) + 1
    held = np.array([plane.position_mm for plane in planes], float)
    step = (held[-1] - held[0]) / (total - 1) if total > 1 else first.normal * usual
    positions = np.stack([np.interp(np.arange(total), places, held[:, axis]) for axis in range(3)], -1)
    across = float(np.dot(step, first.normal))
    tilt = float(np.degrees(np.arccos(np.clip(across / np.linalg.norm(step), -1, 1))))
    steps = np.diff(positions @ first.normal)
    if tilt > TILT_DEG:
        notes = [*notes, f"the stack is tilted by {tilt:.1f} degrees (gantry tilt); the grid is oblique"]
    if len(steps) and np.ptp(steps) > UNEVEN_RATIO * usual:
        notes = [*notes, f"the slice distance varies from {steps.min():.2f} to {steps.max():.2f} mm"]
    spacing = first.spacing_mm or (1.0, 1.0)
    grid = Grid((total, *shape), (across, *spacing), _affine(first, spacing, step), first.spacing_mm is not None)
    off = np.abs(positions - (held[0] + np.arange(total)[:, None] * step)).max()
    return Stack(tuple(int(i) for i in order), grid, tuple(notes), tilt if tilt > TILT_DEG else 0.0, tuple(int(p) for p in places), positions,
                 bool(off > OFF_PLACE * across))


def _parallel(planes: list[Plane], names: list[str], where: str) -> None:
    first = np.array(planes[0].orientation)
    for plane, name in zip(planes, names, strict=True):
        if np.abs(np.array(plane.orientation) - first).max() > PARALLEL_TOLERANCE:
            raise FormatError("the slices of the series are not parallel", where=where, expected=f"the orientation of {names[0]}", got=f"another one in {name}",
                              do="keep one orientation a series (a localizer holds several)")


def _distinct(order: np.ndarray, steps: np.ndarray, depths: np.ndarray, names: list[str], where: str) -> None:
    same = np.flatnonzero(steps < SAME_PLACE_MM)
    if len(same):
        i = int(same[0])
        raise FormatError("slices of the series lie at the same place", where=where, expected="one slice a place",
                          got=f"{len(same)} repeated, e.g. {names[order[i]]} and {names[order[i + 1]]} at {depths[order[i]]:.2f} mm",
                          do="keep one phase, echo or copy a series")


def _complete(order: np.ndarray, steps: np.ndarray, usual: float, depths: np.ndarray, names: list[str], where: str) -> None:
    gaps = np.flatnonzero(steps > GAP_RATIO * usual)
    if len(gaps):
        i = int(gaps[0])
        lost = int(sum(round(step / usual) - 1 for step in steps[gaps]))
        raise FormatError("slices of the series are missing", where=where, expected=f"a slice every {usual:.2f} mm",
                          got=f"about {max(lost, 1)} missing, first between {_at(i, order, depths, names)} and {_at(i + 1, order, depths, names)}",
                          do="fetch the whole series, or have the missing slices interpolated (--gaps fill)")


def _at(i: int, order: np.ndarray, depths: np.ndarray, names: list[str]) -> str:
    return f"{names[order[i]]} ({depths[order[i]]:.2f} mm)"
