"""The main job for masks: plan, train, judge once on the test set, explain. Each step leaves its result and is not repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd

from vesalius.core.cohort import Case, Cohort
from vesalius.mapping import Mapping, TiledMapping
from vesalius.plan import Plan
from vesalius.stages.design.machine import Machine, this_machine
from vesalius.stages.parts import Part, keep_training, unseen_of
from vesalius.stages.ranking import Contest, first_plan, settled_plan
from vesalius.stages.repeat import Again, repeat_training, to_repeat
from vesalius.stages.report.card import model_card
from vesalius.stages.request import Request
from vesalius.stages.sealing import Looks, verify_seal
from vesalius.stages.tiled.baseline import Boosted
from vesalius.stages.tiled.bias import bias_of
from vesalius.stages.tiled.design import check_gives_masks, design_tiles, mask_rivals, tile_reads_of
from vesalius.stages.tiled.evaluate import Judge, choose_bias, judged, tolerance_for
from vesalius.stages.tiled.explain import explain_masks
from vesalius.stages.tiled.facts import TileFacts, gather_tiles
from vesalius.stages.tiled.figures import mask_metrics
from vesalius.stages.tiled.quicken import within_memory
from vesalius.stages.tiled.rival import NAME, judged_baseline, learnt_baseline
from vesalius.stages.tiled.store import TileStore, prepare_cases
from vesalius.stages.tiled.train import TileMaterial, mapping_of, train_parts, train_rival
from vesalius.stages.train import Trained
from vesalius.stages.work import Work, data_hash, used_of
from vesalius.storage import atomic_file, atomic_json


def fit_tiles(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Plan, train, evaluate and explain a mapping that reads each study in tiles."""
    cases = {case.id: case for case in cohort.cases}
    used = used_of(frame)
    contest = _contest(work, cohort, cases, used)
    plan = first_plan(work, contest, cohort.target, used)
    judge = Judge(cases, cohort.target, float(plan["output.tolerance"]))
    if not work.run.metrics.is_file():
        material = _material(work, plan, cohort, cases, used)
        baseline = _baseline(work, material, judge, used)
        plan = settled_plan(work, contest, plan, lambda rival, name, progress: train_rival(rival, material, work.request, name, progress))
        start = time.perf_counter()
        parts, results = train_parts(plan, material, work.request, work.progress)
        work.timed("train", start)
        keep_training(work, parts, results)
        _evaluate(work, plan, material, judge, used, parts, results, baseline)
    if to_repeat(work):
        material = _material(work, plan, cohort, cases, used)
        repeat_training(work, cohort.target, lambda again: _again(work, plan, material, judge, again))
    _explain(work, judge)


def _contest(work: Work, cohort: Cohort, cases: dict[str, Case], used: pd.DataFrame) -> Contest:
    """The networks that compete, and how they are planned; the data are looked at when a plan is made."""
    request = work.request

    @cache
    def facts() -> TileFacts:
        return gather_tiles(used, cases, cohort.target, side_matters=cohort.side_matters, ndim=cohort.ndim, progress=work.progress)

    @cache
    def machine() -> Machine:
        return this_machine(work.run.path, request.accelerator)

    def make(asked: Request, network: str | None, share: float) -> Plan:
        plan, tolerance = design_tiles(facts(), machine(), asked, network, share), tolerance_for(facts().spacing_mm or ())
        return plan.decide("output.tolerance", tolerance, "of the surface Dice: 1 mm, or a sample where that is more; 2 pixels")

    return Contest(request, lambda: mask_rivals(facts(), machine(), request), check_gives_masks, make, "Dice")


def _material(work: Work, plan: Plan, cohort: Cohort, cases: dict[str, Case], used: pd.DataFrame) -> TileMaterial:
    """Training and validation cases, prepared; the test set is not touched."""
    start = time.perf_counter()
    inner = used[used["split"] != "test"].reset_index(drop=True)
    chosen = [cases[name] for name in inner["id"]]
    store = prepare_cases(chosen, inner["hash"].tolist(), cohort.target, tile_reads_of(plan), work.run.cache, seed=work.request.seed,
                          jobs=work.request.jobs, progress=work.progress)
    work.timed("prepare", start)
    return TileMaterial(store, inner, cohort.target, work.run.checkpoints, work.run.log)


def _baseline(work: Work, material: TileMaterial, judge: Judge, used: pd.DataFrame) -> Boosted | None:
    """A classifier of samples without a network, judged on validation; None where it was judged on the test set already."""
    run, start = work.run, time.perf_counter()
    if run.baselines.is_file() or not isinstance(material.store, TileStore):
        return None
    model = learnt_baseline(material.store, material.frame, used, material.target, work.request, run.log, work.progress)
    judged_baseline(model, used[used["split"] == "validation"], judge, run.log, work.progress)
    work.timed("baselines", start)
    return model


def _rivals(work: Work, baseline: Boosted | None, judge: Judge, used: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What the baseline marks in validation and test, by name; it sees the test set in the network's one look."""
    path, start = work.run.baselines, time.perf_counter()
    if baseline is not None:
        made = judged_baseline(baseline, used[used["split"].isin(["validation", "test"])], judge, work.run.log, work.progress)
        atomic_file(path, made.to_parquet)
    work.timed("baselines", start)
    return {NAME: pd.read_parquet(path)}


def _evaluate(
    work: Work, plan: Plan, material: TileMaterial, judge: Judge, used: pd.DataFrame, parts: Sequence[Part], results: Sequence[Trained],
    baseline: Boosted | None,
) -> None:
    """Validation by networks that have not seen it, the operating point chosen there; then one look at the test set by all networks."""
    run, start = work.run, time.perf_counter()
    blind = unseen_of(lambda some: mapping_of(plan, material.target, some), material.frame, parts, results)
    operating = choose_bias([(mapping, rows) for _, mapping, rows in blind], judge, work.progress)
    whole = mapping_of(plan, material.target, results)
    for mapping in (whole, *(mapping for _, mapping, _ in blind)):
        _with_bias(mapping, operating)
        within_memory(mapping)
    tables = [judged(mapping, rows, judge, run.path, fold=fold, progress=work.progress, what="validation cases marked") for fold, mapping, rows in blind]
    verify_seal(used, plan["split.seal"])
    looks = Looks(run.path).record(plan["split.seal"], whole.hash, "fit")
    tables.append(judged(whole, used[used["split"] == "test"], judge, run.path, progress=work.progress, what="test cases marked"))
    predictions = pd.concat(tables, ignore_index=True)
    atomic_file(run.predictions, predictions.to_parquet)
    work.timed("evaluate", start)
    rivals, start = _rivals(work, baseline, judge, used), time.perf_counter()
    metrics = mask_metrics(predictions, judge.target, tolerance=judge.tolerance, baselines=rivals, seed=work.request.seed)
    metrics |= {"looks_at_test": looks, "notes": [*work.split_facts["notes"], *metrics["notes"]]} | ({"operating_point": operating} if operating else {})
    work.timed("evaluate", start)
    atomic_json(run.environment, run.facts() | {"seconds": work.seconds, "data_hash": data_hash(used)})
    whole.save(run.model, model_card(run.path, metrics))
    atomic_json(run.metrics, metrics)


def _again(work: Work, plan: Plan, material: TileMaterial, judge: Judge, again: Again) -> pd.DataFrame:
    """The same plan with another seed, judged on validation at the operating point of the run."""
    apart = replace(material, checkpoints=again.checkpoints, log=again.log)
    parts, results = train_parts(plan, apart, work.request, work.progress, again.seed)
    tables = []
    for fold, mapping, rows in unseen_of(lambda some: mapping_of(plan, material.target, some), apart.frame, parts, results):
        _with_bias(mapping, json.loads(work.run.metrics.read_text("utf-8")).get("operating_point"))
        within_memory(mapping)
        tables.append(judged(mapping, rows, judge, again.log / "judged", fold=fold, progress=work.progress, what="validation cases marked"))
    return pd.concat(tables, ignore_index=True)


def _with_bias(mapping: TiledMapping, operating: dict[str, Any] | None) -> None:
    if operating and operating["threshold"] != 0.5:
        mapping.output.facts["bias"] = bias_of(operating["threshold"], mapping.output.target.exclusive)


def _explain(work: Work, judge: Judge) -> None:
    if (work.run.explain / "cases.json").is_file():
        return
    mapping = Mapping.load(work.run.model)
    if isinstance(mapping, TiledMapping):
        explain_masks(mapping, pd.read_parquet(work.run.predictions), judge.opened, work.run.explain, progress=work.progress)
