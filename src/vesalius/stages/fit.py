"""The main job: from a folder of images to a model and a report that can be believed.

Each step leaves its result in the run folder and is not repeated when the same command is given again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.cohort import Cohort, Source
from vesalius.errors import DataError
from vesalius.formats import recognise
from vesalius.mapping import Mapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.baselines import run_baselines, run_crossed
from vesalius.stages.boxed.fit import fit_boxes
from vesalius.stages.check import audit_cohort
from vesalius.stages.cohortfile import read_cohort, write_cohort
from vesalius.stages.compete import RANKING, Material, Planner, mapping_of, rank, train_parts
from vesalius.stages.datasize import COLUMNS, data_size_curve
from vesalius.stages.design import Facts, complete, gather, reads_of, this_machine
from vesalius.stages.doubtful.corrections import recorded, same_corrections, with_corrections
from vesalius.stages.evaluate import calibrate_on_validation, choose_operating_point, evaluate
from vesalius.stages.explain.cases import explain_cases
from vesalius.stages.fitfor import keep_fit_for
from vesalius.stages.nodes import announce, help_training, node_rank
from vesalius.stages.paperwork import paperwork
from vesalius.stages.parts import Part, keep_training, parts_of, unseen_of
from vesalius.stages.predict import raw_frame, raw_values, with_probabilities
from vesalius.stages.prepare import Prepared, prepare_all, quiet
from vesalius.stages.repeat import Again, repeat_training
from vesalius.stages.report import report
from vesalius.stages.report.card import model_card
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.stages.sealing import Looks, seal, verify_seal
from vesalius.stages.split import By, folds, split_cohort
from vesalius.stages.tiled.fit import fit_tiles
from vesalius.stages.train import Trained
from vesalius.stages.trust import run_trust
from vesalius.stages.work import Progress, Work, data_hash, used_of
from vesalius.storage import atomic_file, atomic_json, atomic_write

DATASIZE = "datasize.csv"


def fit(data: str | Path, out: str | Path, *, progress: Progress = quiet, **options: Any) -> Path:
    """Check, split, plan, train, calibrate, test once, explain, remember what the training images were like, test whether all that can be believed, and
    report; see `Request` for the options.

    Returns the run folder. The same call goes on where a killed one stopped, and does nothing when all is done.

    Raises
    ------
    DataError: what was given cannot be used (see the message). RunError: the folder, the disk or the memory.
    TrainingError: the loss is not a number or diverges. OptionError: an unknown name or impossible option.
    """
    request = Request(data=str(data), **options)
    if node_rank(request) > 0:
        help_training(RunFolder(Path(out)), request, progress)
        return Path(out)
    with RunFolder(Path(out)).claimed(request) as run:
        work = Work(run, request, progress, {})
        cohort, frame = cohort_of(work)
        WAYS[output_for(cohort.target).reading](work, cohort, frame)
        keep_fit_for(work, cohort, frame)
        run_trust(work, cohort, frame)
        if run.metrics.is_file():
            paperwork(run.path, request.lang)
        report(run.path, request.lang)
    return run.path


def fit_whole(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Plan, train, evaluate and explain a mapping that reads each study whole."""
    plan, material = _plan(work, cohort, frame)
    if not work.run.metrics.is_file():
        _baselines(work, plan, material)
        _evaluate(work, plan, material, *_train(work, plan, material))
    repeat_training(work, cohort.target, lambda again: _again(work, plan, material, again))
    _explain(work, cohort)


WAYS: dict[str, Callable[[Work, Cohort, pd.DataFrame], None]] = {"whole": fit_whole, "tiles": fit_tiles, "boxes": fit_boxes}
"""By `Output.reading`."""


def cohort_of(work: Work) -> tuple[Cohort, pd.DataFrame]:
    """The recognised cohort, audited and split; on a second run as it was split then."""
    request, run, start = work.request, work.run, time.perf_counter()
    cohort = recognise(
        request.data, table=request.table, label=request.label, patient=request.patient, image=request.image, target=request.target, layout=request.layout,
        gaps=request.gaps,
    )
    cohort, corrections = with_corrections(cohort, request.corrections)
    if run.cohort.is_file():
        frame = read_cohort(run.cohort)
        _unchanged(cohort, frame, request.data)
        same_corrections(corrections, run.audit)
        return cohort, frame
    audit = audit_cohort(cohort, jobs=request.jobs, progress=work.progress)
    by: By = "image" if request.by_image else "patient"
    audit.raise_if_hopeless(by=by)
    split = split_cohort(audit, seed=request.seed, by=by, keep_official=not request.new_split)
    notes = list(split.notes)
    told = recorded(corrections, notes, split.frame)
    facts = {"seal": seal(split.frame), "decisions": [list(d) for d in split.decisions], "notes": notes, "by": split.by}
    atomic_json(run.audit, audit.to_dict() | {"split": facts} | told)
    write_cohort(split.frame, run.cohort)
    work.timed("check", start)
    return cohort, split.frame


def _unchanged(cohort: Cohort, frame: pd.DataFrame, data: str) -> None:
    there, before = {case.id for case in cohort.cases}, set(frame["id"])
    if there != before:
        changed = sorted(there ^ before)
        raise DataError(
            "the data has changed since this run was started", where=data,
            got=f"{len(changed)} images more or fewer, e.g. {changed[0]}", do="choose another --out for the new data",
        )


def _plan(work: Work, cohort: Cohort, frame: pd.DataFrame) -> tuple[Plan, Material]:
    """The plan as it was, or a new one, and the prepared images; the plan is written before anything is trained."""
    run, start = work.run, time.perf_counter()
    used = used_of(frame)
    if work.request.folds:
        folds(used, work.request.folds, work.request.seed, cohort.target)  # too few patients are told before anything is prepared
    sources = {case.id: case.source for case in cohort.cases}
    planner = Planner(work.request, this_machine(run.path, work.request.accelerator), lambda: _facts(cohort, used, sources))
    if not run.plan.is_file():
        work.planned(cohort.target, used, planner.first).save(run.plan)
    plan = Plan.load(run.plan)
    material = Material(_prepare(work, plan, used, sources), used, cohort.target, run.checkpoints, run.log)
    if plan.get("input.mean") is None:
        plan = complete(plan, material.prepared.images, used.index[used["split"] == "train"].to_numpy())
        plan.save(run.plan)
    if plan["network.rivals"] and not (run.log / RANKING).is_file():
        table = rank(planner.rival_plans(plan, run.log), material, work.request, work.progress)
        plan = planner.final(plan, table)
        plan.save(run.plan)
        # Last: a run that is killed before still ranks, and finds every rival trained.
        atomic_write(run.log / RANKING, table.to_csv(index=False).encode())
    work.timed("plan and prepare", start)
    return plan, material


def _facts(cohort: Cohort, used: pd.DataFrame, sources: dict[str, Source]) -> Facts:
    return gather(used, sources, cohort.target, side_matters=cohort.side_matters, ndim=cohort.ndim)


def _prepare(work: Work, plan: Plan, used: pd.DataFrame, sources: dict[str, Source]) -> Prepared:
    chosen = [sources[each] for each in used["id"]]
    prepared = prepare_all(
        used["id"].tolist(), chosen, used["hash"].tolist(), reads_of(plan), work.run.cache, jobs=work.request.jobs, progress=work.progress,
    )
    if prepared.unreadable:
        name, why = next(iter(prepared.unreadable.items()))
        raise DataError("an image can no longer be read", where=name, got=why, do="restore the file, or start again with another --out")
    return prepared


def _baselines(work: Work, plan: Plan, material: Material) -> None:
    """Trained on the same images as the network: with folds once for each of them."""
    run, start, images = work.run, time.perf_counter(), material.prepared.images
    if not run.baselines.is_file():
        parts = parts_of(plan, material.frame, material.target, work.request.seed)
        held = {part.fold: part.validation_rows for part in parts if part.fold >= 0}
        options: dict[str, Any] = {"seed": work.request.seed, "progress": work.progress, "jobs": work.request.jobs}
        made = run_crossed(images, material.frame, material.target, list(held.values()), **options) if held else run_baselines(
            images, material.frame, material.target, **options)
        atomic_file(run.baselines, made.to_parquet)
    if not (run.log / DATASIZE).is_file():
        curve = data_size_curve(images, material.frame, material.target, seed=work.request.seed, progress=work.progress)
        atomic_write(run.log / DATASIZE, pd.DataFrame(curve, columns=list(COLUMNS)).to_csv(index=False).encode())
    work.timed("baselines", start)


def _train(work: Work, plan: Plan, material: Material) -> tuple[list[Part], list[Trained]]:
    start = time.perf_counter()
    if work.request.nodes > 1:
        announce(work.run, plan, time.time())
    parts, results = train_parts(plan, material, work.request, work.progress)
    work.timed("train", start)
    keep_training(work, parts, results)
    return parts, results


def _evaluate(work: Work, plan: Plan, material: Material, parts: list[Part], results: list[Trained]) -> None:
    """Calibrate and choose on validation, by networks that have not seen it; then all networks look at the test set once."""
    run, start, frame = work.run, time.perf_counter(), material.frame
    mapping = mapping_of(plan, material, parts, results)
    unseen = _unseen(work, plan, material, parts, results)
    calibration = _calibrate(mapping, unseen)
    operating = _operating_point(mapping, with_probabilities(mapping, unseen))
    verify_seal(frame, plan["split.seal"])
    looks = Looks(run.path).record(plan["split.seal"], mapping.hash, "fit")
    test = _asked(work, mapping, frame[frame["split"] == "test"], material, -1)
    predictions = with_probabilities(mapping, pd.concat([unseen, test]).sort_index().reset_index(drop=True))
    baselines = pd.read_parquet(run.baselines)
    curve = [{str(k): v for k, v in row.items()} for row in pd.read_csv(run.log / DATASIZE).to_dict("records")]
    metrics = evaluate(predictions, baselines, material.target, calibration=calibration, operating=operating, data_size=curve, seed=work.request.seed)
    metrics |= {"looks_at_test": looks, "notes": [*work.split_facts["notes"], *metrics["notes"]]}
    atomic_file(run.predictions, predictions.to_parquet)
    work.timed("evaluate", start)
    atomic_json(run.environment, run.facts() | {"seconds": work.seconds, "data_hash": data_hash(frame)})
    mapping.save(run.model, model_card(run.path, metrics))
    atomic_json(run.metrics, metrics)


def _unseen(work: Work, plan: Plan, material: Material, parts: list[Part], results: list[Trained]) -> pd.DataFrame:
    """Raw values of validation (with folds: of all that is not the test set), each image by the networks that have not seen it."""
    blind = unseen_of(lambda some: mapping_of(plan, material, parts, some), material.frame, parts, results)
    return pd.concat([_asked(work, mapping, rows, material, fold) for fold, mapping, rows in blind]).sort_index()


def _asked(work: Work, mapping: Mapping, rows: pd.DataFrame, material: Material, fold: int) -> pd.DataFrame:
    """What a mapping says of some rows, which keep their numbers; ``fold``: whose networks it is, -1 for all."""
    raw = raw_values(mapping, material.prepared.images, rows.index.to_list(), progress=work.progress)
    table = raw_frame(mapping, rows, raw).set_index(rows.index)
    table.insert(list(table).index("split") + 1, "fold", fold)
    return table


def _again(work: Work, plan: Plan, material: Material, again: Again) -> pd.DataFrame:
    """The same plan and folds with another seed of the training, judged on validation."""
    apart = replace(material, checkpoints=again.checkpoints, log=again.log)
    parts, results = train_parts(plan, apart, work.request, work.progress, again.seed)
    mapping, predictions = mapping_of(plan, apart, parts, results), _unseen(work, plan, apart, parts, results)
    _calibrate(mapping, predictions)
    return with_probabilities(mapping, predictions)


def _calibrate(mapping: Mapping, predictions: pd.DataFrame) -> dict[str, Any]:
    calibrator, facts = calibrate_on_validation(predictions, mapping.output.target)
    mapping.output.calibrator = calibrator
    return facts


def _operating_point(mapping: Mapping, predictions: pd.DataFrame) -> dict[str, Any] | None:
    if mapping.output.target.kind != "binary":
        return None
    chosen = choose_operating_point(predictions, mapping.output.target, rule=mapping.plan["output.operating_point"])
    mapping.output.threshold = float(chosen["threshold"])
    return chosen


def _explain(work: Work, cohort: Cohort) -> None:
    if (work.run.explain / "cases.json").is_file():
        return
    mapping = Mapping.load(work.run.model)
    sources = {case.id: case.source for case in cohort.cases}
    explain_cases(mapping, pd.read_parquet(work.run.predictions), sources, work.run.explain, progress=work.progress)
