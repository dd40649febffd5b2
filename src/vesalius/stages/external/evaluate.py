"""``evaluate RUN --external DATA``: nothing of the model, its calibration or its threshold is changed by what is seen.

It is no look at the run's own test set; ``RUN/external/looks.jsonl`` counts how often each external set was scored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.errors import DataError, RunError
from vesalius.formats import recognise
from vesalius.kernels.stats import codes, estimate, resample
from vesalius.mapping import Mapping
from vesalius.stages.check import audit_cohort
from vesalius.stages.check.audit import Audit
from vesalius.stages.cohortfile import read_cohort
from vesalius.stages.external.fitness import fitness_of
from vesalius.stages.external.scoring import SPLIT, STATED, rows_of, scored, target_for
from vesalius.stages.external.shift import acquisition_of, shift_of
from vesalius.stages.external.words import sentences_of
from vesalius.stages.judged import Judged, judged_of, table_of
from vesalius.stages.prepare import quiet
from vesalius.stages.run import RunFolder
from vesalius.stages.trust.subgroups import columns_of, groups_of
from vesalius.stages.work import Progress, data_hash, used_of
from vesalius.storage import append_line, atomic_file, atomic_json, plain

FOLDER, LOOKS = "external", "looks.jsonl"


@dataclass(frozen=True)
class External:
    """Where the results lie, and the record (contents of ``external.json``)."""

    folder: Path
    record: dict[str, Any]


def evaluate_external(
    run: str | Path, data: str | Path, *, out: str | Path | None = None, table: str | None = None, label: str | None = None, patient: str | None = None,
    image: str | None = None, layout: str | None = None, gaps: str | None = None, columns: list[str] | None = None, jobs: int | None = None, seed: int = 0,
    n_boot: int = 2000, device: str = "cpu", progress: Progress = quiet,
) -> External:
    """Score another set with the model of a run.

    Parameters
    ----------
    run: a finished run. data, table, label, patient, image, layout, gaps: see `formats.recognise`. columns: those by which groups are made (all when None).
    out: folder of the results; ``RUN/external/<name>-<hash>`` by default. seed, n_boot: of the bootstrap.

    Writes ``external.json`` and the judged cases (``predictions.parquet`` or ``cases.parquet``). The record holds ``"external"`` and ``"own"`` (figures with
    intervals), ``"drop"`` (own less external, unpaired bootstrap of patients), ``"shift"``, ``"acquisition"``, ``"fitness"`` (what the model would refuse,
    and the figures without it; see `fitness.fitness_of`), ``"subgroups"``, ``"looks"``, ``"excluded"``, ``"sentences"``.

    Raises
    ------
    LabelError: the classes are not those of the model, or a column holds nothing. DataError: nothing can be scored. RunError: no finished run.
    """
    folder = RunFolder(Path(run))
    metrics = _finished(folder)
    mapping = Mapping.load(folder.path, device)
    model = mapping.output.target
    cohort = recognise(str(data), table=table, label=label, patient=patient, image=image, layout=layout, gaps=gaps,
                       target=model.kind if model.kind in STATED else None)
    target = target_for(cohort, model)
    if model.kind in ("mask", "boxes"):
        cohort = replace(cohort, target=target)
    audit = audit_cohort(cohort, jobs=jobs, progress=progress)
    own = used_of(read_cohort(folder.cohort))
    rows, left_out = _usable(audit, own, data)
    columns_of(rows, columns)  # a column that makes no groups is told before the work
    place = Path(out) if out is not None else folder.path / FOLDER / f"{_slug(str(data))}-{data_hash(rows)[:8]}"
    looks = _count(folder, rows, mapping, str(data))
    cases = {case.id: case for case in audit.cohort.cases}
    found = scored(mapping, target, cases, rows, place, jobs=jobs, progress=progress)
    name = "cases.parquet" if model.kind == "boxes" else "predictions.parquet"
    atomic_file(place / name, found.table.to_parquet)
    kept = table_of(folder.path)
    sides = judged_of(kept, metrics, model), judged_of(found.table.assign(split="test"), metrics, target)
    other = rows.set_index("id", drop=False).loc[list(sides[1].ids)].reset_index(drop=True)
    record: dict[str, Any] = {
        "schema": 1, "data": str(data), "target": model.to_dict(), "metric": sides[0].primary, "n_images": len(sides[1].ids),
        "n_patients": codes(sides[1].patients)[1], "looks": looks, "excluded": left_out, "external": sides[1].assess(seed, n_boot),
        "own": sides[0].assess(seed, n_boot), "drop": drop_of(sides[0], sides[1], seed, n_boot),
        "shift": shift_of(own, other, (kept[kept["split"] == "test"], found.table), model),
        "acquisition": acquisition_of(_audit(folder), audit.to_dict(), mapping.plan, found.images),
        "fitness": fitness_of(mapping, cases, sides[1], seed, n_boot, progress),
        "subgroups": groups_of(sides[1], other, model, columns=columns, seed=seed, n=n_boot),
    }
    record = dict(plain(record | {"sentences": sentences_of(record)}))
    atomic_json(place / "external.json", record)
    return External(place, record)


def _finished(run: RunFolder) -> dict[str, Any]:
    if not run.metrics.is_file() or not run.cohort.is_file():
        raise RunError("this is not a finished run", where=run.path, expected="a folder with metrics.json and cohort.parquet",
                       do="let 'vesalius fit' come to its end")
    return dict(json.loads(run.metrics.read_text("utf-8")))


def _audit(run: RunFolder) -> dict[str, Any]:
    return dict(json.loads(run.audit.read_text("utf-8"))) if run.audit.is_file() else {}


def _usable(audit: Audit, own: pd.DataFrame, data: str | Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The cases that can be scored, and how many were left out for which reason; what the model has seen is left out.

    Raises
    ------
    DataError: none is left.
    """
    seen = set(own["hash"]) - {""}
    reasons = {case.id: audit.excluded.get(case.id) or ("in the run's own data" if audit.hashes[case.id] in seen else None) for case in audit.cohort.cases}
    counted: dict[str, int] = {}
    for why in reasons.values():
        if why:
            counted[why] = counted.get(why, 0) + 1
    cases = [case for case in audit.cohort.cases if reasons[case.id] is None]
    if not cases:
        raise DataError("nothing of the external set can be scored", where=data, expected="readable images with a label that the run has not seen",
                        got="; ".join(f"{n} {why}" for why, n in counted.items()), do="run 'vesalius check' on it")
    return rows_of(cases, audit.hashes), counted


def _slug(data: str) -> str:
    return re.sub(r"[^\w.-]+", "-", data.rstrip("/\\").replace("\\", "/").rpartition("/")[2]).strip("-.") or "set"


def _count(run: RunFolder, rows: pd.DataFrame, mapping: Mapping, data: str) -> int:
    """How often this set has now been scored with this run; written down before it happens."""
    path, digest = run.path / FOLDER / LOOKS, data_hash(rows)
    before = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()] if path.is_file() else []
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "set": digest, "data": data, "model": mapping.hash, "purpose": SPLIT}
    append_line(path, json.dumps(entry, ensure_ascii=False))
    return 1 + sum(each["set"] == digest for each in before)


def drop_of(own: Judged, other: Judged, seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
    """Own less external for every figure; the patients of both sets are drawn anew, independently. Undefined ones are absent."""
    n = len(own.ids)
    patients = np.array([f"own {each}" for each in own.patients] + [f"external {each}" for each in other.patients])
    found = resample(lambda weights: own.figures(weights[:n]) - other.figures(weights[n:]), patients, n_boot, seed)
    people = codes(patients)[1]
    made = {name: estimate(found, m, "bca", people, len(patients)) for m, name in enumerate(own.names)}
    return {name: each.to_dict() for name, each in made.items() if each is not None}

