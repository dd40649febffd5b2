"""Robustness of masks and boxes: whole studies are taken otherwise, and what is marked in them is judged against where the truth then lies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from vesalius.core.study import Study
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.seed import generator
from vesalius.stages.boxed.evaluate import KEPT_FROM, BoxJudge, case_row
from vesalius.stages.evaluate import folds_in
from vesalius.stages.tiled.evaluate import Judge, scored
from vesalius.stages.tiled.quicken import within_memory
from vesalius.stages.trust._moved import Way, ends_of, moved_mask, moved_truth, shown, ways_for
from vesalius.stages.trust._words import Words
from vesalius.stages.trust.base import Trust

LEAST = 10
"""Patients without whom no figure is worth a word."""
PATIENCE = 3.0
"""The least number of patients may take so many times the time that there is."""
FEWEST = 3
"""Changes without which the test says too little."""
TELLING = ("closer", "larger", "middle_down", "noisier", "farther", "smaller", "middle_up", "turned", "darker", "brighter", "softer", "flatter", "harder")
"""Which changes are asked first where there is no time for all."""
AS_IT_IS = Way()

Rows = list[dict[str, Any]]
Ask = Callable[[dict[str, Any]], list[Rows]]
"""Rows of the table of judged cases, of one case: as it is, then under each change."""


def asked_marked(trust: Trust) -> tuple[list[pd.DataFrame], list[str], int] | Words:
    """The judged cases as they are and under each change, the names of the changes, and how many cases there were; else why not, in words."""
    held = _held(trust)
    if held["patient"].nunique() < LEAST:
        return (f"Fewer than {LEAST} patients in validation.", f"验证集患者少于 {LEAST} 名。")
    cases: list[dict[str, Any]] = [{str(key): value for key, value in facts.items()} for facts in held.to_dict("records")]
    allowed = trust.left_s  # before it is tried how long a case takes, which counts too
    each = _seconds(_asker(trust, {}), cases)
    ways = affordable(ways_of(trust), allowed, each)
    if len(ways) < FEWEST:
        return _slow(allowed, each)
    ask = _asker(trust, ways)
    made: list[list[Rows]] = []
    seen: set[str] = set()
    for facts in cases:
        made.append(ask(facts))
        seen.add(str(facts["patient"]))
        trust.progress(len(made), len(held), "images shown with changes")
        if trust.left_s <= 0 and len(seen) >= LEAST:
            break
    tables = [pd.DataFrame([row for case in made for row in case[k]]) for k in range(len(ways) + 1)]
    return tables, [*ways], len(held)


def _seconds(ask: Ask, cases: list[dict[str, Any]]) -> float:
    """How long a case takes that is not the first."""
    ask(cases[0])
    start = time.perf_counter()
    ask(cases[1])
    return time.perf_counter() - start


def ways_of(trust: Trust) -> dict[str, Way]:
    """All changes that have a meaning for the model."""
    measured = str(trust.mapping.plan.get("data.modality")) == "CT"
    return ways_for(trust.mapping.reads, measured, boxes=trust.target.kind == "boxes")  # type: ignore[arg-type]


def affordable(ways: dict[str, Way], allowed_s: float, each_s: float) -> dict[str, Way]:
    """The most telling changes for which there is time with the least number of patients.

    >>> list(affordable({name: Way() for name in ("turned", "darker", "larger", "noisier")}, allowed_s=10, each_s=1.0))
    ['larger', 'noisier']
    """
    room = max(0, int(allowed_s * PATIENCE / (LEAST * max(each_s, 1e-6))) - 1)
    chosen = [name for name in TELLING if name in ways][:room]
    return {name: way for name, way in ways.items() if name in chosen}


def _slow(allowed: float, each: float) -> Words:
    en = f"Reading a study takes {each:.1f} s and there were {allowed:.0f} s, too few for {LEAST} studies under {FEWEST} changes; "
    zh = f"读取一例检查需 {each:.1f} 秒，可用时间为 {allowed:.0f} 秒，不足以让 {LEAST} 例检查经历 {FEWEST} 种改变；"
    return f"{en}a longer training leaves more.", f"{zh}训练时间越长，可用时间越多。"


def _held(trust: Trust) -> pd.DataFrame:
    """Validation cases (with folds all but the test) that were judged, in an order that chance has made: id, path, patient, fold."""
    table = trust.predictions
    rows = table[table["split"] == "validation"].drop_duplicates("id")
    kept = rows[["id", "path", "patient"]].assign(split="validation", fold=rows["fold"] if "fold" in rows else -1)
    return kept.iloc[generator(trust.seed, "robustness").permutation(len(kept))]


def _asker(trust: Trust, ways: dict[str, Way]) -> Ask:
    """How one case is asked, by the networks that have not learnt from it."""
    mappings = _blind(trust)

    def ask(facts: dict[str, Any]) -> list[Rows]:
        mapping = mappings[facts["fold"]]
        rows = _of_masks(trust, mapping, facts, ways) if isinstance(mapping, TiledMapping) else _of_boxes(trust, mapping, facts, ways)  # type: ignore[arg-type]
        return [*rows]

    return ask


def _blind(trust: Trust) -> dict[int, Mapping]:
    if not folds_in(trust.predictions):
        return {-1: _ready(trust.mapping)}
    return {k: _ready(replace(trust.mapping, networks=[network])) for k, network in enumerate(trust.mapping.networks)}


def _ready(mapping: Mapping) -> Mapping:
    if isinstance(mapping, TiledMapping):
        within_memory(mapping)
    return mapping


def _taken(trust: Trust, name: str, study: Study, ways: dict[str, Way]) -> Iterator[tuple[Study, Way, int]]:
    """The study as it is (within the grey values that count), then under each change, with the way and its direction."""
    ends = ends_of(study, trust.mapping.reads)  # type: ignore[arg-type]
    for change, way in {"": AS_IT_IS, **ways}.items():
        drawn = generator(trust.seed, "change", change, name)
        sign = 1 if drawn.random() < 0.5 else -1
        yield shown(study, way, ends, sign, torch.Generator().manual_seed(int(drawn.integers(2**31)))), way, sign


def _of_masks(trust: Trust, mapping: TiledMapping, facts: dict[str, Any], ways: dict[str, Way]) -> Iterator[Rows]:
    judge = Judge(trust.cases, trust.target, float(mapping.plan["output.tolerance"]))
    study, truth = judge.opened(facts["id"])
    for each, way, sign in _taken(trust, facts["id"], study, ways):
        yield scored(facts, each, moved_mask(np.ascontiguousarray(truth), way, study.grid, sign), mapping.segment(each), judge, -1)


def _of_boxes(trust: Trust, mapping: BoxedMapping, facts: dict[str, Any], ways: dict[str, Way]) -> Iterator[Rows]:
    study, truth = BoxJudge(trust.cases, trust.target).opened(facts["id"])
    for each, way, _ in _taken(trust, facts["id"], study, ways):
        yield [case_row(facts, each, moved_truth(truth, way, study.grid), mapping.detect(each, KEPT_FROM), trust.target)]
