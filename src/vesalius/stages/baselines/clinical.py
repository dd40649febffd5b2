"""What the table alone tells: age, sex, site. A network must add something to it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from vesalius.core.target import TargetSpec
from vesalius.stages.baselines.base import BASELINES, Task
from vesalius.stages.baselines.linear import Fit, Predict, cross_loss, linear_model, raw_of, standardised

OWN = {"id", "path", "member", "hash", "patient", "label", "split", "official_split", "duplicate_cluster", "excluded_because"}
NAMELESS = re.compile(r"(^|[_\W])(id|uid|path|file|filename|image|hash|accession|index)$|uid$|^unnamed", re.IGNORECASE)
"""Names of columns that say which image it is, not what the patient is like."""
MANY = 20
"""A text column with more values than this in training is a name or a remark, not a category."""
MOSTLY = 0.9
"""Share of the values that must be numbers for a column to be a number."""
TREES_LEAST = 200
"""Boosted trees need so many training images to be tried."""


@BASELINES.register("clinical")
def clinical(task: Task) -> np.ndarray | None:
    """Logistic regression (ridge) or boosted trees on the clinical columns, whichever is better in cross-validation.

    None when no column varies in training.
    """
    made = clinical_model(task)
    return None if made is None else made[1](made[0])


def clinical_model(task: Task) -> tuple[pd.DataFrame, Callable[[pd.DataFrame], np.ndarray]] | None:
    """The table of `clinical_features`, and the model that gives raw values ``[N, n_out]`` for it or for one whose other rows than the
    training rows were changed. None when no column varies in training.
    """
    rows, truth = task.train, task.truth
    table = clinical_features(task.frame, rows)
    if table.empty:
        return None
    filled = standardised(_filled(table, rows), rows)
    model, loss = linear_model(filled[rows], truth[rows], task.patients[rows], task.target, task.seed)
    if len(rows) >= TREES_LEAST:
        values, fit = table.to_numpy(np.float64), trees(task.target, task.seed)
        if cross_loss(fit, values[rows], truth[rows], task.patients[rows], task.target, task.seed) < loss:
            grown = fit(values[rows], truth[rows])
            return table, lambda given: raw_of(grown(given.to_numpy(np.float64)), task.target)
    return table, lambda given: raw_of(model(standardised(_filled(given, rows), rows)), task.target)


def clinical_features(frame: pd.DataFrame, train: np.ndarray) -> pd.DataFrame:
    """Numbers as they are (NaN where missing), categories as one column a value; ids, names and constants left out.

    What is a number and which values exist is learnt from the training rows only.
    """
    made: dict[str, np.ndarray] = {}
    for name in frame.columns:
        if str(name) in OWN or NAMELESS.search(str(name)):
            continue
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        known = frame[name].notna().to_numpy() & (frame[name].astype(str).str.strip() != "").to_numpy()
        if known[train].any() and np.isfinite(numbers[train][known[train]]).mean() >= MOSTLY:
            made[str(name)] = np.where(np.isfinite(numbers), numbers, np.nan)
        else:
            made |= _categories(str(name), frame[name], known, train)
    varies = [name for name, values in made.items() if len(np.unique(values[train][~np.isnan(values[train])])) > 1]
    return pd.DataFrame({name: made[name] for name in varies}, index=frame.index)


def _categories(name: str, column: pd.Series, known: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    text = np.where(known, column.astype(str).str.strip().to_numpy(), "")
    values = np.unique(text[train])
    if len(values) > MANY:
        return {}
    return {f"{name}={value or 'missing'}": (text == value).astype(np.float64) for value in values}


def _filled(table: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    """Missing numbers become the training median, with a column that says so."""
    values = table.to_numpy(np.float64)
    holes = np.isnan(values)
    medians = np.nanmedian(values[train], axis=0)
    holed = holes[train].any(0)
    return np.concatenate([np.where(holes, medians, values), holes[:, holed].astype(np.float64)], axis=1)


def trees(target: TargetSpec, seed: int) -> Fit:
    """How boosted trees are fitted for this kind of target (they take missing numbers as they are)."""
    if target.kind == "regression":
        return lambda x, y: _boosted_value(x, y, seed)
    if target.kind == "multilabel":
        return lambda x, y: _boosted_labels(x, y, seed)
    return lambda x, y: _boosted(x, y, target.n_out, seed)


def _boosted(x: np.ndarray, y: np.ndarray, k: int, seed: int) -> Predict:
    if len(np.unique(y)) == 1:
        return lambda new: np.tile(np.eye(k)[y[0]], (len(new), 1))
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed).fit(x, y)

    def predict(new: np.ndarray) -> np.ndarray:
        p = np.zeros((len(new), k))
        p[:, model.classes_] = model.predict_proba(new)
        return p

    return predict


def _boosted_labels(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    models = [_boosted(x, y[:, k].astype(int), 2, seed) for k in range(y.shape[1])]
    return lambda new: np.stack([model(new)[:, 1] for model in models], axis=1)


def _boosted_value(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    model = HistGradientBoostingRegressor(max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=20, random_state=seed).fit(x, y)
    return lambda new: model.predict(new)[:, None]
