"""What a study says of itself, what the training images said, and where the two disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.stages.fitfor.base import Reason
from vesalius.stages.fitfor.words import reason
from vesalius.transforms.reading import PERCENTILE_SAMPLES

MOSTLY = 0.95
"""So many training images must say a thing before another study is measured by it."""
ALIKE = {"DX": "CR", "RG": "CR"}
"""Modalities of one kind of picture: computed, digital and scanned radiographs (DICOM PS3.3 C.7.3.1.1.1)."""
UNSAID = ("", "OT", "UNKNOWN", "NONE")
FAR, TOO_FAR = 2.0, 4.0
"""Times outside of the range of the training images from which a size or a spacing is told, and refused."""
COLOURFUL = 0.02
"""Mean difference of the channels, as a share of the range, from which a picture is in colour."""
PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}
STATED_SCALE = ("fixed", "ct", "none")
"""Ways of reading to which the file's own numbers matter (HU); the others take them from the study or from its bits."""


def header_of(study: Study, colour: float) -> dict[str, Any]:
    """Facts by name: words (``modality``, ``body_part``, ``view``, ``plane``, ``bits``, ``coloured``) and numbers (``side`` the shorter side in samples,
    ``proportions`` longest over shortest in mm, ``spacing_mm`` in the plane, ``low``, ``middle``, ``high``: the 1st, 50th and 99th percentile of the file's
    numbers). What is not known is absent.

    Parameters
    ----------
    colour: mean difference of the channels as a share of the range.
    """
    grid, values = study.grid, _sample(study.image)
    extent = [n * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    facts: dict[str, Any] = {"modality": _modality(study), "body_part": _said(study, "body_part"), "view": _said(study, "view"), "plane": _plane(study)}
    facts |= {"bits": str(study.bits), "coloured": "yes" if colour > COLOURFUL else "no"}
    facts |= {"side": float(min(grid.shape)), "proportions": max(extent) / min(extent)}
    facts |= {"spacing_mm": float(grid.spacing_mm[-1])} if grid.spacing_known else {}
    if len(values):
        facts |= dict(zip(("low", "middle", "high"), map(float, np.percentile(values, (1, 50, 99))), strict=True))
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _sample(image: np.ndarray) -> np.ndarray:
    values = image.reshape(-1)[:: max(1, image.size // PERCENTILE_SAMPLES)]
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _modality(study: Study) -> str:
    said = (study.modality or "").upper()
    return "" if said in UNSAID else ALIKE.get(said, said)


def _said(study: Study, name: str) -> str:
    said = str(study.meta.get(name) or "").strip().upper()
    return "" if said in UNSAID else said


def _plane(study: Study) -> str:
    """Along which plane the slices lie, where the file says it: of DICOM images and of volumes."""
    if study.ndim == 2:
        known = {PLANES[axis] for axis in study.grid.axes}
        return next(iter({"axial", "coronal", "sagittal"} - known), "") if study.modality in ("CT", "MR", "PT") else ""
    return PLANES[study.grid.axes[-1]] if study.grid.spacing_known else ""


def summary_of(headers: Sequence[Mapping[str, Any]], ndim: int) -> dict[str, Any]:
    """What the training images said: ``{"ndim", "n", "words": {name: {value: n}}, "numbers": {name: [n, least, largest]}}``."""
    words: dict[str, Counter[str]] = {}
    numbers: dict[str, list[float]] = {}
    for header in headers:
        for name, value in header.items():
            if isinstance(value, str):
                words.setdefault(name, Counter())[value] += 1
            else:
                numbers.setdefault(name, []).append(float(value))
    ranges = {name: [len(values), min(values), max(values)] for name, values in numbers.items()}
    return {"ndim": ndim, "n": len(headers), "words": {name: dict(count) for name, count in words.items()}, "numbers": ranges}


def disagreements(header: Mapping[str, Any], known: Mapping[str, Any], reads: Reads | TileReads, ndim: int) -> list[Reason]:
    """Where a study is unlike what the training images said of themselves; only what nearly all of them said counts."""
    if ndim != known["ndim"]:
        return [reason("axes", ndim, known["ndim"])]
    found = [_word(code, name, header, known) for code, name in (("modality", "modality"), ("body-part", "body_part"), ("view", "view"))]
    found += [_word("plane" if ndim == 2 else "stack", "plane", header, known), _word("bits", "bits", header, known), _colour(header, known)]
    found += [_size(header, known), _proportions(header, known), _spacing(header, known), _intensity(header, known, reads)]
    return [each for each in found if each is not None]


def _words(name: str, known: Mapping[str, Any]) -> dict[str, int]:
    """The values of a word; none where too few images said it."""
    counts = dict(known["words"].get(name, {}))
    return counts if sum(counts.values()) >= MOSTLY * known["n"] else {}


def _range(name: str, known: Mapping[str, Any]) -> tuple[float, float] | None:
    n, low, high = known["numbers"].get(name, (0, 0.0, 0.0))
    return (low, high) if n and n >= MOSTLY * known["n"] else None


def _word(code: str, name: str, header: Mapping[str, Any], known: Mapping[str, Any]) -> Reason | None:
    seen = _words(name, known)
    said = header.get(name)
    return reason(code, said, ", ".join(sorted(seen))) if seen and said and said not in seen else None


def _colour(header: Mapping[str, Any], known: Mapping[str, Any]) -> Reason | None:
    seen = _words("coloured", known)
    if not seen or header["coloured"] in seen:
        return None
    return reason("colour" if header["coloured"] == "yes" else "grey")


def _size(header: Mapping[str, Any], known: Mapping[str, Any]) -> Reason | None:
    seen = _range("side", known)
    if seen is None:
        return None
    told = (f"{header['side']:.0f}", _between(seen, ".0f"))
    if header["side"] < seen[0] / TOO_FAR:
        return reason("too-small", *told)
    return reason("size", *told) if _times(header["side"], seen) > FAR else None


def _proportions(header: Mapping[str, Any], known: Mapping[str, Any]) -> Reason | None:
    seen = _range("proportions", known)
    far = seen is not None and _times(header["proportions"], seen) > FAR**0.5
    return reason("proportions", f"{header['proportions']:.2f}", _between(seen, ".2f")) if seen is not None and far else None


def _spacing(header: Mapping[str, Any], known: Mapping[str, Any]) -> Reason | None:
    seen = _range("spacing_mm", known)
    if seen is None:
        return None
    if "spacing_mm" not in header:
        return reason("spacing-unknown")
    times = _times(header["spacing_mm"], seen)
    told = (f"{header['spacing_mm']:.3g}", _between(seen, ".3g"))
    return reason("spacing-far", *told) if times > TOO_FAR else reason("spacing", *told) if times > FAR else None


def _intensity(header: Mapping[str, Any], known: Mapping[str, Any], reads: Reads | TileReads) -> Reason | None:
    """Only where the file's own numbers matter to how it is read."""
    ways = (reads.window,) if isinstance(reads, Reads) else tuple(reads.schemes)
    low, high = _range("low", known), _range("high", known)
    if low is None or high is None or "low" not in header or any(way not in STATED_SCALE for way in ways):
        return None
    width = max(high[1] - low[0], 1e-6)
    told = (f"{header['low']:.4g} … {header['high']:.4g}", f"{low[0]:.4g} … {high[1]:.4g}")
    if header["low"] > high[1] or header["high"] < low[0] or header["high"] - header["low"] > TOO_FAR * width:
        return reason("intensity-far", *told)
    beyond = max(low[0] - header["low"], header["high"] - high[1]) / width
    return reason("intensity", *told) if beyond > 0.5 else None


def _times(value: float, seen: tuple[float, float]) -> float:
    """How many times a positive value lies outside of a range; 1 within."""
    return max(1.0, seen[0] / max(value, 1e-9), value / max(seen[1], 1e-9))


def _between(seen: tuple[float, float], form: str) -> str:
    low, high = (format(each, form) for each in seen)
    return low if low == high else f"{low} … {high}"
