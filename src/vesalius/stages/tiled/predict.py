"""Marks in new studies: a mask on each study's own grid, measured, written and read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.cohort import Case, Source
from vesalius.core.finding import Finding, Score
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats.cases import open_case
from vesalius.mapping import TiledMapping
from vesalius.stages.fitfor import Door
from vesalius.stages.kept import Kept, Told
from vesalius.stages.knowing import Knowing
from vesalius.stages.tiled.quicken import quicken, within_memory
from vesalius.stages.writing import write_finding
from vesalius.storage import atomic_json, atomic_write

Progress = Callable[[int, int, str], None]
CHANNEL = re.compile(r"[_-](\d{4})(?=(\.nii)?(\.gz)?(\.\w+)?$)")
"""nnU-Net's habit: a file for each channel, numbered before the suffix."""


def cases_of(sources: Sequence[Source], channels: int) -> list[Case]:
    """Sources to cases: files that differ only in a channel number such as ``_0000`` belong together when the model reads several.

    Raises
    ------
    DataError: a case has another number of channel files than the model reads.
    """
    if channels == 1 or not any(CHANNEL.search(source.path) for source in sources):
        return [Case(str(source), source, str(source)) for source in sources]
    grouped: dict[str, list[Source]] = {}
    for source in sorted(sources, key=str):
        grouped.setdefault(CHANNEL.sub("", source.path), []).append(source)
    for name, held in grouped.items():
        if len(held) not in (1, channels):
            raise DataError("the channels of a case are not complete", where=name, expected=f"{channels} files", got=len(held), do="give every channel")
    return [Case(name, held[0], name, channels=tuple(held[1:])) for name, held in grouped.items()]


def predict_masks(
    mapping: TiledMapping, sources: Sequence[Source], out: Path, *, kinds: Sequence[str], progress: Progress, knowing: Knowing | None = None,
    door: Door | None = None, kept: Kept | None = None,
) -> tuple[list[Finding], dict[str, str], Path, Path]:
    """Mark every study; findings.csv, findings.json and a folder for each study.

    Parameters
    ----------
    kinds: what is written: nifti, png, dicom-seg, rtstruct (see `stages.writing`); when empty what suits each study.
    knowing: the model's bounds, from which the Dice that a case does not fall short of is told (``least_dice``).
    door: judges each study before it is read; one that refuses nothing it does not know when left out. kept: answers that are there already.

    Returns findings, refused studies with the reason, the table and the record.

    Raises
    ------
    DataError: nothing could be read, or the model refuses all of it. RunError: an object that was written does not hold the same mask when
        it is read back.
    """
    door = door or Door(mapping)
    findings, refused, rows = [], {}, []
    cases = cases_of(sources, mapping.reads.channels)
    within_memory(mapping)
    engine: str | None = None
    for done, case in enumerate(cases, 1):
        held = kept.get(case) if kept is not None else None
        told = mark_one(door, case, out / f"{done - 1:04d}", kinds, n=len(cases), engine=engine) if held is None else held
        engine = told.engine or engine
        if told.fitness is not None:
            door.log[case.id] = told.fitness
        if told.finding is None:
            refused[case.id] = told.refused or ""
        else:
            findings.append(told.finding)
            rows.append(told.row | ({} if knowing is None else knowing.cells_of_doubt(told.row["doubt"])))
        progress(done, len(cases), "studies marked")
    if not findings:
        raise door.nothing(refused, out, mapping.hash)
    return findings, refused, *_write(door, findings, rows, refused, out, engine or "torch")


def mark_one(door: Door, case: Case, folder: Path, kinds: Sequence[str], *, n: int, engine: str | None = None) -> Told:
    """The marks of one study with its files, or why there are none.

    Parameters
    ----------
    folder: of the study's files. n: studies that are to come: the fastest engine is looked for only where that pays. engine: that was found already.
    """
    try:
        study = open_case(case)
        fitness = door.asks(case.id, study)
        engine = engine or quicken(door.mapping, door.mapping.encode(study)[0], n)
        finding, row = _one(door, case, study, folder, kinds)
    except DataError as error:
        return Told(refused=str(error), fitness=door.log.get(case.id), engine=engine)
    told = door.told(case.id, finding, fitness, door.mapping.output.target)
    return Told(told, row, fitness=door.log[case.id], engine=engine)


def _one(door: Door, case: Case, study: Study, folder: Path, kinds: Sequence[str]) -> tuple[Finding, dict[str, Any]]:
    mapping = door.mapping
    marked = mapping.segment(study)
    finding = mapping.task.finding(marked.labels, study)
    folder.mkdir(parents=True, exist_ok=True)
    written = write_finding(finding, case.source, folder, kinds_for(case.source, kinds))
    files = {kind: f"{folder.name}/{path.name}" for kind, path in written.items()}
    measured = {item.name: item.value for item in finding.items if isinstance(item, Score)}
    return finding, {"source": finding.source, "found": finding.label, "doubt": round(marked.doubt, 4)} | measured | files


def _write(
    door: Door, findings: Sequence[Finding], rows: Sequence[dict[str, Any]], refused: dict[str, str], out: Path, engine: str,
) -> tuple[Path, Path]:
    table, record = out / "findings.csv", out / "findings.json"
    every = [*rows, *({"source": name, "refused_because": why} for name, why in refused.items())]
    atomic_write(table, pd.DataFrame(every).to_csv(index=False).encode("utf-8-sig"))
    model = door.mapping
    facts = {"schema": 1, "model": model.hash, "note": "Research use: a doctor decides.", "classes": list(model.output.target.classes), "engine": engine}
    plain = [finding.to_dict() | {"written": row} for finding, row in zip(findings, rows, strict=True)]
    atomic_json(record, facts | {"findings": plain, "refused": refused, "fitness": door.log})
    return table, record


def kinds_for(source: Source, asked: Sequence[str]) -> list[str]:
    """What is written for a study: what was asked for, else NIfTI for volumes, and DICOM SEG too for a DICOM series, and a picture."""
    if asked:
        return list(asked)
    return ["png", "nifti", "dicom-seg"] if source.format == "dicom" else ["png", "nifti"]
