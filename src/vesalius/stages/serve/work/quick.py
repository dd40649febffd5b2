"""The short way: one picture, its scores, no files. For whole-study models asked over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Case
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.formats.cases import open_case
from vesalius.stages.fitfor import judge
from vesalius.stages.knowing import Knowing
from vesalius.stages.serve.document import answer_facts, model_facts, notes_of, refused_facts, sequence_notes, whole_document
from vesalius.stages.serve.objects.header import facts_of
from vesalius.stages.serve.studies import cases_of_files
from vesalius.stages.serve.work.quickened import Quickened

FILES: dict[str, Any] = {"image": None, "mask": None, "heat": None, "picture": None, "objects": []}


@dataclass(frozen=True)
class Begun:
    """A study on its way through the network. The times are of `time.perf_counter`."""

    case: Case
    study: Study
    notes: list[dict[str, str]]
    row: Future[np.ndarray]
    start: float
    decoded: float


@dataclass(frozen=True)
class Short:
    """A quickened mapping with what a finding says of it; thread-safe. What it says of a picture is what `stages.serve.reading` says of it."""

    model: dict[str, Any]
    mapping: Quickened
    knowing: Knowing | None

    @classmethod
    def of(cls, name: str, mapping: Quickened, knowing: Knowing | None) -> Short:
        """For the model that the site calls ``name``."""
        return cls(model_facts(name, mapping), mapping, knowing)

    def read(self, files: Sequence[Path], job: str, force: bool) -> dict[str, Any]:
        """Both halves, for a caller with a thread to spare."""
        return self.end(self.begin(files), job, force)

    def begin(self, files: Sequence[Path]) -> Begun:
        """Decode one image and send it on its way through the network.

        Raises
        ------
        FormatError: it cannot be read. DataError: it is several images, or has another number of axes than the model reads.
        """
        start = time.perf_counter()
        with self.mapping.batcher.coming():
            case, notes = one_case(files, self.mapping.reads.ndim)
            study = open_case(case)
            row = self.mapping.batcher.submit(self.mapping.encode(study)[0])
            return Begun(case, study, notes, row, start, time.perf_counter())

    def end(self, begun: Begun, job: str, force: bool) -> dict[str, Any]:
        """The finding, in the form of docs/clinic (no files); waits for the network. What it made of the image judges the image's fitness.

        force: answer although the model was not made for it.
        """
        raw, features = self.mapping.parts(begun.row.result())
        fitness = judge(self.mapping, begun.study, features)
        told = [(each.refuses, {"code": each.code, "en": each.en, "zh": each.zh}) for each in fitness.reasons]
        cautions, refused = ([each for refuses, each in told if refuses == against] for against in (False, True))
        read = force or not refused
        answer, notes = self._answer(raw, begun.study, cautions) if read else (refused_facts(self.mapping.output.target), cautions)
        seconds = {"open": round(begun.decoded - begun.start, 4), "predict": round(time.perf_counter() - begun.decoded, 4)}
        made = whole_document(job, facts_of(begun.case.source), self.model, answer, begun.study)
        return made | {"refused": refused, "forced": bool(refused) and read, "notes": sequence_notes(begun.notes, notes), "files": dict(FILES),
                       "seconds": seconds}

    def _answer(self, raw: np.ndarray, study: Study, cautions: list[dict[str, str]]) -> tuple[dict[str, Any], list[dict[str, str]]]:
        found = self.mapping.output.decode(raw, study)
        found = found if self.knowing is None else self.knowing.told(found, self.mapping.output.target)
        return answer_facts(found, self.mapping, self.knowing), [*cautions, *notes_of(found, self.knowing)]


def one_case(files: Sequence[Path], ndim: int) -> tuple[Case, list[dict[str, str]]]:
    """The one image of the given files, with the notes on files that were left out.

    Raises
    ------
    DataError: they hold several images.
    """
    cases, notes = cases_of_files(files, ndim)
    if len(cases) != 1:
        raise DataError("not one image", expected="the files of one image", got=f"{len(cases)} images", do="send each image in a request of its own")
    return cases[0], notes
