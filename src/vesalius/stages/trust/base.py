"""What a test of trust is given, and what it must give.

    @trust_part("leak", order=10, share=2)
    def leak(trust: Trust) -> dict[str, Any]: ...

A test is a module of this folder. What it returns is kept under its name in ``RUN/trust.json``; it holds plain values,
``"sentences"`` for the reader (see `sentence`), or `not_for` where the test has no meaning for this run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping
from vesalius.registry import Registry
from vesalius.stages.run import RunFolder

Progress = Callable[[int, int, str], None]
Severity = Literal["error", "warning", "info", "ok"]
ENOUGH_S = 60.0
"""The time of a test that nobody limits."""


def quiet(done: int, total: int, what: str) -> None:
    """Report nothing."""


@dataclass
class Trust:
    """A finished run, before its report is written.

    Parameters
    ----------
    run: its folder. mapping: the saved model (a `TiledMapping` for masks, a `BoxedMapping` for boxes).
    frame: rows of ``cohort.parquet`` that are in the split, numbered anew; row i belongs to row i of ``images``.
    images: ``[N, C, (Z,) Y, X]`` prepared uint8 or uint16, mapped from disk; None for masks and boxes.
    predictions: ``predictions.parquet`` (``cases.parquet`` of a run with boxes).
    target: kind and classes. cases: by id. seed: of every random choice. jobs: processes; all cores by default.
    deadline: when the test that runs now should be done (`time.perf_counter`); see `left_s`.
    """

    run: RunFolder
    mapping: Mapping
    frame: pd.DataFrame
    images: np.ndarray | None
    predictions: pd.DataFrame
    target: TargetSpec
    cases: dict[str, Case]
    seed: int = 0
    progress: Progress = field(default=quiet, compare=False)
    jobs: int | None = None
    deadline: float | None = None

    @property
    def left_s(self) -> float:
        """Seconds that the test may still take; one that cannot do all in that time takes a sample and says so."""
        return ENOUGH_S if self.deadline is None else max(0.0, self.deadline - time.perf_counter())


Ask = Callable[[Trust], dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """One test: what it asks, when its turn is (smaller first) and its share of the time beside the others'."""

    ask: Ask
    order: int = 50
    share: float = 1.0

    def __call__(self, trust: Trust) -> dict[str, Any]:
        return self.ask(trust)


TRUST: Registry[Part] = Registry("test of trust", "vesalius.stages.trust")


def trust_part(name: str, *, order: int = 50, share: float = 1.0) -> Callable[[Ask], Part]:
    """A decorator that enters a test under its key in ``trust.json``."""
    return lambda ask: TRUST.register(name)(Part(ask, order, share))


def not_for(en: str, zh: str) -> dict[str, Any]:
    """The result of a test that has no meaning for this run, with the reason.

    >>> not_for("There are no duplicates.", "没有重复影像。")["applies"]
    False
    """
    return {"applies": False, "why": {"en": en, "zh": zh}}


def sentence(code: str, severity: Severity, en: str, zh: str) -> dict[str, str]:
    """What the reader must know, for ``"sentences"``: ``ok`` is good news, ``info`` a fact, ``warning`` and ``error`` shake the figures."""
    return {"code": code, "severity": severity, "en": en, "zh": zh}
