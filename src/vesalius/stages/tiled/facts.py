"""The fingerprint of a data set with masks: sizes, spacings, numbers under the masks, and how small the structures are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, VesaliusError
from vesalius.formats.cases import open_case, open_truth
from vesalius.stages.prepare import Progress, quiet
from vesalius.stages.tiled.store import class_shares
from vesalius.transforms.reading import canonical

Marked = Callable[[Case, TargetSpec, Study], np.ndarray]
SAMPLE = 40
SAMPLES_PER_CASE = 20_000
AIR_HU = -900.0
"""Volumes of whole numbers that mostly reach below this are taken for CT when no file says what they are."""


@dataclass(frozen=True)
class TileFacts:
    """Medians are over a sample of training cases, in canonical axis order.

    ``spacing_mm`` is None where no file states it; ``coarsest_mm`` is the 10th percentile of the coarsest axis's spacing.
    ``low``, ``high``, ``mean``, ``std`` are for each channel: of the samples that belong to a structure (0.5 and 99.5
    percentile), as nnU-Net takes them; ``all_mean``, ``all_std`` of all samples as a share of the full range.
    ``shares``: for each class the median share of the study's samples that it holds where it is present;
    ``sizes``: the same in samples.
    """

    n_train: int
    n_validation: int
    n_test: int
    n_patients: int
    target: TargetSpec
    side_matters: bool
    ndim: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    finest_mm: tuple[float, ...] | None
    channels: int
    colour: bool
    bits: int
    whole_numbers: bool
    modality: str | None
    modality_stated: bool
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    all_mean: tuple[float, ...]
    all_std: tuple[float, ...]
    shares: Mapping[str, float]
    sizes: Mapping[str, float]


@dataclass(frozen=True)
class _Seen:
    """What is kept of one case: facts and thinned numbers, not its samples."""

    known: bool
    channels: int
    bits: int
    whole: bool
    modality: str | None
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    under: np.ndarray
    everywhere: np.ndarray
    shares: np.ndarray


def gather_tiles(
    frame: pd.DataFrame, cases: Mapping[str, Case], target: TargetSpec, *, side_matters: bool, ndim: int, marked: Marked = open_truth,
    progress: Progress = quiet,
) -> TileFacts:
    """Look at a sample of the training cases and their masks; nothing of the test set is opened.

    Parameters
    ----------
    frame: rows of ``cohort.parquet``. cases: by id. marked: gives the mask ``[L, …]`` of a case on its study's grid.

    Raises
    ------
    DataError: no training case can be read.
    """
    train = frame[frame["split"] == "train"]
    chosen = train["id"].iloc[np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(int))]
    seen = _looked([cases[each] for each in chosen], target, ndim, marked, progress)
    spacings = np.array([each.spacing for each in seen if each.known])
    under, everywhere = (np.concatenate([getattr(each, name) for each in seen], 1) for name in ("under", "everywhere"))
    under = under if under.shape[1] else everywhere
    shares = np.array([each.shares for each in seen])
    n = np.array([int(np.prod(each.shape)) for each in seen])
    modality, stated = _modality(seen)
    low, high = np.percentile(under, [0.5, 99.5], axis=1)
    return TileFacts(
        n_train=len(train), n_validation=int((frame["split"] == "validation").sum()), n_test=int((frame["split"] == "test").sum()),
        n_patients=int(train["patient"].nunique()), target=target, side_matters=side_matters, ndim=ndim,
        shape=tuple(int(v) for v in np.median([each.shape for each in seen], axis=0)), spacing_mm=_each(np.median, spacings),
        finest_mm=_each(lambda values, axis: np.percentile(values, 10, axis=axis), spacings), channels=seen[0].channels, colour=_coloured(seen, ndim),
        bits=max(each.bits for each in seen), whole_numbers=all(each.whole for each in seen), modality=modality, modality_stated=stated,
        low=_plain(low), high=_plain(high), mean=_plain(under.mean(1)), std=_plain(under.std(1)), all_mean=_plain(everywhere.mean(1)),
        all_std=_plain(everywhere.std(1)), shares={name: _present(shares[:, k]) for k, name in enumerate(target.classes)},
        sizes={name: _present(shares[:, k] * n) for k, name in enumerate(target.classes)},
    )


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _each(figure: Callable[..., np.ndarray], spacings: np.ndarray) -> tuple[float, ...] | None:
    return _plain(figure(spacings, axis=0)) if len(spacings) else None


def _looked(cases: Sequence[Case], target: TargetSpec, ndim: int, marked: Marked, progress: Progress) -> list[_Seen]:
    seen: list[_Seen] = []
    reason = ""
    for done, case in enumerate(cases, 1):
        try:
            study = open_case(case)
            truth = marked(case, target, study)
        except VesaliusError as error:
            reason = str(error)
            continue
        if study.ndim == ndim and (not seen or study.channels == seen[0].channels):
            seen.append(_see(study, truth, target))
        progress(done, len(cases), "cases looked at for the plan")
    if not seen:
        raise DataError("no training case can be read", got=reason or f"no {ndim}-D image with a mask", do="run 'vesalius check' on the data")
    return seen


def _see(study: Study, truth: np.ndarray, target: TargetSpec) -> _Seen:
    order, _ = canonical(study.grid)
    flat = study.image.reshape(study.channels, -1)
    held = ((truth > 0) & (truth < 255)).any(0).reshape(-1)
    return _Seen(
        study.grid.spacing_known, study.channels, study.bits, study.image.dtype.kind in "ui", study.modality,
        tuple(study.grid.shape[a] for a in order), tuple(study.grid.spacing_mm[a] for a in order),
        _thinned(flat[:, held]), _thinned(flat), class_shares(truth, target),
    )


def _thinned(values: np.ndarray) -> np.ndarray:
    kept = values[:, :: max(1, values.shape[1] // SAMPLES_PER_CASE)].astype(np.float32)
    return kept[:, np.isfinite(kept).all(0)]


def _present(values: np.ndarray) -> float:
    held = values[values > 0]
    return float(np.median(held)) if len(held) else 0.0


def _coloured(seen: Sequence[_Seen], ndim: int) -> bool:
    return seen[0].channels == 3 and seen[0].bits == 8 and ndim == 2


def _modality(seen: Sequence[_Seen]) -> tuple[str | None, bool]:
    """What most files state; else CT when most reach down to air in Hounsfield units."""
    stated = [each.modality for each in seen if each.modality]
    if stated:
        return max(set(stated), key=stated.count), True
    air = np.mean([float(each.everywhere.min()) <= AIR_HU and float(each.everywhere.max()) >= 0 for each in seen if each.everywhere.size])
    return ("CT", False) if air > 0.5 else (None, False)
