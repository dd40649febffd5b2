"""The last step of a fit: the statistics of its training images are put beside the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from vesalius.core.cohort import Case, Cohort
from vesalius.core.study import Study
from vesalius.formats.cases import open_case
from vesalius.mapping import Mapping
from vesalius.stages.explain.pictures import png, views
from vesalius.stages.fitfor.learn import learnt
from vesalius.stages.fitfor.outputs import outputs_of_run
from vesalius.stages.fitfor.record import RECORD
from vesalius.stages.work import Work, used_of
from vesalius.storage import atomic_json, atomic_write

SHARE, LEAST_S = 0.04, 20.0
"""Of the time that the fit took; but at least so long."""
NEAREST, SHOWN = "fit_for.json", 6
"""In ``RUN/explain``: the held out cases that are nearest to being refused, and how many of them are kept for the report."""


def keep_fit_for(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Write ``model/fit_for.safetensors`` unless it is there, and the pictures of the validation cases that are nearest to being refused; the test set is not
    touched.

    Parameters
    ----------
    frame: the split cohort (rows of ``cohort.parquet``, excluded ones too).
    """
    if (work.run.model / RECORD).is_file():
        return
    start, used = time.perf_counter(), used_of(frame)
    cases = {case.id: case for case in cohort.cases}
    train, held = _parts(work.run.path, used)
    answers = outputs_of_run(work.run.path, cohort.target)
    took = work.run.facts().get("seconds") or work.seconds
    seconds = max(LEAST_S, SHARE * sum(took.values()))
    made = learnt(Mapping.load(work.run.model), [_opener(cases[name]) for name in train], [_opener(cases[name]) for name in held],
                  answers=[answers.get(name, {}) for name in held], seed=work.request.seed, seconds=seconds, progress=work.progress)
    _nearest(work.run.explain, [cases[name] for name in held], made.distances)
    made.record.save(work.run.model)
    work.timed("fit for", start)
    facts = work.run.facts()
    atomic_json(work.run.environment, facts | {"seconds": facts.get("seconds", {}) | {"fit for": work.seconds["fit for"]}})


def _parts(run: Path, used: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Ids of the images that the first network learnt from, and of those that it did not: training and validation, or with ``--folds`` its own fold."""
    table = next((run / name for name in ("cases.parquet", "predictions.parquet") if (run / name).is_file()), None)
    judged = pd.DataFrame() if table is None else pd.read_parquet(table)
    own = set(judged.loc[judged["fold"] == 0, "id"]) if "fold" in judged else set()
    seen = used[used["split"] != "test"]
    held = seen["id"].isin(own) if own else seen["split"] == "validation"
    return seen.loc[~held, "id"].tolist(), seen.loc[held, "id"].tolist()


def _nearest(folder: Path, held: Sequence[Case], distances: dict[int, float]) -> None:
    """Write the pictures of the cases that are most unlike the training images, and ``fit_for.json``: ``[{"id", "distance" (1: refused), "image"}]``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, place in enumerate(sorted(distances, key=lambda place: -distances[place])[:SHOWN]):
        file = f"fit_{number}.png"
        atomic_write(folder / file, png(views(open_case(held[place]), [])[0]))
        rows.append({"id": held[place].id, "distance": round(distances[place], 4), "image": file})
    atomic_json(folder / NEAREST, rows)


def _opener(case: Case) -> Callable[[], Study]:
    return lambda: open_case(case)
