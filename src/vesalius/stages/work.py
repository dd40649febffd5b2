"""One fit under way, and what every way of reading has in common: the cohort, its split, the record."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.plan import Plan
from vesalius.stages.givenplan import given_plan
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder

Progress = Callable[[int, int, str], None]


@dataclass
class Work:
    """One fit under way."""

    run: RunFolder
    request: Request
    progress: Progress
    seconds: dict[str, float]

    def timed(self, name: str, start: float) -> None:
        """Keep how long a step took, for the record."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 2)

    @property
    def split_facts(self) -> dict[str, Any]:
        """What the split decided: seal, decisions, notes."""
        return dict(json.loads(self.run.audit.read_text("utf-8"))["split"])

    def planned(self, target: TargetSpec, used: pd.DataFrame, make: Callable[[], Plan]) -> Plan:
        """The plan to begin with: the one that was given with ``--plan``, else a new one; with the decisions of this run's own split."""
        return self.with_split(make() if self.request.plan is None else given_plan(self.request, target, used, self.run.path))

    def with_split(self, plan: Plan) -> Plan:
        """The plan with the decisions that the split made."""
        split = self.split_facts
        for name, value, reason in split["decisions"]:
            plan = plan.decide(f"split.{name}", value, reason)
        return plan.decide("split.seal", split["seal"], "sha256 over id, content and label of every test image")


def used_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a cohort that are in a part of the split, numbered anew."""
    return frame[frame["split"].isin(["train", "validation", "test"])].reset_index(drop=True)


def data_hash(frame: pd.DataFrame) -> str:
    """First 16 hex digits of the sha256 over the sorted ids and content hashes of the images that were used."""
    text = "\n".join(sorted(f"{name} {content}" for name, content in zip(frame["id"], frame["hash"], strict=True)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
