"""What the small models of the tests of trust learn from: little pictures, described in a few numbers.

A run with masks or boxes is asked whether a structure is there at all; its pictures are prepared small for that.
Every labelled case takes part, those of the test too: nothing is chosen by what comes out, and no model is asked about a patient it has seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.reads import Reads
from vesalius.core.target import MARKED, TargetSpec
from vesalius.kernels.crossridge import products
from vesalius.kernels.figures import Ranked, mean_of, regression
from vesalius.kernels.grouping import deal, join, strata
from vesalius.kernels.stats import Estimate, Resampled, Weighted, codes, estimate, resample
from vesalius.seed import generator
from vesalius.stages.baselines.hog import descriptors
from vesalius.stages.baselines.linear import capped
from vesalius.stages.prepare import prepare_all
from vesalius.stages.trust.base import Trust

SIDE, SIDE_3D = 64, 32
COARSE = 16
FOLDS = 5
MOST = 1500
"""More cases than this make a small model little better and its interval little narrower."""
LEAST_GROUPS = 20
"""Independent patients below which nothing can be said ..."""
LEAST_OF_CLASS = 5
"""... and those of every class."""
RESAMPLES = 600


@dataclass(frozen=True)
class Small:
    """Cases for small models.

    Parameters
    ----------
    rows: of ``Trust.frame``. pictures: ``[n, (Z,) Y, X]`` float32 in [0, 1], grey. truth: ``[n, M]`` float64: a column a class that is
        asked for (the positive one of a binary target), or the value of a regression. names: of the columns.
    patients: ``[n]``. groups: ``[n]`` what must not be torn apart: a patient with its duplicates. metric: auc or r2.
    n_all: labelled cases of which these were drawn.
    """

    rows: np.ndarray
    pictures: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]
    patients: np.ndarray
    groups: np.ndarray
    metric: str
    n_all: int

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, kept: np.ndarray) -> Small:
        """Those at some places."""
        return replace(self, rows=self.rows[kept], pictures=self.pictures[kept], truth=self.truth[kept], patients=self.patients[kept],
                       groups=np.unique(self.groups[kept], return_inverse=True)[1])


def small_of(trust: Trust, most: int = MOST) -> Small | str:
    """The cases of a run for small models, at most so many (whole patients, drawn); or the code of the reason why there are none:
    ``few`` (patients, or of a class) or ``always`` (every case of masks or boxes holds the same structures)."""
    columns, names, known = asked(trust.frame["label"].tolist(), trust.target)
    if not names:
        return "always"
    groups = groups_of(trust.frame)
    chosen = np.flatnonzero(known)
    kept = chosen[capped(groups[chosen].astype(str), most, trust.seed)] if len(chosen) else chosen
    if not _enough(columns[kept], groups[kept], trust.target.kind):
        return "few"
    pictures = shrunken(trust.images, kept) if trust.images is not None else shrunken(_prepared(trust, kept), np.arange(len(kept)))
    patients = trust.frame["patient"].to_numpy(str)[kept]
    metric = "r2" if trust.target.kind == "regression" else "auc"
    return Small(kept, pictures, columns[kept], names, patients, np.unique(groups[kept], return_inverse=True)[1], metric, len(chosen))


def asked(labels: list[Any], target: TargetSpec) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Columns ``[N, M]`` that a small model is asked for, their names, and which rows have a truth.

    Of masks and boxes only the structures that some cases have and others have not.
    """
    truth = target.encode(labels)
    if target.kind == "regression":
        return truth[:, None].astype(np.float64), (target.name,), np.isfinite(truth)
    if truth.ndim == 1:
        ways = range(1, 2) if target.kind == "binary" else range(len(target.classes))
        return np.stack([truth == k for k in ways], 1).astype(np.float64), tuple(target.classes[k] for k in ways), truth >= 0
    known = np.isfinite(truth).all(1)
    varied = [k for k in range(truth.shape[1]) if 0 < truth[known, k].sum() < known.sum()] if target.kind in MARKED else list(range(truth.shape[1]))
    return truth[:, varied].astype(np.float64), tuple(target.classes[k] for k in varied), known


def groups_of(frame: pd.DataFrame) -> np.ndarray:
    """What must not be torn apart: patients, and duplicates whoever they belong to."""
    return join(frame["patient"].astype(str).tolist(), [int(n) if n >= 0 else None for n in frame["duplicate_cluster"]])


def _enough(columns: np.ndarray, groups: np.ndarray, kind: str) -> bool:
    if len(np.unique(groups)) < LEAST_GROUPS:
        return False
    return kind == "regression" or all(min(len(np.unique(groups[column == value])) for value in (0, 1)) >= LEAST_OF_CLASS for column in columns.T)


def _prepared(trust: Trust, kept: np.ndarray) -> np.ndarray:
    """Small pictures of studies that the mapping reads in tiles; each by its own range of numbers."""
    ndim = trust.mapping.reads.ndim
    reads = Reads((SIDE_3D,) * 3 if ndim == 3 else (SIDE,) * 2, window="percentile", low=0.5, high=99.5)
    table = trust.frame.iloc[kept]
    sources = [trust.cases[name].source for name in table["id"]]
    return prepare_all(table["id"].tolist(), sources, table["hash"].tolist(), reads, trust.run.cache, jobs=trust.jobs, progress=trust.progress).images


def shrunken(images: Any, rows: np.ndarray) -> np.ndarray:
    """Grey pictures ``[n, (Z,) Y, X]`` float32 in [0, 1], averaged down by whole factors to about `SIDE` (volumes: `SIDE_3D`)."""
    top = np.iinfo(images.dtype).max
    return np.concatenate([_averaged(np.asarray(images[rows[i : i + 64]], np.float32).mean(1) / top) for i in range(0, len(rows), 64)])


def _averaged(pictures: np.ndarray, side: int | None = None) -> np.ndarray:
    side = side or (SIDE if pictures.ndim == 3 else SIDE_3D)
    for axis in range(1, pictures.ndim):
        factor = max(1, pictures.shape[axis] // side)
        if factor > 1:
            length = pictures.shape[axis] // factor * factor
            cut = np.take(pictures, np.arange(length), axis)
            pictures = cut.reshape(*cut.shape[:axis], length // factor, factor, *cut.shape[axis + 1 :]).mean(axis + 1, dtype=np.float32)
    return pictures


def described(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (HOG) and brightness (a coarse picture) of pictures, two blocks ``[n, D]``; volumes by their three projections."""
    views = [pictures] if pictures.ndim == 3 else [pictures.mean(axis) for axis in (1, 2, 3)]
    coarse = np.concatenate([_averaged(view, COARSE).reshape(len(view), -1) for view in views], axis=1)
    return descriptors(views), coarse


def seconds_for(small: Small) -> float:
    """How long describing one picture takes here and now."""
    few, start = small.pictures[:16], time.perf_counter()
    described(few)
    return (time.perf_counter() - start) / len(few)


def within(small: Small, seconds: float, each_s: float, seed: int) -> Small:
    """As many cases (whole groups, drawn) as can be described in that time, not fewer than 100."""
    most = max(100, int(seconds / max(each_s, 1e-6)))
    return small.some(capped(small.groups.astype(str), most, seed))


def gram_of(pictures: np.ndarray) -> np.ndarray:
    """Products of pictures by their edges and brightness; see `crossridge.products`."""
    return products(*described(pictures))


def folds_of(small: Small, groups: np.ndarray, seed: int, *names: object) -> np.ndarray:
    """The fold of each case ``[n]``: groups stay whole, classes are spread evenly."""
    truth = small.truth if small.metric == "auc" else small.truth[:, 0].astype(np.float32)
    return deal(groups, strata(truth), [1 / FOLDS] * FOLDS, generator(seed, "trust folds", *names))


def figure_of(small: Small, said: np.ndarray, fold: np.ndarray) -> Weighted:
    """The figure of what small models say: R2, or the AUC within each fold, averaged over folds (and classes).

    Over folds together the AUC would be too low: a fold with more of the ill is asked of a model that has seen fewer of them
    (Parker, Günter and Bedo, BMC Bioinformatics 2007).
    """
    if small.metric == "r2":
        number = regression(small.truth[:, 0], said[:, 0])
        return lambda weights: number(weights)["r2"]
    parts = [np.flatnonzero(fold == k) for k in np.unique(fold)]
    ranked = [(part, Ranked(said[part, m], small.truth[part, m])) for m in range(small.truth.shape[1]) for part in parts]
    return lambda weights: mean_of([each(weights[part])["auc"] for part, each in ranked])


def resampled(figures: list[Weighted], patients: np.ndarray, seed: int) -> Resampled:
    """Figures ``[M]`` of the same cases, resampled together by patient."""
    return resample(lambda weights: np.stack([figure(weights) for figure in figures]), patients, RESAMPLES, seed, jackknife=False)


def plain_estimate(found: Resampled, m: int, patients: np.ndarray) -> Estimate | None:
    """Figure m with its percentile interval."""
    return estimate(found, m, "percentile", codes(patients)[1], len(patients))
