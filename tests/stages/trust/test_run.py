"""The harness of the tests of trust: order, time, what is kept, what is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vesalius.core.cohort import Case, Cohort, Source
from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.registry import Registry
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.stages.trust import base, not_for, run, sentence
from vesalius.stages.trust.base import Part, Trust
from vesalius.stages.work import Work
from vesalius.storage import atomic_json

TARGET = TargetSpec("binary", ("no", "yes"))


class Plain:
    """A mapping of which only the reads are looked at."""

    reads = Reads((8, 8))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    made = Work(RunFolder(tmp_path), Request(data="somewhere"), base.quiet, {})
    atomic_json(made.run.environment, {"seconds": {"train": 100.0, "evaluate": 50.0}})
    pd.DataFrame({"id": ["a"]}).to_parquet(made.run.predictions)
    monkeypatch.setattr(run.Mapping, "load", lambda folder: Plain())
    monkeypatch.setattr(run, "_images", lambda *_: np.zeros((2, 1, 8, 8), np.uint8))
    return made


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Registry[Part]:
    made: Registry[Part] = Registry("test of trust", "json")
    monkeypatch.setattr(run, "TRUST", made)
    monkeypatch.setattr(base, "TRUST", made)
    return made


def the_cohort() -> tuple[Cohort, pd.DataFrame]:
    cases = tuple(Case(name, Source("raster", f"{name}.png"), name, "no") for name in ("a", "b", "c"))
    frame = pd.DataFrame({"id": ["a", "b", "c"], "hash": "0", "patient": ["a", "b", "c"], "label": "no", "split": ["train", "excluded", "test"]})
    return Cohort(cases, TARGET, 2, "somewhere", "table", "the table"), frame


def test_they_run_in_their_order_share_the_time_and_are_kept(work: Work, parts: Registry[Part]) -> None:
    seen: list[tuple[str, float]] = []

    def asked(name: str) -> Any:
        def ask(trust: Trust) -> dict[str, Any]:
            seen.append((name, trust.left_s))
            assert trust.frame["id"].tolist() == ["a", "c"] and trust.images is not None and trust.target is TARGET
            return {"value": np.float32(0.5), "sentences": [sentence("c", "ok", "good", "好")]}

        return ask

    for name, order, share in (("late", 30, 1.0), ("early", 10, 2.0), ("middle", 20, 1.0)):
        base.trust_part(name, order=order, share=share)(asked(name))
    run.run_trust(work, *the_cohort())
    assert [name for name, _ in seen] == ["early", "middle", "late"]
    assert [left for _, left in seen] == pytest.approx([15, 15, 30], abs=1)  # 20 % of 150 s; what is not used is handed on
    kept = json.loads((work.run.path / "trust.json").read_text())
    assert kept["early"]["value"] == 0.5 and kept["early"]["seconds"] >= 0
    assert work.run.facts()["seconds"].keys() == {"train", "evaluate", "trust"}
    spent = work.run.facts()["trust"]
    assert spent["share"] == 0.2 and spent["limit_s"] == pytest.approx(30) and spent["fit_s"] == 150 and spent["cpu_s"] >= 0
    assert spent["share_taken"] == pytest.approx(spent["took_s"] / 150, abs=1e-3) and kept["late"]["cpu_s"] >= 0
    run.run_trust(work, *the_cohort())
    assert len(seen) == 3  # nothing is done twice


def test_what_the_model_remembers_counts_as_trust(work: Work, parts: Registry[Part]) -> None:
    left: list[float] = []
    atomic_json(work.run.environment, {"seconds": {"train": 100.0, "evaluate": 50.0, "fit for": 12.0}})
    base.trust_part("only")(lambda trust: left.append(trust.left_s) or {"applies": True})
    run.run_trust(work, *the_cohort())
    assert left == pytest.approx([18], abs=1)
    spent = work.run.facts()["trust"]
    assert spent["fit_for_s"] == 12 and spent["fit_s"] == 150 and spent["share_taken"] >= 0.08


def test_a_kill_loses_only_the_test_that_ran(work: Work, parts: Registry[Part]) -> None:
    seen = []

    def killed(trust: Trust) -> dict[str, Any]:
        seen.append("killed")
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {}

    def first(trust: Trust) -> dict[str, Any]:
        seen.append("first")
        return {}

    base.trust_part("a", order=1)(first)
    base.trust_part("b", order=2)(killed)
    with pytest.raises(KeyboardInterrupt):
        run.run_trust(work, *the_cohort())
    run.run_trust(work, *the_cohort())
    assert seen == ["first", "killed", "killed"]


def test_a_failed_test_is_told_and_tried_again(work: Work, parts: Registry[Part]) -> None:
    tries = []

    def failing(trust: Trust) -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            raise DataError("the column is empty", where="age")
        return {"applies": True}

    base.trust_part("age")(failing)
    run.run_trust(work, *the_cohort())
    told = json.loads((work.run.path / "trust.json").read_text())["age"]
    assert told["applies"] is False and told["failed"] and "the column is empty (age)" in told["sentences"][0]["en"]
    assert told["sentences"][0]["severity"] == "warning" and "age" in told["sentences"][0]["zh"]
    run.run_trust(work, *the_cohort())
    assert json.loads((work.run.path / "trust.json").read_text())["age"]["applies"] is True


def test_a_small_fit_still_gives_some_time(work: Work, parts: Registry[Part]) -> None:
    atomic_json(work.run.environment, {"seconds": {"train": 1.0}})
    left: list[float] = []
    base.trust_part("a")(lambda trust: left.append(trust.left_s) or {})  # type: ignore[func-returns-value]
    run.run_trust(work, *the_cohort())
    assert left == pytest.approx([run.LEAST_S], abs=0.5)


def test_time_that_is_over_is_none(work: Work) -> None:
    trust = Trust(work.run, Plain(), pd.DataFrame(), None, pd.DataFrame(), TARGET, {})  # type: ignore[arg-type]
    assert trust.left_s == base.ENOUGH_S
    trust.deadline = time.perf_counter() - 5
    assert trust.left_s == 0


def test_what_does_not_apply_says_why() -> None:
    assert not_for("no", "否") == {"applies": False, "why": {"en": "no", "zh": "否"}}
