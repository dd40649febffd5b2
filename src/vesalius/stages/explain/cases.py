"""Which cases a reader should see, and their pictures in the run folder (``explain/``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.formats import open_study
from vesalius.stages.explain.base import explain_study
from vesalius.stages.explain.pictures import png, views
from vesalius.storage import atomic_json, atomic_write

if TYPE_CHECKING:
    from vesalius.mapping import Mapping

ROLES = ("best", "worst", "uncertain")
INDEX = "cases.json"
TINY = 1e-12


def choose_cases(predictions: pd.DataFrame, target: TargetSpec, n: int = 4) -> list[tuple[str, str]]:
    """The test images that tell most: ``[(id, role)]``, at most ``n`` of each role, each image and patient once.

    The loss of a case is minus the log of the calibrated probability given to the truth (mean over labels of a
    multi-label target; absolute error of a regression). ``best`` has the least loss, in turn over the classes;
    ``worst`` the largest; ``uncertain`` the smallest distance between the two most probable classes (multi-label:
    between any label and one half). A regression states no uncertainty, so it has no such role.

    Parameters
    ----------
    predictions: the run's ``predictions.parquet``; rows of other splits are ignored. Ties go by id.

    Raises
    ------
    DataError: a column that the target needs is missing.
    """
    test = predictions[predictions["split"] == "test"].sort_values("id", kind="stable").reset_index(drop=True)
    loss, doubt, group = _marks(test, target)
    orders: dict[str, Iterable[int]] = {"worst": np.argsort(-loss, kind="stable"), "uncertain": np.argsort(doubt, kind="stable"), "best": _in_turn(loss, group)}
    orders = orders if target.kind != "regression" else {role: order for role, order in orders.items() if role != "uncertain"}
    seen: set[str] = set()
    chosen = {role: _take(test, order, n, seen) for role, order in orders.items()}
    return [(case, role) for role in ROLES for case in chosen.get(role, [])]


def _take(test: pd.DataFrame, order: Iterable[int], n: int, seen: set[str]) -> list[str]:
    taken: list[str] = []
    for i in order:
        patient = str(test["patient"][i])
        if len(taken) < n and patient not in seen:
            seen.add(patient)
            taken.append(str(test["id"][i]))
    return taken


def _in_turn(loss: np.ndarray, group: np.ndarray) -> list[int]:
    """Least loss first, one of each group after the other."""
    order = np.argsort(loss, kind="stable")
    rank = pd.Series(group[order]).groupby(group[order]).cumcount().to_numpy()
    return [int(i) for i in order[np.lexsort((group[order], rank))]]


def _marks(test: pd.DataFrame, target: TargetSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, doubt (small is uncertain) and group of each row."""
    if target.kind == "regression":
        truth, value = _column(test, "truth"), _column(test, "value")
        return np.abs(truth - value), np.zeros(len(test)), np.zeros(len(test), int)
    p = np.stack([_column(test, f"p_{name}") for name in target.classes], 1)
    if target.kind == "multilabel":
        truth = np.stack([_column(test, f"truth_{name}") for name in target.classes], 1)
        right = np.where(truth > 0.5, p, 1 - p)
        return -np.log(np.clip(right, TINY, 1)).mean(1), np.abs(p - 0.5).min(1), truth.any(1).astype(int)
    truth = _column(test, "truth").astype(int)
    top = np.sort(p, axis=1)
    return -np.log(np.clip(p[np.arange(len(p)), truth], TINY, 1)), top[:, -1] - top[:, -2], truth


def _column(test: pd.DataFrame, name: str) -> np.ndarray:
    if name not in test:
        raise DataError("the predictions lack a column", expected=name, got=", ".join(map(str, test.columns)), do="evaluate the run again")
    return test[name].to_numpy(float)


def explain_cases(
    mapping: Mapping,
    predictions: pd.DataFrame,
    sources: dict[str, Source],
    folder: Path,
    *,
    n: int = 4,
    methods: Sequence[str] = ("gradcam", "occlusion"),
    progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Explain the cases that tell most (see `choose_cases`) and write ``folder/cases.json`` with its pictures.

    Parameters
    ----------
    predictions: the run's ``predictions.parquet``.
    sources: where each image is stored, by id.

    Returns
    -------
    The path of ``cases.json``, written last. Pictures are named by number, never by what a file says of itself.
    """
    chosen = choose_cases(predictions, mapping.output.target, n)
    labels = predictions.set_index("id")["label"]
    rows = []
    for number, (case, role) in enumerate(chosen):
        facts = _explain_case(folder, f"{number:02d}", mapping, open_study(sources[case]), methods)
        rows.append({"id": case, "role": role, "label": str(labels[case])} | facts)
        if progress is not None:
            progress(number + 1, len(chosen), "explain")
    atomic_json(folder / INDEX, rows)
    return folder / INDEX


def _explain_case(folder: Path, name: str, mapping: Mapping, study: Study, methods: Sequence[str]) -> dict[str, Any]:
    finding = mapping(study)
    maps = [explain_study(mapping, study, method=method).array for method in methods]
    names = [f"{name}.png", *(f"{name}_{method}.png" for method in methods)]
    for file, view in zip(names, views(study, maps), strict=True):
        atomic_write(folder / file, png(view))
    shown = [{"method": method, "file": file} for method, file in zip(methods, names[1:], strict=True)]
    return {"predicted": finding.label, "probability": finding.probability, "image": names[0], "maps": shown}
