"""One series read by one model: judged, predicted, measured, drawn and written as DICOM objects. It runs in the model's own process.

What it writes is there as a whole or not at all, and a job that is done again, after a stop, gives the same objects: their UIDs follow from the job.
"""

from __future__ import annotations

import glob
import json
import shutil
import time
import uuid
from collections.abc import Mapping as Facts
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Case
from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.errors import VesaliusError
from vesalius.formats.cases import open_case
from vesalius.kernels.tiled_labels import labels_of
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.stages.boxed.promised import Kept, detect_promised, with_promise
from vesalius.stages.boxed.quicken import quicken_boxes
from vesalius.stages.explain import explain_study, trusted_map
from vesalius.stages.explain.pictures import plane, png, scaled, sheet, views
from vesalius.stages.fitfor import Fitness, judge
from vesalius.stages.knowing import Knowing
from vesalius.stages.serve.document import (
    answer_facts,
    model_facts,
    notes_of,
    refused_facts,
    sequence_notes,
    several,
    whole_document,
)
from vesalius.stages.serve.objects import Ids, Imaged, write_objects
from vesalius.stages.serve.objects.header import facts_of
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.objects.write import checked_kinds
from vesalius.stages.serve.studies import cases_of_files
from vesalius.stages.tiled.quicken import quicken, within_memory
from vesalius.stages.writing import write_finding
from vesalius.stages.writing.boxes import write_boxes
from vesalius.storage import atomic_json, atomic_write, telling

RECORD = "finding.json"
IMAGE, MASK, HEAT, PICTURE = "image.nii.gz", "mask.nii.gz", "heat.nii.gz", "picture.png"
EDGE = 512
"""Longer edge in pixels of the picture of a study that was not read."""
TO_COME = 60
"""Studies that a process is thought to read: engines are measured, once for a model on a machine, where torch takes seconds for one."""


@dataclass
class Read:
    """One image as it was read: ``finding`` None where the model refused it; ``seconds`` of each step."""

    case: Case
    study: Study
    fitness: Fitness
    finding: Finding | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def read_series(
    mapping: Mapping, files: Sequence[Path], out: Path, *, name: str, objects: Sequence[str] = ("seg", "sr", "sc"), force: bool = False,
    ids: Ids | Facts[str, Any] | str | None = None,
) -> dict[str, Any]:
    """Read a series and write ``finding.json``, ``image.nii.gz``, ``mask.nii.gz`` or ``heat.nii.gz``, ``picture.png`` and the DICOM objects.

    Of a series of several pictures each is read and the finding is the most urgent one's, with a note. A study that the model should not be used on
    (`stages.fitfor`) is not read, unless forced: its finding says why and has no objects.

    Parameters
    ----------
    files: of the series, in any order. out: folder of the results; it is there with everything in it, or not. A finding of the same model that lies there
        already is returned as it is. name: of the model, as the site calls it.
    objects: of ``seg``, ``rtstruct``, ``sr``, ``sc``; those that suit the finding are written. ids: names the objects; the name of ``out`` when None.

    Raises
    ------
    FormatError, DataError: the files cannot be read, or are no study for this model. RunError: something could not be written. OptionError: an unknown object.
    """
    kinds, job = checked_kinds(objects), Ids.of(ids, out.name)
    _clear_of_dead(out)
    held = _kept(out, job, mapping)
    if held is not None:
        return held
    knowing = None if mapping.folder is None else Knowing.load(mapping.folder)
    cases, left = cases_of_files(files, mapping.reads.ndim, mapping.reads.channels)
    chosen, n = _most_urgent(mapping, cases, knowing, force)
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    with telling(part):
        part.mkdir(parents=True)
    try:
        document = _written(mapping, chosen, part, job, name, kinds, sequence_notes(left, [several(n)] if n > 1 else [], _notes(chosen, knowing)))
        _into_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return document


def _clear_of_dead(out: Path) -> None:
    """Take away what a process left that was killed while it wrote this job's results: a job is read by one at a time."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*"):
        shutil.rmtree(left, ignore_errors=True)


def _kept(out: Path, job: Ids, mapping: Mapping) -> dict[str, Any] | None:
    """The finding of this job by this model, when it lies there."""
    try:
        document: dict[str, Any] = json.loads((out / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return document if document.get("id") == job.job and document.get("model", {}).get("hash") == mapping.hash else None


def _into_place(part: Path, out: Path) -> None:
    """One step; an older result of another model is moved away before."""
    with telling(out):
        if out.exists():
            out.replace(part.with_suffix(".old"))
            part.replace(out)
            shutil.rmtree(part.with_suffix(".old"), ignore_errors=True)
        else:
            part.replace(out)


def _most_urgent(mapping: Mapping, cases: Sequence[Case], knowing: Knowing | None, force: bool) -> tuple[Read, int]:
    """The image that a doctor should see first, and how many were read. One broken image among several does not hide the others."""
    best: Read | None = None
    n, failed = 0, []
    for case in cases:
        try:
            read = _read(mapping, case, knowing, force)
        except VesaliusError as error:
            failed.append(error)
            continue
        n += 1
        if best is None or _rank(read) > _rank(best):
            best = read
    if best is None:
        raise failed[0]
    return best, n


def _rank(read: Read) -> tuple[bool, float]:
    return read.finding is not None, float(read.answer["urgency"])


def _read(mapping: Mapping, case: Case, knowing: Knowing | None, force: bool) -> Read:
    start = time.perf_counter()
    study = open_case(case)
    opened = time.perf_counter()
    fitness = judge(mapping, study)
    judged = time.perf_counter()
    read = Read(case, study, fitness, seconds={"open": opened - start, "judge": judged - opened})
    if fitness.refused and not force:
        read.answer = refused_facts(mapping.output.target)
        return read
    read.finding, kept = _told(mapping, study, knowing)
    read.answer = answer_facts(read.finding, mapping, knowing) | ({} if kept is None else {"kept_at_risk": kept.to_list()})
    read.seconds["predict"] = time.perf_counter() - judged
    return read


def _told(mapping: Mapping, study: Study, knowing: Knowing | None) -> tuple[Finding, Kept | None]:
    """The finding as `predict` gives it, and of boxes those that a promise speaks of."""
    if isinstance(mapping, TiledMapping):
        ready_for_masks(mapping, study)
        return mapping.task.finding(mapping.segment(study).labels, study), None
    if isinstance(mapping, BoxedMapping):
        ready_for_boxes(mapping, study)
        found = detect_promised(mapping, study, knowing)
        return with_promise(mapping.task.finding(found, study), found, mapping.task, knowing)
    finding = mapping(study)
    return (finding if knowing is None else knowing.told(finding, mapping.output.target)), None


def ready_for_masks(mapping: TiledMapping, study: Study) -> None:
    """Before the first study of a process: heed the memory, and take the fastest engine where that pays for the studies that are to come."""
    if mapping.labels is labels_of:
        within_memory(mapping)
        quicken(mapping, mapping.encode(study)[0], TO_COME)


def ready_for_boxes(mapping: BoxedMapping, study: Study) -> None:
    """The same for a model that gives boxes."""
    if not mapping.took:
        quicken_boxes(mapping, mapping.encode(study)[0], TO_COME)


def _notes(read: Read, knowing: Knowing | None) -> list[dict[str, str]]:
    cautions = [{"code": each.code, "en": each.en, "zh": each.zh} for each in read.fitness.reasons if not each.refuses]
    return [*cautions, *([] if read.finding is None else notes_of(read.finding, knowing))]


def _written(mapping: Mapping, read: Read, part: Path, job: Ids, name: str, kinds: Sequence[str], notes: list[dict[str, str]]) -> dict[str, Any]:
    start = time.perf_counter()
    document = whole_document(job.job, facts_of(read.case.source), model_facts(name, mapping), read.answer, read.study)
    document["refused"] = [{"code": each.code, "en": each.en, "zh": each.zh} for each in read.fitness.reasons if each.refuses]
    document["forced"] = bool(document["refused"]) and read.finding is not None
    write_volume(part / IMAGE, read.study.image, read.study.grid)
    document["files"] = {"image": IMAGE, "mask": None, "heat": None, "picture": PICTURE, "objects": []} | _pictured(mapping, read, part)
    made: list[str] = []
    if read.finding is not None:
        imaged = Imaged(document, read.case.source, job)
        made, more = write_objects(imaged, part, kinds, finding=read.finding, study=read.study, picture=part / PICTURE)
        notes = sequence_notes(notes, more)
    document["files"]["objects"], document["notes"] = made, notes
    document["seconds"] = {step: round(each, 4) for step, each in read.seconds.items()} | {"write": round(time.perf_counter() - start, 4)}
    atomic_json(part / RECORD, document)
    return document


def _pictured(mapping: Mapping, read: Read, part: Path) -> dict[str, str]:
    """Write picture, mask and heat map; the names of those besides the picture."""
    finding, study = read.finding, read.study
    if finding is None:
        flat = plane(study, study.grid.shape[0] // 2 if study.ndim == 3 else None)
        atomic_write(part / PICTURE, png(scaled(flat, EDGE, study.grid.spacing_mm)))
        return {}
    if isinstance(mapping, TiledMapping):
        written = write_finding(finding, read.case.source, part, ["nifti", "png"], study=study, stem="mask")
        written["png"].replace(part / PICTURE)
        written["table"].unlink()
        return {"mask": MASK}
    if isinstance(mapping, BoxedMapping):
        drawn = write_boxes(finding, read.case.source, part, ["png"], study=study, classes=mapping.output.target.classes, stem="picture")
        drawn["png"].replace(part / PICTURE)
        return {}
    method = trusted_map(mapping)
    if method is None:
        atomic_write(part / PICTURE, png(sheet(views(study, [], EDGE))))
        return {}
    heat = explain_study(mapping, study, method=method).array
    write_volume(part / HEAT, np.asarray(heat, np.float32), study.grid)
    atomic_write(part / PICTURE, png(sheet(views(study, [heat], EDGE))))
    return {"heat": HEAT}
