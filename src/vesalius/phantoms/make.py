"""One door to every kind of phantom."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vesalius.errors import DataError, OptionError
from vesalius.phantoms.broken import make_broken
from vesalius.phantoms.brokenboxes import make_broken_boxes
from vesalius.phantoms.cells import make_cells
from vesalius.phantoms.clip import make_clip
from vesalius.phantoms.dicom import make_dicom
from vesalius.phantoms.dicomseg import make_dicom_masks
from vesalius.phantoms.films import make_films
from vesalius.phantoms.nodules import make_nodules
from vesalius.phantoms.organs import make_organs
from vesalius.phantoms.shortcuts import make_shortcuts
from vesalius.phantoms.tables import make_binary_folders, make_multilabel, make_ordinal, make_regression
from vesalius.phantoms.truth import TRUTH, Truth
from vesalius.phantoms.vessels import make_vessels
from vesalius.phantoms.volumes import make_volumes
from vesalius.registry import nearest, unknown

MAKERS: dict[str, tuple[Callable[..., Truth], int]] = {
    "films": (make_films, 480),
    "binary-folders": (make_binary_folders, 240),
    "multilabel": (make_multilabel, 400),
    "ordinal": (make_ordinal, 320),
    "regression": (make_regression, 320),
    "volumes": (make_volumes, 80),
    "dicom": (make_dicom, 16),
    "dicom-masks": (make_dicom_masks, 12),
    "organs": (make_organs, 40),
    "vessels": (make_vessels, 30),
    "cells": (make_cells, 120),
    "nodules": (make_nodules, 40),
    "clip": (make_clip, 60),
    "shortcuts": (make_shortcuts, 300),
    "broken": (make_broken, 24),
    "broken-boxes": (make_broken_boxes, 12),
}
"""Kind: what makes it, and how many images (for ``dicom`` series) when ``n`` is left out."""

KINDS: tuple[str, ...] = tuple(MAKERS)


def make_phantom(kind: str, out: str | Path, *, seed: int = 0, n: int | None = None, **options: Any) -> Truth:
    """Write the phantom of that kind to ``OUT/data`` and its truth to ``OUT/truth.json``.

    The same kind, seed, n and options write the same bytes. A folder that already holds exactly this phantom is left
    as it is and its record returned.

    Raises
    ------
    OptionError: an unknown kind or option, or ``n`` below 1.
    DataError: the folder holds something else.
    """
    out = Path(out)
    if kind not in MAKERS:
        raise unknown("phantom", kind, list(KINDS))
    maker, usual = MAKERS[kind]
    n = usual if n is None else n
    if n < 1:
        raise OptionError("a phantom has at least one image", expected="n of 1 or more", got=n)
    whole = _options(kind, maker, options)
    if out.is_dir() and any(out.iterdir()):
        return _already(out, kind, seed, n, whole)
    out.mkdir(parents=True, exist_ok=True)
    truth = maker(out, seed, n, **options)
    truth.save(out)
    return Truth.load(out)


def _options(kind: str, maker: Callable[..., Truth], given: dict[str, Any]) -> dict[str, Any]:
    known = {name: p.default for name, p in inspect.signature(maker).parameters.items() if p.kind is p.KEYWORD_ONLY}
    for name in given:
        if name not in known:
            near = nearest(name, list(known)) or list(known)
            raise OptionError(f"the phantom '{kind}' has no option '{name}'", expected=f"one of {', '.join(near)}")
    return known | given


def _already(out: Path, kind: str, seed: int, n: int, options: dict[str, Any]) -> Truth:
    """The phantom that lies there, when it is the one that was asked for."""
    if (out / TRUTH).is_file():
        truth = Truth.load(out)
        if (truth.kind, truth.seed, truth.n, dict(truth.options)) == (kind, seed, n, options):
            return truth
    raise DataError("the folder for the phantom is not empty", where=out, expected="an empty or new folder, or this same phantom", do="give another folder")
