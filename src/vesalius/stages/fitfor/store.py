"""The last step of a fit: the statistics of its training images are put beside the model."""

from __future__ import annotations

import time
from collections.abc import Callable

import pandas as pd

from vesalius.core.cohort import Case, Cohort
from vesalius.core.study import Study
from vesalius.formats.cases import open_case
from vesalius.mapping import Mapping
from vesalius.stages.fitfor.learn import learn
from vesalius.stages.fitfor.outputs import outputs_of_run
from vesalius.stages.fitfor.record import RECORD
from vesalius.stages.work import Work, used_of
from vesalius.storage import atomic_json

SHARE, LEAST_S = 0.04, 20.0
"""Of the time that the fit took; but at least so long."""


def keep_fit_for(work: Work, cohort: Cohort, frame: pd.DataFrame) -> None:
    """Write ``model/fit_for.safetensors`` unless it is there; the test set is not touched.

    Parameters
    ----------
    frame: the split cohort (rows of ``cohort.parquet``, excluded ones too).
    """
    if (work.run.model / RECORD).is_file():
        return
    start, used = time.perf_counter(), used_of(frame)
    cases = {case.id: case for case in cohort.cases}
    train, held = (used.loc[used["split"] == split, "id"].tolist() for split in ("train", "validation"))
    answers = outputs_of_run(work.run.path, cohort.target)
    took = work.run.facts().get("seconds") or work.seconds
    seconds = max(LEAST_S, SHARE * sum(took.values()))
    record = learn(Mapping.load(work.run.model), [_opener(cases[name]) for name in train], [_opener(cases[name]) for name in held],
                   answers=[answers.get(name, {}) for name in held], seed=work.request.seed, seconds=seconds, progress=work.progress)
    record.save(work.run.model)
    work.timed("fit for", start)
    facts = work.run.facts()
    atomic_json(work.run.environment, facts | {"seconds": facts.get("seconds", {}) | {"fit for": work.seconds["fit for"]}})


def _opener(case: Case) -> Callable[[], Study]:
    return lambda: open_case(case)
