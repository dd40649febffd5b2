"""The short way: one picture, its scores, no files. For whole-study models asked over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius import __version__
from vesalius.core.cohort import Source
from vesalius.core.finding import Finding, Score
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats import find_sources, format_of, open_study
from vesalius.stages.knowing import Knowing
from vesalius.stages.serve.work.quickened import Quickened

NOTE = "A doctor decides."
DECIDED_NOTES = ("prediction-set", "decided", "undecided", "interval")
"""Notes of `Knowing` that have fields of their own in a finding of the clinic."""


@dataclass(frozen=True)
class Begun:
    """A study on its way through the network; the times are of `time.perf_counter`."""

    study: Study
    raw: Future[np.ndarray]
    start: float
    decoded: float


@dataclass(frozen=True)
class Short:
    """A quickened mapping with what a finding says of it; thread-safe."""

    name: str
    mapping: Quickened
    knowing: Knowing | None
    hash: str

    def begin(self, files: Sequence[Path]) -> Begun:
        """Decode one picture or series and send it on its way through the network.

        Raises
        ------
        FormatError: it cannot be read. DataError: it is several studies, or has another number of axes than the model reads.
        """
        start = time.perf_counter()
        with self.mapping.batcher.coming():
            study = open_study(one_source(files))
            x, _ = self.mapping.encode(study)
            return Begun(study, self.mapping.batcher.submit(x), start, time.perf_counter())

    def end(self, begun: Begun, job: str) -> dict[str, Any]:
        """The finding, in the form of docs/clinic (no files); waits for the network."""
        found = self.mapping.output.decode(begun.raw.result(), begun.study)
        found = found if self.knowing is None else self.knowing.told(found, self.mapping.output.target)
        seconds = {"read": round(begun.decoded - begun.start, 4), "predict": round(time.perf_counter() - begun.decoded, 4)}
        return self._facts(job, begun.study, found) | {"seconds": seconds}

    def _facts(self, job: str, study: Study, found: Finding) -> dict[str, Any]:
        target = self.mapping.output.target
        first = next((item for item in found.items if isinstance(item, Score)), None)
        told = {note.code: note.text for note in found.notes}
        held = told["prediction-set"].split(" / ") if "prediction-set" in told else None
        return {
            "schema": 1, "id": job, "study_uid": "", "series_uid": "", "patient": dict.fromkeys(("id", "name", "birth_date", "sex", "age")),
            "modality": study.modality, "body_part": None, "description": None, "study_date": None, "accession": None,
            "model": {"name": self.name, "hash": self.hash, "kind": target.kind, "classes": list(target.classes)},
            "label": found.label, "probability": found.probability, "low": first.low if first else None, "high": first.high if first else None,
            "calibration": None, "scores": found.scores, "set": held, "abstain": "undecided" in told, "boxes": [], "measurements": [],
            "refused": [], "forced": False, "notes": [{"code": note.code, "en": note.text, "zh": note.text} for note in found.notes],
            "urgency": 0.0, "grid": {"shape": list(study.grid.shape), "spacing_mm": spacing(study)},
            "files": {"image": None, "mask": None, "heat": None, "picture": None, "objects": []},
            "software": {"vesalius": __version__}, "research_use": NOTE,
        }


def spacing(study: Study) -> list[float] | None:
    """mm of each axis, None where the file states none."""
    return [float(each) for each in study.grid.spacing_mm] if study.grid.spacing_known else None


def one_source(files: Sequence[Path]) -> Source:
    """The one study of the given files; several files are those of one DICOM series, all in one folder.

    Raises
    ------
    DataError: they hold several studies.
    """
    if len(files) == 1 and (kind := format_of(files[0])) not in ("dicom", "npz"):
        return Source(kind, str(files[0]))
    found = find_sources(files[0] if len(files) == 1 else files[0].parent)
    if len(found) != 1:
        raise DataError("not one study", expected="the files of one study", got=f"{len(found)} studies", do="send each study in a request of its own")
    return found[0]
