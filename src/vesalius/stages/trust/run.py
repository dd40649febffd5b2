"""Every registered test of trust after the evaluation of a run, within a share of the time that the fit took."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd

from vesalius.core.cohort import Cohort
from vesalius.core.reads import Reads
from vesalius.errors import DataError, VesaliusError
from vesalius.mapping import Mapping
from vesalius.stages.prepare import prepare_all
from vesalius.stages.trust.base import TRUST, Part, Trust, sentence
from vesalius.stages.work import Work, used_of
from vesalius.storage import atomic_json

RECORD = "trust.json"
BUDGET = "trust"
"""In ``environment.json``: what the tests were allowed, and took."""
SHARE = 0.2
"""Of the time that the fit took, for all tests together and what the model remembers of its training images ..."""
LEAST_S = 10.0
"""... but at least this for the tests."""
OURS = ("trust", "fit for")
"""Steps that count as ours."""
SAID = (VesaliusError, ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError)
"""Failures of a test that the report tells; they do not take the finished run with them. A failed test is tried again by the next ``fit``."""


def run_trust(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Run the tests that ``trust.json`` does not hold yet, in their order; each result is kept before the next test begins.

    Parameters
    ----------
    frame: the split cohort (rows of ``cohort.parquet``, excluded ones too).

    Raises
    ------
    DataError: an image can no longer be read. RunError: the run folder cannot be written.
    """
    record = read_trust(work)
    todo = sorted((name for name in TRUST if not finished(record.get(name))), key=lambda name: (TRUST.get(name).order, name))
    if not todo:
        return
    start, used, limit = time.perf_counter(), time.process_time(), _budget_s(work)
    trust = _trust_of(work, cohort, frame)
    end = start + limit
    for done, name in enumerate(todo):
        part = TRUST.get(name)
        work.progress(done, len(todo), f"tests of trust ({name})")
        waiting = sum(TRUST.get(other).share for other in todo[done:])
        trust.deadline = time.perf_counter() + max(0.0, end - time.perf_counter()) * part.share / waiting
        record[name] = _asked(name, part, trust)
        atomic_json(work.run.path / RECORD, record)
    work.progress(len(todo), len(todo), "tests of trust")
    work.timed("trust", start)
    facts = work.run.facts()
    spent = _spent(facts.get("seconds") or work.seconds, limit, work.seconds["trust"], time.process_time() - used)
    atomic_json(work.run.environment, facts | {"seconds": facts.get("seconds", {}) | {"trust": work.seconds["trust"]}, BUDGET: spent})


def read_trust(work: Work) -> dict[str, Any]:
    """``trust.json`` as it is; empty when there is none yet."""
    path = work.run.path / RECORD
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def finished(result: dict[str, Any] | None) -> bool:
    """Whether a test need not be run again."""
    return result is not None and not result.get("failed")


def _budget_s(work: Work) -> float:
    took = work.run.facts().get("seconds") or work.seconds
    return max(LEAST_S, SHARE * _of_fit(took) - took.get("fit for", 0.0))


def _of_fit(took: dict[str, float]) -> float:
    return sum(seconds for step, seconds in took.items() if step not in OURS)


def _spent(took: dict[str, float], limit: float, seconds: float, cpu: float) -> dict[str, Any]:
    """``{"share" (allowed), "limit_s", "took_s", "cpu_s" (processor time of this process), "fit_s", "fit_for_s", "share_taken" (of the fit's time)}``."""
    whole, fit_for = _of_fit(took), took.get("fit for", 0.0)
    facts = {"limit_s": limit, "took_s": seconds, "cpu_s": cpu, "fit_s": whole, "fit_for_s": fit_for}
    return {"share": SHARE, **{name: round(each, 2) for name, each in facts.items()}, "share_taken": round((seconds + fit_for) / max(whole, 1e-9), 3)}


def _asked(name: str, part: Part, trust: Trust) -> dict[str, Any]:
    """The result of a test with the time it took; a failure is a result that says so."""
    start, used = time.perf_counter(), time.process_time()
    try:
        found = part(trust)
    except SAID as error:
        found = _failed(name, error)
    return found | {"seconds": round(time.perf_counter() - start, 2), "cpu_s": round(time.process_time() - used, 2)}


def _failed(name: str, error: BaseException) -> dict[str, Any]:
    why = f"{type(error).__name__}: {error}"
    en, zh = f"The test '{name}' could not be done ({why}).", f"检验“{name}”未能完成（{why}）。"
    return {"applies": False, "failed": True, "why": {"en": en, "zh": zh}, "sentences": [sentence(f"{name}-failed", "warning", en, zh)]}


def _trust_of(work: Work, cohort: Cohort, frame: pd.DataFrame) -> Trust:
    used, mapping = used_of(frame), Mapping.load(work.run.model)
    cases = {case.id: case for case in cohort.cases}
    table = work.run.predictions if work.run.predictions.is_file() else work.run.path / "cases.parquet"
    trust = Trust(work.run, mapping, used, None, pd.read_parquet(table), cohort.target, cases, work.request.seed, work.progress, work.request.jobs)
    if isinstance(mapping.reads, Reads):
        trust.images = _images(work, trust, mapping.reads)
    return trust


def _images(work: Work, trust: Trust, reads: Reads) -> Any:
    """The prepared images that the fit has left in its cache."""
    ids = trust.frame["id"].tolist()
    sources = [trust.cases[name].source for name in ids]
    prepared = prepare_all(ids, sources, trust.frame["hash"].tolist(), reads, work.run.cache, jobs=work.request.jobs, progress=work.progress)
    if prepared.unreadable:
        name, why = next(iter(prepared.unreadable.items()))
        raise DataError("an image can no longer be read", where=name, got=why, do="restore the file; the same command goes on")
    return prepared.images
