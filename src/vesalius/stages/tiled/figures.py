"""From the table of scored cases to ``metrics.json`` of a mask run.

A figure is the mean over classes of the means over cases; intervals resample patients. A class that no case of a part
holds has no figure there and is left out of its means. Nothing here opens an image: the columns are those of
``predictions.parquet`` in ``docs/architecture.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.kernels.figures import ratio, regression
from vesalius.kernels.riskcoverage import RiskCoverage
from vesalius.kernels.stats import codes, estimate, paired, resample, settled
from vesalius.stages.tiled.notes import notes_of

PRIMARY = "dice"
SCORED = ("dice", "iou", "nsd", "hd95", "sensitivity", "specificity", "ppv", "auc")
DERIVED = ("size_error", "size_bias", "lesion_f1", "lesion_sensitivity")
FIGURES = SCORED + DERIVED
BOUNDED = frozenset({*SCORED, "lesion_f1", "lesion_sensitivity"} - {"hd95"})
"""Figures between 0 and 1, the more the better."""
COLUMNS = ("id", "patient", "split", "class", *SCORED, "size_true", "size_predicted", "n_true", "n_found", "n_false", "unit", "note")
PARTS = ("test", "validation", "cross_validation")
LEAST_CASES = 3
"""With fewer cases nothing is said of the uncertainty."""


@dataclass(frozen=True)
class Cube:
    """Figures by case: ``values`` ``[F, K, N]`` in the order of ``FIGURES`` and of the classes, NaN where undefined; ``patients`` ``[N]``."""

    values: np.ndarray
    patients: np.ndarray

    def figures(self, weights: np.ndarray) -> np.ndarray:
        """``[F, 1 + K, B]``: of all classes together, then of each, for weighted cases ``[N, B]``."""
        known = np.isfinite(self.values)
        each = ratio(np.where(known, self.values, 0.0) @ weights, known.astype(float) @ weights)
        ever = known.any(2)[..., None]
        # A draw that lost one of the classes is undefined: a mean over other classes would be another figure.
        overall = ratio(np.where(ever, each, 0.0).sum(1), np.broadcast_to(ever.sum(1), each[:, 0].shape))
        return np.concatenate([overall[:, None], each], 1)

    def one(self, figure: str) -> Callable[[np.ndarray], np.ndarray]:
        """One figure of all classes together, ``[N, B]`` -> ``[B]``."""
        alone = Cube(self.values[[FIGURES.index(figure)]], self.patients)
        return lambda weights: alone.figures(weights)[0, 0]


def mask_metrics(
    predictions: pd.DataFrame, target: TargetSpec, *, tolerance: float, baselines: Mapping[str, pd.DataFrame] | None = None, seed: int = 0, n_boot: int = 2000,
) -> dict[str, Any]:
    """``metrics.json`` of a mask run, without ``looks_at_test``.

    Parameters
    ----------
    predictions: ``predictions.parquet``, a row per case and class.
    tolerance: of NSD, in the unit of the table. seed, n_boot: of the bootstrap.
    baselines: such a table of every other method by name; ``gain`` is over the one that was best on validation.

    ``size_error`` is the mean of |predicted - true| / true, ``size_bias`` that of (predicted - true) / true. Figures of
    ``test`` and ``validation`` are those of the model that is kept, ``cross_validation`` (rows with a fold) those of the
    networks of the folds. ``uncertainty`` is of the test, absent where no case has one. Undefined figures are absent.

    Raises
    ------
    DataError: a column is absent, a case is there twice, a class is unknown, or there are no test rows.
    """
    parts = parts_of(predictions)
    if "test" not in parts:
        raise DataError("there are no predictions of the test set", expected="rows with split 'test'", got=f"{len(predictions)} others")
    scored = {name: _assess(cube_of(part, target.classes), target.classes, seed, n_boot) for name, part in parts.items()}
    unit = unit_of(predictions)
    metrics: dict[str, Any] = {
        "schema": 1, "target": {"kind": target.kind, "classes": list(target.classes), "name": target.name}, "primary": PRIMARY,
        **{name: overall for name, (overall, _) in scored.items()},
        "per_class": {name: per_class for name, (_, per_class) in scored.items()},
        "tolerance": {"value": float(tolerance), "unit": unit},
    }
    doubt = uncertainty_of(parts["test"], seed=seed, n_boot=n_boot)
    metrics |= {"uncertainty": doubt} if doubt else {}
    metrics |= _against(predictions, baselines, target, seed, n_boot) if baselines else {}
    return metrics | {"notes": notes_of(metrics, parts["test"])}


def _against(predictions: pd.DataFrame, baselines: Mapping[str, pd.DataFrame], target: TargetSpec, seed: int, n_boot: int) -> dict[str, Any]:
    """Figures of every other method, and what the network gains on the test over the one that was best on validation (the only one, where none is)."""
    made = {}
    for name, frame in baselines.items():
        made[name] = {part: _assess(cube_of(rows, target.classes), target.classes, seed, n_boot)[0] for part, rows in parts_of(frame).items()}
    known = {name: each.get("validation", {}).get(PRIMARY, {"value": -1.0})["value"] for name, each in made.items() if PRIMARY in each.get("test", {})}
    best = max(known, key=lambda name: known[name], default=None)
    gain = None if best is None else compare(predictions, baselines[best], seed=seed, n_boot=n_boot)
    return {"baselines": made} | ({"gain": {"over": best, **gain}} if gain else {})


def parts_of(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of ``test``, ``validation`` and ``cross_validation`` (those with a fold), of the parts that have any.

    Raises
    ------
    DataError: a column is absent.
    """
    absent = [name for name in COLUMNS if name not in predictions]
    if absent:
        raise DataError("the scored cases lack a column", expected=absent[0], got=", ".join(map(str, predictions.columns)), do="evaluate the run again")
    folded = predictions["fold"] >= 0 if "fold" in predictions else pd.Series(False, predictions.index)
    found = {split: predictions[(predictions["split"] == split) & ~folded] for split in ("test", "validation")}
    found["cross_validation"] = predictions[folded]
    return {name: part for name, part in found.items() if len(part)}


def unit_of(predictions: pd.DataFrame) -> str:
    """``mm``, ``pixel``, or ``mixed`` where some cases have no spacing."""
    units = sorted(set(predictions["unit"]))
    return str(units[0]) if len(units) == 1 else "mixed"


def derived(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the figures that follow from its sizes and counts, NaN where undefined."""
    true, found, false = (frame[name].to_numpy(float) for name in ("n_true", "n_found", "n_false"))
    size = frame["size_true"].to_numpy(float)
    bias = ratio(frame["size_predicted"].to_numpy(float) - size, size)
    hd95 = frame["hd95"] if unit_of(frame) != "mixed" else np.nan  # mm and samples have no mean
    made = {"size_error": np.abs(bias), "size_bias": bias, "lesion_f1": ratio(2 * found, found + true + false), "lesion_sensitivity": ratio(found, true)}
    return frame.assign(**made, hd95=hd95)


def cube_of(part: pd.DataFrame, classes: Sequence[str]) -> Cube:
    """The figures of each case and class.

    Raises
    ------
    DataError: a case and class is there twice, or a class is unknown.
    """
    twice = part[part.duplicated(["id", "class"])]
    if len(twice):
        raise DataError("a case is scored twice", expected="a row per case and class", got=f"two of '{twice['class'].iloc[0]}'", where=twice["id"].iloc[0])
    unknown = sorted(set(part["class"]) - set(classes))
    if unknown:
        raise DataError(f"the scored cases hold an unknown class '{unknown[0]}'", expected=f"one of {', '.join(classes)}", do="evaluate the run again")
    part = derived(part)
    ids = pd.unique(part["id"])
    values = np.full((len(FIGURES), len(classes), len(ids)), np.nan)
    k, n = (pd.Index(names).get_indexer(pd.Index(part[column])) for names, column in ((classes, "class"), (ids, "id")))
    values[:, k, n] = part[list(FIGURES)].to_numpy(float).T
    return Cube(values, part.drop_duplicates("id")["patient"].to_numpy(str))


def _assess(cube: Cube, classes: Sequence[str], seed: int, n_boot: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Figures of all classes together and of each, as plain values."""
    found = resample(lambda weights: cube.figures(weights).reshape(-1, weights.shape[1]), cube.patients, n_boot, seed)
    known = np.isfinite(cube.values)
    scopes: list[dict[str, Any]] = [{} for _ in range(len(classes) + 1)]
    for m in np.flatnonzero(np.isfinite(found.value)):
        figure, scope = divmod(int(m), len(scopes))
        whose = cube.patients[known[figure].any(0) if scope == 0 else known[figure, scope - 1]]
        made = settled(estimate(found, int(m), "bca", codes(whose)[1], len(whose)), FIGURES[figure] in BOUNDED)
        scopes[scope] |= {FIGURES[figure]: made.to_dict()} if made else {}
    return scopes[0], {name: scope for name, scope in zip(classes, scopes[1:], strict=True) if scope}


def cases_of(part: pd.DataFrame) -> pd.DataFrame:
    """A row per case that has an uncertainty and a Dice: ``id, patient, uncertainty, risk`` (1 - mean Dice over the classes)."""
    grouped = part.groupby("id", sort=False)
    cases = grouped.agg(patient=("patient", "first"), uncertainty=("uncertainty", "first"), dice=("dice", "mean")).reset_index()
    cases["risk"] = 1 - cases["dice"]
    return cases.dropna(subset=["uncertainty", "risk"])[["id", "patient", "uncertainty", "risk"]]


def uncertainty_of(part: pd.DataFrame, *, seed: int = 0, n_boot: int = 2000) -> dict[str, Any]:
    """Whether the uncertainty of a case predicts its error: ``aurc``, ``aurc_best``, ``aurc_chance`` (risk 1 - Dice, less is better)
    and ``spearman``; empty where fewer than three cases have an uncertainty."""
    if "uncertainty" not in part or len(cases := cases_of(part)) < LEAST_CASES:
        return {}
    risk, doubt = cases["risk"].to_numpy(float), cases["uncertainty"].to_numpy(float)
    areas = [RiskCoverage(order, risk) for order in (doubt, risk, np.zeros_like(risk))]
    agree = regression(risk, doubt)
    names = ("aurc", "aurc_best", "aurc_chance", "spearman")
    found = resample(lambda weights: np.stack([*(area(weights) for area in areas), agree(weights)["spearman"]]), cases["patient"], n_boot, seed)
    people = codes(cases["patient"])[1]
    made = {name: estimate(found, m, "bca", people, len(cases)) for m, name in enumerate(names)}
    return {name: each.to_dict() for name, each in made.items() if each is not None}


def dice_against_size(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The points of Dice against true size, as plain values: ``id patient split fold class size dice unit``; cases without the structure
    have no place on it."""
    kept = frame[(frame["size_true"] > 0) & frame["dice"].notna()].rename(columns={"size_true": "size"})
    kept = kept if "fold" in kept else kept.assign(fold=-1)
    rows = kept[["id", "patient", "split", "fold", "class", "size", "dice", "unit"]].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def compare(
    first: pd.DataFrame, second: pd.DataFrame, *, metric: str = PRIMARY, part: str = "test", seed: int = 0, n_boot: int = 2000
) -> dict[str, Any] | None:
    """First minus second figure on the cases and classes that both scored, paired by patient; None where it is undefined.

    Returns ``{"metric", "value", "low", "high", "p", "method", "n_patients", "n_images"}``.

    Raises
    ------
    OptionError: the metric or the part is unknown. DataError: a column is absent.
    """
    for name, known in ((metric, FIGURES), (part, PARTS)):
        if name not in known:
            raise OptionError(f"'{name}' cannot be compared", expected=f"one of {', '.join(known)}")
    tables = [parts_of(frame).get(part, frame.iloc[:0]).set_index(["id", "class"], drop=False) for frame in (first, second)]
    common = tables[0].index[tables[0].index.isin(tables[1].index)]
    if not len(common):
        return None
    classes = tuple(dict.fromkeys(common.get_level_values("class")))
    cubes = [cube_of(table.loc[common].reset_index(drop=True), classes) for table in tables]
    made, chance = paired(cubes[0].one(metric), cubes[1].one(metric), cubes[0].patients, n_boot, seed)
    if made is None:
        return None
    facts = {"metric": metric, "value": made.value, "low": made.low, "high": made.high, "p": chance, "method": "paired patient bootstrap"}
    return facts | {"n_patients": made.n_patients, "n_images": made.n_images}
