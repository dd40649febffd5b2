"""Boxes in new studies: found, measured, written, read back; a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from vesalius import __version__
from vesalius.core.boxes import Detected
from vesalius.core.cohort import Case, Source
from vesalius.core.finding import Boxes, Finding
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError
from vesalius.formats.cases import image_hash, open_case
from vesalius.stages.boxed.findings import as_boxes, counts_of, lesions_of
from vesalius.stages.boxed.promised import detect_promised, with_promise
from vesalius.stages.boxed.record import kept_finding, kept_record
from vesalius.stages.fitfor import Door
from vesalius.stages.kept import Kept
from vesalius.stages.knowing import Knowing
from vesalius.stages.tiled.predict import cases_of
from vesalius.stages.writing.boxes import BOX_WRITERS, suited, write_boxes
from vesalius.stages.writing.boxes.coco import Pictured, coco_facts
from vesalius.stages.writing.boxes.csvfile import AXES, row_of, table_bytes
from vesalius.storage import atomic_json, atomic_write

Progress = Callable[[int, int, str], None]
STATE = "found.json"
"""In the folder of a study: what was found, for a run that goes on."""
KEPT_COLUMNS = ["source", "class", "score", "reported"]
NOTE = "Research use: a doctor decides."


class Detecting(Protocol):
    """What is asked of a mapping: `BoxedMapping` has it."""

    @property
    def reads(self) -> Any: ...

    @property
    def output(self) -> Any: ...

    @property
    def hash(self) -> str: ...

    def detect(self, study: Study, floor: float | None = None) -> Detected: ...


@dataclass(frozen=True)
class Answer:
    """One study: its finding, its row of the table with the names of the files, and the boxes that a promise speaks of (None: there is no promise)."""

    case: Case
    finding: Finding
    row: Mapping[str, Any]
    kept_at_risk: Sequence[Mapping[str, Any]] | None = None

    @property
    def boxes(self) -> Boxes:
        return boxes_of(self.finding)


def predict_boxes(
    mapping: Detecting, sources: Sequence[Source], out: Path, *, kinds: Sequence[str] = (), progress: Progress, door: Door | None = None,
    kept: Kept | None = None, knowing: Knowing | None = None,
) -> tuple[list[Finding], dict[str, str], Path, Path]:
    """Find boxes in every study; findings.csv (a row a study), boxes.csv (a row a box), findings.json and a folder for each study.

    A box counts as found when its score is at least the operating point of its class (`Detect.finding`); every box that the mapping
    gives is kept in the study's JSON as a candidate. A study that was done before with the same model, operating points, kinds and bytes is
    taken from its folder.

    Parameters
    ----------
    kinds: what is written beside JSON: coco, csv, png, dicom-sr (see `stages.writing.boxes`); when empty what suits each study. With ``coco``
        also one coco.json of all pictures.
    door: judges each study before it is read. kept: what other workers said of studies that have no finding. knowing: where it promises to miss no more than
        a stated share of boxes, each finding says which boxes reach the score that this needs (``kept_at_risk``), and kept_at_risk.csv lists them, those
        below the operating point too; what is reported does not change.

    Returns findings, refused studies with the reason, the table and the record.

    Raises
    ------
    DataError: nothing could be read, or the model refuses all of it. OptionError: there is no such kind. RunError: a file that was written does not
        hold the same boxes when it is read back.
    """
    for kind in kinds:
        BOX_WRITERS.get(kind)
    door = door or Door(mapping)
    answers: list[Answer] = []
    refused: dict[str, str] = {}
    cases = cases_of(sources, mapping.reads.channels)
    for done, case in enumerate(cases, 1):
        held = kept.get(case) if kept is not None else None
        if held is not None and held.refused is not None:
            refused[case.id] = held.refused
            door.log |= {} if held.fitness is None else {case.id: held.fitness}
        else:
            _enter(answers, refused, door, case, out / f"{done - 1:04d}", kinds, knowing)
        progress(done, len(cases), "studies read")
    if not answers:
        raise door.nothing(refused, out, mapping.hash)
    table, record = _write(door, answers, refused, out, knowing)
    if "coco" in kinds:
        atomic_json(out / "coco.json", coco_facts(_pictured(answers), mapping.output.target.classes))
    return [answer.finding for answer in answers], refused, table, record


def boxes_of(finding: Finding) -> Boxes:
    """The boxes of a finding; empty where it has none."""
    ndim = finding.grid.ndim
    return next((item for item in finding.items if isinstance(item, Boxes)), Boxes(np.zeros((0, 2 * ndim), np.float32), finding.grid))


def _enter(answers: list[Answer], refused: dict[str, str], door: Door, case: Case, folder: Path, kinds: Sequence[str],
           knowing: Knowing | None) -> None:
    try:
        answers.append(find_one(door, case, folder, kinds, knowing))
    except (DataError, OptionError) as error:
        refused[case.id] = str(error)


def find_one(door: Door, case: Case, folder: Path, kinds: Sequence[str], knowing: Knowing | None = None) -> Answer:
    """The boxes of one study with its files; taken from its folder where they are there already. ``knowing``: see `predict_boxes`.

    Raises
    ------
    DataError, OptionError: it cannot be read, the model refuses it, or a kind cannot hold it.
    """
    mapping: Detecting = door.mapping
    key = _key(mapping, case, [*kinds, *(["force"] if door.force else [])], knowing)
    kept = kept_finding(folder / STATE, key)
    if kept is not None:
        state = json.loads((folder / STATE).read_text("utf-8"))
        door.log[case.id] = state.get("fitness", {})
        return Answer(case, *kept, state.get("kept_at_risk"))
    study = open_case(case)
    fitness = door.asks(case.id, study)
    target = mapping.output.target
    chosen = list(dict.fromkeys(("json", *kinds))) if kinds else suited(study, case.source, target.classes)
    for kind in chosen:
        BOX_WRITERS.get(kind).check(study, case.source, target.classes)
    detected = detect_promised(mapping, study, knowing)
    finding, promised = with_promise(mapping.output.finding(detected, study), detected, mapping.output, knowing)
    finding = door.told(case.id, finding, fitness, target)
    written = write_boxes(finding, case.source, folder, chosen, study=study, classes=target.classes, risk=target.risk, model=mapping.hash,
                          candidates=as_boxes(detected, target.classes, study.grid))
    row = _row(case.id, finding, target.classes) | {kind: f"{folder.name}/{path.name}" for kind, path in written.items()}
    row |= {} if promised is None else {"kept_at_risk": len(promised.reported), "kept_unreported": promised.reported.count(False)}
    reached = None if promised is None else promised.to_list()
    atomic_json(folder / STATE, kept_record(finding, boxes_of(finding), row, key) | {"fitness": door.log[case.id], "kept_at_risk": reached})
    return Answer(case, finding, row, reached)


def _key(mapping: Detecting, case: Case, kinds: Sequence[str], knowing: Knowing | None) -> str:
    """Changes with anything that the answer depends on."""
    facts = [__version__, mapping.hash, mapping.output.facts.get("thresholds", {}), list(kinds), case.id, image_hash(case),
             *([] if knowing is None else [knowing.error, knowing.kept_from])]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _row(source: str, finding: Finding, classes: Sequence[str]) -> dict[str, Any]:
    """Counts of each class, and the surest box."""
    lesions = lesions_of(boxes_of(finding))
    counts = counts_of([lesion.name for lesion in lesions], classes)
    row: dict[str, Any] = {"source": source, "found": finding.label} | {f"{name}.count": n for name, n in counts.items()}
    if not lesions:
        return row
    surest = max(lesions, key=lambda lesion: lesion.score)
    facts = row_of(source, surest)
    row |= {f"surest.{name}": facts[name] for name in facts if name not in ("source", "number", "risk") and not name.startswith(("corner", "centre"))}
    risks = [lesion.risk for lesion in lesions if lesion.risk is not None]
    return row | ({"highest_risk": round(max(risks), 6)} if risks else {})


def _write(door: Door, answers: Sequence[Answer], refused: dict[str, str], out: Path,
           knowing: Knowing | None) -> tuple[Path, Path]:
    table, record = out / "findings.csv", out / "findings.json"
    every = [*(dict(answer.row) for answer in answers), *({"source": name, "refused_because": why} for name, why in refused.items())]
    atomic_write(table, pd.DataFrame(every).to_csv(index=False).encode("utf-8-sig"))
    rows = [row_of(answer.case.id, lesion) for answer in answers for lesion in lesions_of(answer.boxes)]
    atomic_write(out / "boxes.csv", table_bytes(rows, answers[0].finding.grid.ndim))
    target = door.mapping.output.target
    facts = {"schema": 1, "model": door.mapping.hash, "note": NOTE, "classes": list(target.classes), "risk": target.risk or None,
             "thresholds": door.mapping.output.facts.get("thresholds", {})}
    plain = [answer.finding.to_dict() | {"boxes": [lesion.to_dict() for lesion in lesions_of(answer.boxes)], "written": answer.row} | _promised(answer)
             for answer in answers]
    promise = {} if knowing is None or knowing.kind != "boxes" else {"promise": {"missed_at_most": knowing.error, "score": knowing.kept_from} | knowing.facts}
    if knowing is not None and knowing.kept_from is not None:
        listed = [{"source": answer.case.id} | _flat(each) for answer in answers for each in answer.kept_at_risk or ()]
        atomic_write(out / "kept_at_risk.csv", pd.DataFrame(listed, columns=None if listed else KEPT_COLUMNS).to_csv(index=False).encode("utf-8-sig"))
    atomic_json(record, facts | promise | {"findings": plain, "refused": refused, "fitness": door.log})
    return table, record


def _promised(answer: Answer) -> dict[str, Any]:
    return {} if answer.kept_at_risk is None else {"kept_at_risk": list(answer.kept_at_risk)}


def _flat(box: Mapping[str, Any]) -> dict[str, Any]:
    """A box as a row: its edges in samples along the array's axes, and its size."""
    axes = AXES[-len(box["low"]) :]
    edges = {f"{what}_{axis}": value for what in ("low", "high", "size") for axis, value in zip(axes, box[what], strict=True)}
    return {"class": box["class"], "score": box["score"], "reported": "yes" if box["reported"] else "no"} | edges | {"unit": box["unit"]}


def _pictured(answers: Sequence[Answer]) -> list[Pictured]:
    """Pictures by their path from the folder that holds them all."""
    flat = [answer for answer in answers if answer.finding.grid.ndim == 2]
    root = os.path.commonpath([os.path.dirname(os.path.abspath(answer.case.source.path)) for answer in flat]) if flat else ""
    return [Pictured.of(answer.case.source, answer.finding.grid, lesions_of(answer.boxes), root) for answer in flat]
