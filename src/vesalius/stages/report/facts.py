"""The run folder as the report reads it. A file that is absent is None; a damaged one is an error that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow

from vesalius.core.target import TargetSpec
from vesalius.errors import RunError
from vesalius.plan import Plan

PARTS = ("train", "validation", "test")
LOWER_IS_BETTER = ("mae", "rmse", "brier", "ece", "nll", "hd95", "size_error", "count_mae")
PRIMARY = {"regression": "mae", "mask": "dice", "boxes": "map50"}
"""The main figure of a kind where ``metrics.json`` does not say it; AUC otherwise."""


@dataclass(frozen=True)
class RunFacts:
    """What a run folder says; see docs/architecture.md for the files.

    ``judged`` are the cases of a run with boxes (``cases.parquet``); ``cases`` those that are explained (``explain/cases.json``);
    ``started`` what was and was not loaded of given weights (``log/weights.json``); ``trust`` the results of the tests of trust by name (``trust.json``).
    """

    run: Path
    plan: Plan | None = None
    cohort: pd.DataFrame | None = None
    audit: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: pd.DataFrame | None = None
    detections: pd.DataFrame | None = None
    judged: pd.DataFrame | None = None
    history: pd.DataFrame | None = None
    ranking: pd.DataFrame | None = None
    training: list[dict[str, Any]] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    trust: dict[str, Any] = field(default_factory=dict)
    weights_hash: str | None = None

    @property
    def name(self) -> str:
        """The data's own name, without the path to it."""
        root = str(self.audit.get("root") or self.environment.get("request", {}).get("data") or self.run.resolve().name)
        return root.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or self.run.resolve().name

    @property
    def target(self) -> TargetSpec | None:
        """Kind and classes, where the figures, the audit or the plan state them."""
        for facts in (self.metrics.get("target"), self.audit.get("target")):
            if facts:
                return TargetSpec.from_dict(facts)
        if self.plan is not None and self.plan.get("data.target"):
            return TargetSpec(self.plan["data.target"], tuple(self.plan.get("data.classes", ())))
        return None

    @property
    def primary(self) -> str:
        return str(self.metrics.get("primary") or PRIMARY.get(self.kind, "auc"))

    @property
    def kind(self) -> str:
        """Kind of the target, or nothing where no file states it."""
        return self.target.kind if self.target else ""

    @property
    def used(self) -> pd.DataFrame | None:
        """The cohort without what was excluded."""
        return None if self.cohort is None else self.cohort[self.cohort["split"].isin(PARTS)]

    @property
    def by_image(self) -> bool:
        said = self.plan.get("split.by") if self.plan is not None else None
        return "image" in (said, self.audit.get("split", {}).get("by"))

    @property
    def leaks(self) -> dict[str, int]:
        """How many patients, and groups of duplicates, lie in more than one part: counted in the cohort itself."""
        used = self.used
        if used is None:
            return {"patients": 0, "duplicates": 0}
        grouped = used[used["duplicate_cluster"] >= 0] if "duplicate_cluster" in used else used.iloc[:0]
        return {"patients": _crossing(used, "patient"), "duplicates": _crossing(grouped, "duplicate_cluster")}

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept: the lowest validation loss, or the last where the plan says so."""
        if self.history is None or "epoch" not in self.history or "validation_loss" not in self.history:
            return None
        known = self.history.dropna(subset=["validation_loss"]).reset_index(drop=True)
        if not len(known):
            return None
        place = -1 if self.keeps_last else int(known["validation_loss"].to_numpy().argmin())
        return int(known["epoch"].iloc[place])

    @property
    def keeps_last(self) -> bool:
        """Whether the plan keeps the last weights whatever validation says."""
        return self.plan is not None and self.plan.get("train.keep", "best") == "last"

    @property
    def crossed(self) -> dict[str, Any]:
        """The cross-validated figures: of masks beside those of validation, of whole images in their place."""
        found = self.metrics.get("cross_validation") or (self.metrics.get("validation") if self.metrics.get("cross_validated") else None)
        return dict(found or {})

    @property
    def chosen_on(self) -> str:
        """What validation is called: ``cross_validation`` where it is of the folds."""
        return "cross_validation" if self.metrics.get("cross_validated") else "validation"

    def figure(self, name: str, part: str = "test") -> dict[str, Any] | None:
        """One figure of the network, or None where it is undefined."""
        found = self.metrics.get(part, {}).get(name)
        return found if found and found.get("value") is not None else None


def _crossing(frame: pd.DataFrame, column: str) -> int:
    if column not in frame or frame.empty:
        return 0
    return int((frame.groupby(column, observed=True)["split"].nunique() > 1).sum())


def read_run(run: Path) -> RunFacts:
    """Read what there is in a run folder.

    Raises
    ------
    RunError: there is no such folder, it holds nothing of a run, or one of its files is damaged.
    """
    known = {
        "plan": _read(run / "plan.toml", Plan.load), "cohort": _read(run / "cohort.parquet", pd.read_parquet),
        "audit": _read(run / "audit.json", _json), "metrics": _read(run / "metrics.json", _json),
        "predictions": _read(run / "predictions.parquet", pd.read_parquet), "detections": _read(run / "detections.parquet", pd.read_parquet),
        "judged": _read(run / "cases.parquet", pd.read_parquet), "history": _read(run / "log" / "history.csv", pd.read_csv),
        "ranking": _read(run / "log" / "ranking.csv", pd.read_csv), "training": _read(run / "log" / "training.json", _json),
        "started": _read(run / "log" / "weights.json", _json),
        "cases": _read(run / "explain" / "cases.json", _json), "environment": _read(run / "environment.json", _json),
        "trust": _read(run / "trust.json", _json),
        "weights_hash": _read(run / "model" / "weights.safetensors", _hash),
    }
    found = {name: value for name, value in known.items() if value is not None}
    if not found:
        wanted = "a folder with plan.toml and metrics.json"
        raise RunError("this is no run folder", where=run, expected=wanted, do="give the folder that 'vesalius fit --out' wrote")
    return RunFacts(run, **found)


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    if not path.is_file():
        return None
    try:
        return reader(path)
    except (ValueError, OSError, pyarrow.ArrowException) as error:
        said = str(error).partition("\n")[0]
        raise RunError("a file of the run folder is damaged", where=path, got=said, do="restore it or run 'vesalius fit' again") from error


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _hash(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
