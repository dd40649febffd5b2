"""Small cohorts on the disk and in memory whose faults are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from vesalius.core.cohort import Case, Cohort, Source
from vesalius.core.target import TargetSpec
from vesalius.stages.check.audit import Audit, Twins
from vesalius.stages.check.facts import Fact

BINARY = TargetSpec("binary", ("ill", "well"))


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Its own detail on a shading that all share, uint8 ``[Y, X]``."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 64
    detail = gaussian_filter(np.random.default_rng(seed).normal(size=size), 2)
    return np.clip(128 + 60 * np.cos(5 * x) * np.cos(3 * y) + 30 * detail / detail.std(), 0, 255).astype(np.uint8)


def save(folder: Path, name: str, array: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def case(path: Path, label: Any, patient: str | None = None, split: str | None = None, fmt: str = "raster", **clinical: Any) -> Case:
    return Case(path.name, Source(fmt, str(path)), patient or path.name, label, split, clinical)


def cohort(cases: Sequence[Case], target: TargetSpec = BINARY, *, known: bool = True, ndim: int = 2) -> Cohort:
    return Cohort(tuple(cases), target, ndim, "somewhere", "in memory", "a column" if known else "", known)


def audit(
    labels: Sequence[Any], patients: Sequence[str] | None = None, *, target: TargetSpec = BINARY, splits: Sequence[str | None] | None = None,
    clusters: dict[str, int] | None = None, excluded: dict[str, str] | None = None, known: bool = True, clinical: Sequence[dict[str, Any]] | None = None,
) -> Audit:
    """An audit of images that exist only by name."""
    names = [f"i{i:04d}.png" for i in range(len(labels))]
    cases = [
        Case(name, Source("raster", f"/d/{name}"), patients[i] if patients else name, labels[i], splits[i] if splits else None, clinical[i] if clinical else {})
        for i, name in enumerate(names)
    ]
    facts = tuple(Fact(name, hash=f"h{name}", shape=(8, 8), bits=8) for name in names)
    return Audit(cohort(cases, target, known=known), facts, Twins(clusters=clusters or {}), (), excluded or {})
