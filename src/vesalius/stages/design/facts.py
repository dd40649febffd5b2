"""The fingerprint of a data set: what a sample of the training studies looks like, and how many there are of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, FormatError
from vesalius.formats import open_study
from vesalius.transforms.reading import canonical

SAMPLE = 48
GREY_LEVELS = 2
"""Channels that differ by no more than this everywhere are the same grey picture three times."""
PIXELS_PER_STUDY = 4096


@dataclass(frozen=True)
class Facts:
    """Medians are over a sample of training studies.

    ``shape`` and ``spacing_mm`` are in canonical axis order; ``spacing_mm`` is None where no file states it.
    ``low`` and ``high`` are the 0.5 and 99.5 percentiles of the pooled samples; ``bits`` the largest stated.
    """

    n_train: int
    n_validation: int
    n_test: int
    n_patients: int
    target: TargetSpec
    class_counts: Mapping[str, int]
    side_matters: bool
    ndim: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    colour: bool
    bits: int
    whole_numbers: bool
    modality: str | None
    window_share: float
    low: float
    high: float


def gather(frame: pd.DataFrame, sources: Mapping[str, Source], target: TargetSpec, *, side_matters: bool, ndim: int) -> Facts:
    """Look at a sample of the training studies; nothing of the test set is opened.

    Parameters
    ----------
    frame: rows of ``cohort.parquet``. sources: by id.

    Raises
    ------
    DataError: no training study can be read.
    """
    parts = {name: frame[frame["split"] == name] for name in ("train", "validation", "test")}
    train = parts["train"]
    chosen = train["id"].iloc[np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(int))]
    studies = _readable([sources[each] for each in chosen], ndim)
    pooled = np.concatenate([_thinned(study) for study in studies])
    low, high = np.percentile(pooled, [0.5, 99.5])
    shapes, spacings = zip(*(_canonical_size(study) for study in studies), strict=True)
    known = [s for s, study in zip(spacings, studies, strict=True) if study.grid.spacing_known]
    return Facts(
        len(train), len(parts["validation"]), len(parts["test"]), int(train["patient"].nunique()), target, _counts(train, target), side_matters, ndim,
        tuple(int(v) for v in np.median(shapes, axis=0)), tuple(np.median(known, axis=0).tolist()) if known else None,
        float(np.mean([_is_colour(study) for study in studies])) > 0.5, max(study.bits for study in studies),
        all(study.image.dtype.kind in "ui" for study in studies), _most([study.modality for study in studies]),
        float(np.mean([study.window is not None for study in studies])), float(low), float(high),
    )


def _readable(sources: Sequence[Source], ndim: int) -> list[Study]:
    studies, reason = [], ""
    for source in sources:
        try:
            study = open_study(source)
        except FormatError as error:
            reason = str(error)
            continue
        if study.ndim == ndim:
            studies.append(study)
    if not studies:
        raise DataError("no training image can be read", got=reason or f"no {ndim}-D image", do="run 'vesalius check' on the data")
    return studies


def _thinned(study: Study) -> np.ndarray:
    flat = study.image.reshape(-1)
    values = flat[:: max(1, flat.size // PIXELS_PER_STUDY)].astype(np.float64)
    return values[np.isfinite(values)]


def _canonical_size(study: Study) -> tuple[tuple[int, ...], tuple[float, ...]]:
    order, _ = canonical(study.grid)
    return tuple(study.grid.shape[a] for a in order), tuple(study.grid.spacing_mm[a] for a in order)


def _is_colour(study: Study) -> bool:
    if study.channels != 3:
        return False
    spread = study.image.max(0).astype(np.int64) - study.image.min(0).astype(np.int64)
    return bool((spread > GREY_LEVELS).mean() > 0.01)


def _most(names: Sequence[str | None]) -> str | None:
    return Counter(names).most_common(1)[0][0]


def _counts(train: pd.DataFrame, target: TargetSpec) -> dict[str, int]:
    if target.kind == "regression":
        return {}
    truth = target.encode(train["label"].tolist())
    marks = truth if truth.ndim == 2 else truth[:, None] == np.arange(target.n_out)
    return {name: int(n) for name, n in zip(target.classes, np.nansum(marks, axis=0), strict=True)}
