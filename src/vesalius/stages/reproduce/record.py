"""The record of a run as a re-run needs it: complete, of one piece, and its data where they were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.errors import DataError, RunError
from vesalius.stages.cohortfile import read_cohort
from vesalius.stages.report.facts import read_run
from vesalius.stages.request import NOT_REMEMBERED, PLANNED, Request
from vesalius.stages.work import data_hash, used_of

FILES = {
    "environment": "environment.json", "plan": "plan.toml", "cohort": "cohort.parquet", "metrics": "metrics.json", "weights_hash": "model/weights.safetensors",
}
ASKED = ("request", "seed", "versions", "data_hash")


@dataclass(frozen=True)
class Record:
    """What a run says of itself: the options that still matter, its cohort, its figures, its surroundings."""

    run: Path
    options: dict[str, Any]
    cohort: pd.DataFrame
    metrics: dict[str, Any]
    environment: dict[str, Any]

    @property
    def data(self) -> str:
        """Where the data were."""
        return str(self.options["data"])

    def request(self, data: str | None) -> Request:
        """The options of the re-run: those of the record, and its plan for all that a plan decides."""
        return Request(**{**self.options, "data": data or self.data, "plan": str(self.run.resolve() / "plan.toml")})


def read_record(run: Path) -> Record:
    """Read the record of a finished run.

    Raises
    ------
    RunError: it is no run folder, the record lacks something or contradicts itself, or another version wrote it.
    """
    facts = read_run(run)
    found = {name: getattr(facts, name) for name in FILES}
    lacking = [FILES[name] for name, value in found.items() if value is None or (isinstance(value, dict) and not value)]
    if lacking:
        raise _incomplete(run, lacking[0])
    unsaid = [name for name in ASKED if facts.environment.get(name) is None]
    if unsaid:
        raise _incomplete(run, f"'{unsaid[0]}' in environment.json")
    cohort = read_cohort(run / "cohort.parquet")
    _of_one_piece(run, cohort, str(facts.environment["data_hash"]))
    return Record(run, _options(run, dict(facts.environment["request"])), cohort, facts.metrics, facts.environment)


def _incomplete(run: Path, what: str) -> RunError:
    advice = "let 'vesalius fit' finish there, or copy the run folder whole"
    return RunError("the record of the run is incomplete", where=run, expected=what, got="nothing", do=advice)


def _of_one_piece(run: Path, cohort: pd.DataFrame, said: str) -> None:
    found = data_hash(used_of(cohort))
    if found != said:
        wanted = f"the data hash {said} of environment.json"
        raise RunError("the record of the run contradicts itself", where=run / "cohort.parquet", expected=wanted, got=found, do="copy the run folder again")


def _options(run: Path, asked: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(asked) - set(Request.names()))
    if unknown or "data" not in asked:
        raise RunError("the record of the run is of another version", where=run / "environment.json", expected="options that this version knows",
                       got=unknown[0] if unknown else "no 'data'", do="use the version that wrote it")
    return {name: value for name, value in asked.items() if name not in (*PLANNED, *NOT_REMEMBERED, "plan")}


def data_there(data: str, run: Path) -> None:
    """DataError where the data of a run are no longer where they were; data with a prefix (``medmnist:``) are fetched, not looked for."""
    if ":" not in data and not Path(data).exists():
        raise DataError("the data of the run are not where they were", where=run, expected=data, got="nothing there",
                        do="bring them back, or say where they are now with --data")
