"""Findings for new studies, and raw values for prepared ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vesalius.core.cohort import Case, Source
from vesalius.core.finding import Finding
from vesalius.errors import DataError, RunError, VesaliusError
from vesalius.formats import find_sources, open_study
from vesalius.formats.dicom import filled
from vesalius.formats.slices import singly
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping, single_thread
from vesalius.stages.boxed.predict import predict_boxes
from vesalius.stages.boxed.quicken import quicken_boxes
from vesalius.stages.boxed.stream import Streamed
from vesalius.stages.boxed.stream import stream as stream_boxes
from vesalius.stages.explain import explain_study, trusted_map
from vesalius.stages.explain.pictures import png, sheet, views
from vesalius.stages.fitfor import Door
from vesalius.stages.heat import heat_pictures
from vesalius.stages.kept import Kept, Told
from vesalius.stages.knowing import Knowing, cells_of
from vesalius.stages.prepare import cores, quiet
from vesalius.stages.tiled.predict import cases_of, predict_masks
from vesalius.storage import atomic_json, atomic_write

Progress = Callable[[int, int, str], None]
PICTURES = 50
"""Heat maps are written for the first so many studies unless more are asked for: they take longer than the findings."""


def raw_values(mapping: Mapping, images: np.ndarray, rows: Sequence[int], *, jobs: int | None = None, progress: Progress = quiet) -> np.ndarray:
    """Raw values ``[len(rows), n_out]`` of prepared images; the same bits as `Mapping.__call__` gives for each alone."""
    n = len(rows)
    made = np.zeros((n, mapping.output.n_out), np.float32)

    def one(place: int) -> int:
        made[place] = mapping.raw(mapping.encode_array(images[rows[place]]))
        return place

    with single_thread(), ThreadPoolExecutor(jobs or cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done, _ in enumerate(pool.map(one, range(n)), 1):
            progress(done, n, "images predicted")
    return made


@dataclass(frozen=True)
class Predicted:
    """Findings of what could be read, and the reasons for what could not; ``door`` knows how each study was judged."""

    findings: tuple[Finding, ...]
    refused: dict[str, str]
    table: Path
    record: Path
    door: Door | None = None


def predict(
    run: Path | str, data: Path | str, out: Path | str, *, pictures: int = PICTURES, method: str | None = None, device: str = "cpu",
    write: Sequence[str] = (), gaps: str | None = None, force: bool = False, kept: Kept | None = None, progress: Progress = quiet,
) -> Predicted:
    """Read every study under ``data`` with the model of ``run`` and write findings.csv, findings.json and pictures.

    A study that the model should not be used on is refused with the reason (`stages.fitfor`); ``findings.json`` has under ``"fitness"`` how each was judged.

    Parameters
    ----------
    run: run folder or model folder. data: a file or a folder. out: folder for the findings.
    pictures: heat maps are written for so many studies. method: by which explanation (a name in ``EXPLANATIONS``; ``drise`` for boxes too); when None the
        first that passed its test after the fit (`explain.trusted_map`), and none where masks or boxes already say where.
    write: what is written for each study, of a model that gives masks (nifti, png, dicom-seg, rtstruct) or boxes (coco, csv, png, dicom-sr); when empty
        what suits the study. gaps: ``"fill"`` interpolates the missing slices of a series.
    force: read also what is refused; it is recorded. kept: answers that are there already (`stages.scaleout`) are taken from it.

    Raises
    ------
    RunError: there is no model. DataError: there is nothing to read, none of it can be read, or the model refuses all of it.
    """
    mapping, out = Mapping.load(run, device), Path(out)
    sources = read_as(mapping, sources_in(data, gaps))
    make_out(out)
    door = Door(mapping, force)
    if isinstance(mapping, BoxedMapping):
        made, why, table, record = predict_boxes(mapping, sources, out, kinds=write, progress=progress, door=door, kept=kept,
                                                 knowing=Knowing.load(run))
        _heat(mapping, sources, made, out, method, pictures)
        return Predicted(tuple(made), why, table, record, door)
    if isinstance(mapping, TiledMapping):
        made, why, table, record = predict_masks(mapping, sources, out, kinds=write, progress=progress, knowing=Knowing.load(run), door=door, kept=kept)
        _heat(mapping, sources, made, out, method, pictures)
        return Predicted(tuple(made), why, table, record, door)
    findings: list[Finding] = []
    refused: dict[str, str] = {}
    files: dict[str, str] = {}
    knowing, shown = Knowing.load(run), method or trusted_map(mapping)
    with single_thread():
        for done, source in enumerate(sources, 1):
            finding = _read(door, source, refused, kept)
            if finding is not None:
                findings.append(finding if knowing is None else knowing.told(finding, mapping.output.target))
                if len(files) < pictures:
                    files[finding.source] = _picture(mapping, source, out / "pictures", len(files), shown)
            progress(done, len(sources), "studies read")
    if not findings:
        raise door.nothing(refused, out, mapping.hash)
    return _write(door, findings, refused, files, out)


def stream(
    run: Path | str, source: Path | str, out: Path | str, *, device: str = "cpu", show: bool = False, limit: int | None = None, progress: Progress = quiet,
) -> Streamed:
    """Detect and track frame by frame in a video, a folder of pictures or a camera (its index); see `stages.boxed.stream`.

    Raises
    ------
    RunError: there is no model, or it gives no boxes. DataError, OptionError: see `stages.boxed.stream.stream`.
    """
    mapping = Mapping.load(run, device)
    if not isinstance(mapping, BoxedMapping) or mapping.reads.ndim != 2:
        raise RunError("this model does not read streams", where=run, expected="a model that finds boxes in pictures", got=mapping.output.target.kind,
                       do="leave --stream out")
    given = int(str(source)) if str(source).isdigit() and not Path(source).exists() else source
    quicken_boxes(mapping, np.zeros((mapping.reads.channels, *mapping.reads.size), np.float32), math.inf)
    return stream_boxes(mapping, given, out, show=show, limit=limit, progress=progress)


def sources_in(data: Path | str, gaps: str | None) -> list[Source]:
    """The studies under ``data``; with ``gaps="fill"`` missing slices are interpolated.

    Raises
    ------
    DataError: there is none.
    """
    sources = [filled(source) for source in find_sources(Path(data))] if gaps == "fill" else find_sources(Path(data))
    if not sources:
        raise DataError("nothing to read", where=data, expected="PNG, JPEG, TIFF, NIfTI, DICOM or npz", do="give a file or folder with images")
    return sources


def read_as(mapping: Mapping, sources: Sequence[Source]) -> list[Source]:
    """The studies as the model reads them: one that finds boxes in pictures reads a series or a volume slice by slice, as the clinic does."""
    if not isinstance(mapping, BoxedMapping) or mapping.reads.ndim != 2:
        return list(sources)
    return [part for source in sources for part in singly(source)]


def make_out(out: Path) -> None:
    """Make the folder for the findings; `RunError` when that cannot be done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("the folder for the findings cannot be written", where=out, got=error.strerror, do="choose another --out") from error


def _read(door: Door, source: Source, refused: dict[str, str], kept: Kept | None = None) -> Finding | None:
    told = kept.get(case_of(source)) if kept is not None else None
    told = read_whole(door, source) if told is None else told
    if told.fitness is not None:
        door.log[str(source)] = told.fitness
    if told.refused is not None:
        refused[str(source)] = told.refused
    return told.finding


def case_of(source: Source) -> Case:
    """A study of one file or series, called by its path."""
    return Case(str(source), source, str(source))


def read_whole(door: Door, source: Source) -> Told:
    """What a model that reads a study whole says of one, or why it does not."""
    try:
        study = open_study(source)
        fitness = door.asks(str(source), study)
        finding = door.told(str(source), door.mapping(study), fitness, door.mapping.output.target)
    except VesaliusError as error:
        return Told(refused=str(error), fitness=door.log.get(str(source)))
    return Told(finding, fitness=door.log[str(source)])


def _heat(mapping: TiledMapping | BoxedMapping, sources: Sequence[Source], made: Sequence[Finding], out: Path, method: str | None, pictures: int) -> None:
    if method is not None:
        heat_pictures(mapping, cases_of(sources, mapping.reads.channels), made[:pictures], out / "pictures", method=method)


def _picture(mapping: Mapping, source: Source, folder: Path, number: int, method: str | None) -> str:
    study = open_study(source)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:04d}.png"
    heats = [explain_study(mapping, study, method=method).array] if method else []
    atomic_write(path, png(sheet(views(study, heats))))
    return f"{folder.name}/{path.name}"


def _write(door: Door, findings: list[Finding], refused: dict[str, str], files: dict[str, str], out: Path) -> Predicted:
    rows = [
        {"source": f.source, "label": f.label, "probability": f.probability} | f.scores | cells_of(f) | {"picture": files.get(f.source, "")} for f in findings
    ]
    rows += [{"source": name, "refused_because": why} for name, why in refused.items()]
    table, record = out / "findings.csv", out / "findings.json"
    atomic_write(table, pd.DataFrame(rows).to_csv(index=False).encode("utf-8-sig"))
    facts: dict[str, Any] = {"schema": 1, "model": door.mapping.hash, "note": "Research use: a doctor decides."}
    plain = [f.to_dict() | {"picture": files.get(f.source)} for f in findings]
    atomic_json(record, facts | {"findings": plain, "refused": refused, "fitness": door.log})
    return Predicted(tuple(findings), refused, table, record, door)


def raw_frame(mapping: Mapping, frame: pd.DataFrame, raw: np.ndarray) -> pd.DataFrame:
    """``predictions.parquet`` before calibration: identity, truth and raw values (docs/architecture.md)."""
    target = mapping.output.target
    kept = frame[["id", "path", "patient", "split", "label"]].reset_index(drop=True).copy()
    truth = target.encode(frame["label"].tolist())
    named = list(target.classes) or ["value"]
    if truth.ndim == 2:
        kept[[f"truth_{name}" for name in named]] = truth
    else:
        kept["truth"] = truth
    kept[[f"raw_{name}" for name in named]] = raw
    return kept


def with_probabilities(mapping: Mapping, frame: pd.DataFrame) -> pd.DataFrame:
    """Add calibrated ``p_<class>`` (or ``value``) to a frame of raw values."""
    target = mapping.output.target
    named = list(target.classes) or ["value"]
    p = mapping.output.probabilities(frame[[f"raw_{name}" for name in named]].to_numpy())
    for k, name in enumerate(named):
        frame["value" if target.kind == "regression" else f"p_{name}"] = p[:, k]
    return frame
