"""Answers that are kept study by study, so that a prediction over an archive goes on where it was and many workers can share it.

A record is a JSON file named after the study; it holds the finding without its masks (these lie as files beside the findings), or why there is none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vesalius import __version__
from vesalius.core.cohort import Case
from vesalius.core.finding import Finding, Score, Text
from vesalius.core.geometry import Grid
from vesalius.mapping import Mapping as Model
from vesalius.storage import atomic_json

NAME_LENGTH = 24


@dataclass(frozen=True)
class Told:
    """What came of one study: its finding and row of the table, or why it was refused; ``fitness`` as `Door` logs it; ``engine`` that ran the network."""

    finding: Finding | None = None
    row: dict[str, Any] = field(default_factory=dict)
    refused: str | None = None
    fitness: dict[str, Any] | None = None
    engine: str | None = None


@dataclass
class Kept:
    """The records of one model and one set of options in a folder.

    Parameters
    ----------
    folder: of the records. key: changes with everything besides the study that an answer depends on; see `of`.
    out: where files lie that rows name. aside: studies that are not to be tried in this run, with the reason.
    """

    folder: Path
    key: str
    out: Path
    aside: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, out: Path, mapping: Model, **options: Any) -> Kept:
        """For a model and the options of a prediction."""
        facts = [__version__, mapping.hash, mapping.output.to_dict(), options]
        return cls(folder, hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest(), out)

    def get(self, case: Case) -> Told | None:
        """What is known of a study; None when nothing is, its files have changed, or a file that it names is gone."""
        if case.id in self.aside:
            return Told(refused=self.aside[case.id])
        try:
            facts = json.loads(self._path(case).read_text("utf-8"))
            if facts["key"] != self.key or facts["files"] != _stamps(case) or not all((self.out / name).is_file() for name in _files(facts["row"])):
                return None
            finding = _finding(facts["finding"]) if facts["finding"] else None
            return Told(finding, facts["row"], facts["refused"], facts["fitness"], facts["engine"])
        except (OSError, ValueError, KeyError, TypeError):  # a record that cannot be used costs its time again, and nothing else
            return None

    def put(self, case: Case, told: Told) -> None:
        """Keep what came of a study."""
        finding = None if told.finding is None else _plain(told.finding)
        atomic_json(self._path(case), {"key": self.key, "files": _stamps(case), "finding": finding, "row": told.row, "refused": told.refused,
                                       "fitness": told.fitness, "engine": told.engine})

    def _path(self, case: Case) -> Path:
        return self.folder / f"{hashlib.sha256(case.id.encode()).hexdigest()[:NAME_LENGTH]}.json"


def _stamps(case: Case) -> list[list[Any]]:
    """Path, size and time of change of every file of a study: an archive is not read twice for this."""
    names = [name for source in (case.source, *case.channels) for name in (source.files or (source.path,))]
    return [[name, os.stat(name).st_size, os.stat(name).st_mtime_ns] for name in names]


def _files(row: Mapping[str, Any]) -> list[str]:
    """Files that a row names: they lie in the numbered folder of the study."""
    return [value for value in row.values() if isinstance(value, str) and value[:4].isdigit() and value[4:5] == "/"]


def _plain(finding: Finding) -> dict[str, Any]:
    grid = finding.grid
    where = {"shape": grid.shape, "spacing_mm": grid.spacing_mm, "affine_lps": grid.affine_lps, "spacing_known": grid.spacing_known}
    return finding.to_dict() | {"grid": where}


def _finding(facts: Mapping[str, Any]) -> Finding:
    where = facts["grid"]
    grid = Grid(tuple(where["shape"]), tuple(where["spacing_mm"]), np.array(where["affine_lps"], float), bool(where["spacing_known"]))
    scores, notes = tuple(Score(**each) for each in facts["scores"]), tuple(Text(**each) for each in facts["notes"])
    return Finding(facts["source"], facts["label"], facts["probability"], grid, scores, notes)


def without(kept: Kept | None, cases: Sequence[Case]) -> list[tuple[int, Case]]:
    """The studies that nothing is known of, each with its place in the whole."""
    return [(place, case) for place, case in enumerate(cases) if kept is None or kept.get(case) is None]
