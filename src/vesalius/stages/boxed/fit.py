"""The main job for boxes: plan, train, judge once on the test set, explain. Each step leaves its result and is not repeated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd

from vesalius.core.cohort import Case, Cohort
from vesalius.mapping import BoxedMapping, Mapping
from vesalius.plan import Plan
from vesalius.stages.boxed.design import box_rivals, check_gives_boxes, design_boxes
from vesalius.stages.boxed.evaluate import BoxJudge, judged_boxes
from vesalius.stages.boxed.explain import explain_boxes
from vesalius.stages.boxed.facts import BoxFacts, gather_boxes
from vesalius.stages.boxed.figures import box_metrics
from vesalius.stages.boxed.operating import calibrated_cases, fit_calibration, operating_points
from vesalius.stages.boxed.rival import blob_cases
from vesalius.stages.boxed.store import prepare_boxes
from vesalius.stages.boxed.tables import detections_of
from vesalius.stages.design.machine import Machine, this_machine
from vesalius.stages.parts import Part, keep_training, trained_seconds, unseen_of
from vesalius.stages.ranking import Contest, first_plan, settled_plan
from vesalius.stages.repeat import Again, repeat_training, to_repeat
from vesalius.stages.report.card import model_card
from vesalius.stages.request import Request
from vesalius.stages.sealing import Looks, verify_seal
from vesalius.stages.tiled.design import tile_reads_of
from vesalius.stages.tiled.train import TileMaterial, boxed_mapping_of, train_parts, train_rival
from vesalius.stages.train import Trained
from vesalius.stages.work import Work, data_hash, used_of
from vesalius.storage import atomic_file, atomic_json

CASES, DETECTIONS, RIVALS = "cases.parquet", "detections.parquet", "baseline_cases.parquet"
MATCHING = {2: "iou", 3: "centre"}
"""Pictures by overlap (COCO), volumes by the centre inside the lesion (LUNA16)."""
EXPLAIN_SHARE = 0.25
"""D-RISE of the boxes in the report should not take more than that share of the time of training."""


def fit_boxes(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Plan, train, evaluate and explain a mapping that detects."""
    cases = {case.id: case for case in cohort.cases}
    used = used_of(frame)
    contest = _contest(work, cohort, cases, used)
    plan = first_plan(work, contest, cohort.target, used)
    judge = BoxJudge(cases, cohort.target)
    if not work.run.metrics.is_file():
        material = _material(work, plan, cohort, cases, used)
        rivals = _rivals(work, plan, judge, used)
        plan = settled_plan(work, contest, plan, lambda rival, name, progress: train_rival(rival, material, work.request, name, progress))
        start = time.perf_counter()
        parts, results = train_parts(plan, material, work.request, work.progress)
        work.timed("train", start)
        keep_training(work, parts, results)
        _evaluate(work, plan, material, judge, used, parts, results, rivals)
    if to_repeat(work):
        material = _material(work, plan, cohort, cases, used)
        repeat_training(work, cohort.target, lambda again: _again(work, plan, material, judge, again))
    _explain(work, judge, plan)


def _contest(work: Work, cohort: Cohort, cases: dict[str, Case], used: pd.DataFrame) -> Contest:
    """The networks that compete, and how they are planned; the data are looked at when a plan is made."""
    request = work.request

    @cache
    def facts() -> BoxFacts:
        return gather_boxes(used, cases, cohort.target, side_matters=cohort.side_matters, ndim=cohort.ndim, progress=work.progress)

    @cache
    def machine() -> Machine:
        return this_machine(work.run.path, request.accelerator)

    def make(asked: Request, network: str | None, share: float) -> Plan:
        why = "a picture's boxes by overlap, as COCO does" if cohort.ndim == 2 else "a volume's by their centre, as LUNA16 does"
        return design_boxes(facts(), machine(), asked, network, share).decide("output.matching", MATCHING[cohort.ndim], why)

    return Contest(request, lambda: box_rivals(facts(), machine(), request), lambda name: check_gives_boxes(name, cohort.ndim), make, "mAP50")


def _material(work: Work, plan: Plan, cohort: Cohort, cases: dict[str, Case], used: pd.DataFrame) -> TileMaterial:
    """Training and validation cases, prepared; the test set is not touched."""
    start = time.perf_counter()
    inner = used[used["split"] != "test"].reset_index(drop=True)
    store = prepare_boxes([cases[name] for name in inner["id"]], inner["hash"].tolist(), cohort.target, tile_reads_of(plan), work.run.cache,
                          jobs=work.request.jobs, progress=work.progress)
    work.timed("prepare", start)
    return TileMaterial(store, inner, cohort.target, work.run.checkpoints, work.run.log)


def _rivals(work: Work, plan: Plan, judge: BoxJudge, used: pd.DataFrame) -> pd.DataFrame:
    """What a classic detector of blobs finds in validation and test, as ``cases.parquet`` has it."""
    path, start = work.run.path / RIVALS, time.perf_counter()
    if not path.is_file():
        made = blob_cases(used, judge, tile_reads_of(plan), seed=work.request.seed, progress=work.progress)
        atomic_file(path, made.to_parquet)
    work.timed("baselines", start)
    return pd.read_parquet(path)


def _evaluate(
    work: Work, plan: Plan, material: TileMaterial, judge: BoxJudge, used: pd.DataFrame, parts: Sequence[Part], results: Sequence[Trained],
    rivals: pd.DataFrame,
) -> None:
    """Validation by networks that have not seen it, scores and operating points settled there; then one look at the test set by all networks."""
    run, start, matching = work.run, time.perf_counter(), plan["output.matching"]
    blind = unseen_of(lambda some: boxed_mapping_of(plan, material.target, some), material.frame, parts, results)
    told = "validation cases looked through"
    raw = pd.concat([judged_boxes(mapping, rows, judge, run.path, fold=fold, progress=work.progress, what=told) for fold, mapping, rows in blind])
    whole = boxed_mapping_of(plan, material.target, results)
    validation, facts = _settled(whole, raw, judge, matching)
    verify_seal(used, plan["split.seal"])
    looks = Looks(run.path).record(plan["split.seal"], whole.hash, "fit")
    test = judged_boxes(whole, used[used["split"] == "test"], judge, run.path, progress=work.progress, what="test cases looked through")
    cases = pd.concat([validation, test], ignore_index=True)
    metrics = box_metrics(cases, judge.target, matching=matching, operating=facts["operating_point"], calibration=facts["calibration"],
                          baselines={"blobs": rivals}, seed=work.request.seed)
    metrics |= {"looks_at_test": looks, "notes": [*work.split_facts["notes"], *metrics["notes"]]}
    atomic_file(run.path / CASES, cases.to_parquet)
    atomic_file(run.path / DETECTIONS, detections_of(cases, judge.target, matching).to_parquet)
    work.timed("evaluate", start)
    atomic_json(run.environment, run.facts() | {"seconds": work.seconds, "data_hash": data_hash(used)})
    whole.save(run.model, model_card(run.path, metrics))
    atomic_json(run.metrics, metrics)


def _again(work: Work, plan: Plan, material: TileMaterial, judge: BoxJudge, again: Again) -> pd.DataFrame:
    """The same plan with another seed, calibrated and judged on validation."""
    apart = replace(material, checkpoints=again.checkpoints, log=again.log)
    parts, results = train_parts(plan, apart, work.request, work.progress, again.seed)
    blind = unseen_of(lambda some: boxed_mapping_of(plan, material.target, some), apart.frame, parts, results)
    folder = again.log / "judged"
    raw = pd.concat([judged_boxes(mapping, rows, judge, folder, fold=fold, progress=work.progress) for fold, mapping, rows in blind])
    return _settled(boxed_mapping_of(plan, material.target, results), raw, judge, plan["output.matching"])[0]


def _settled(whole: BoxedMapping, raw: pd.DataFrame, judge: BoxJudge, matching: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Calibrate and choose the operating points on validation; the mapping keeps both."""
    calibrator, calibration = fit_calibration(raw, judge.target, matching=matching)
    validation = calibrated_cases(raw, judge.target, calibrator)
    operating = operating_points(validation, judge.target, matching=matching)
    whole.output.calibrator = calibrator
    whole.output.facts["thresholds"] = {name: float(each["threshold"]) for name, each in operating.items()}
    return validation, {"operating_point": operating, "calibration": calibration}


def _explain(work: Work, judge: BoxJudge, plan: Plan) -> None:
    if (work.run.explain / "cases.json").is_file():
        return
    mapping = Mapping.load(work.run.model)
    if isinstance(mapping, BoxedMapping):
        cases = pd.read_parquet(work.run.path / CASES)
        within = EXPLAIN_SHARE * trained_seconds(work)
        explain_boxes(mapping, cases[cases["split"] == "test"], judge.opened, work.run.explain, progress=work.progress, matching=plan["output.matching"],
                      within_s=within)
