"""The audit: read everything once, compare, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vesalius.core.cohort import Cohort
from vesalius.formats import recognise
from vesalius.stages.check.audit import Audit, Issue
from vesalius.stages.check.boxes import REASONS as BOX_REASONS
from vesalius.stages.check.boxes import box_issues
from vesalius.stages.check.boxes import labelled as labelled_by_boxes
from vesalius.stages.check.facts import Fact, gather
from vesalius.stages.check.labels import label_issues, unlabelled
from vesalius.stages.check.masks import REASONS as MASK_REASONS
from vesalius.stages.check.masks import labelled, mask_issues
from vesalius.stages.check.pictures import picture_issues
from vesalius.stages.check.twins import find_twins, twin_issues

Progress = Callable[[int, int, str], None]
ORDER = ("error", "warning", "info")
REASONS = {"unreadable": "cannot be read", "empty": "empty file", "truncated": "truncated file", "constant": "constant image", "no_numbers": "no numbers in it",
           "channel_grids": "channels that do not fit together", **MASK_REASONS, **BOX_REASONS}


def _as_it_is(cohort: Cohort, facts: Sequence[Fact]) -> Cohort:
    return cohort


def _nothing(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    return []


MARKED: dict[str, tuple[Callable[[Cohort, Sequence[Fact]], Cohort], Callable[[Cohort, Sequence[Fact]], list[Issue]]]] = {
    "mask": (labelled, mask_issues), "boxes": (labelled_by_boxes, box_issues),
}
"""For kinds whose truth is marked in the image: what gives the cases their labels, and what may be wrong with the marks."""


def check(
    data: str, *, table: str | None = None, label: str | None = None, patient: str | None = None, image: str | None = None, target: str | None = None,
    layout: str | None = None, gaps: str | None = None, jobs: int | None = None, progress: Progress | None = None,
) -> Audit:
    """Say what is in a data set and what is wrong with it; nothing is changed.

    Parameters
    ----------
    data, table, label, patient, image, target, layout, gaps: see `vesalius.formats.recognise`.
    jobs: processes that read images; None takes the cores this process may use.
    progress: called with (done, all, what).

    Raises
    ------
    DataError: nothing there can be recognised as a data set.
    """
    cohort = recognise(data, table=table, label=label, patient=patient, image=image, target=target, layout=layout, gaps=gaps)
    return audit_cohort(cohort, jobs=jobs, progress=progress)


def audit_cohort(cohort: Cohort, *, jobs: int | None = None, progress: Progress | None = None) -> Audit:
    """Audit a cohort that has been recognised already; see `check`."""
    start = time.perf_counter()
    facts = gather(cohort, jobs=jobs, progress=progress)
    label, judge = MARKED.get(cohort.target.kind, (_as_it_is, _nothing))
    cohort = label(cohort, facts)
    twins = find_twins(cohort, facts, progress=progress)
    issues = [*picture_issues(cohort, facts), *judge(cohort, facts), *label_issues(cohort, facts), *twin_issues(cohort, twins)]
    issues.sort(key=lambda issue: ORDER.index(issue.severity))
    return Audit(cohort, tuple(facts), twins, tuple(issues), _excluded(cohort, facts), time.perf_counter() - start)


def _excluded(cohort: Cohort, facts: Sequence[Fact]) -> dict[str, str]:
    reasons = {}
    for case, fact in zip(cohort.cases, facts, strict=True):
        if fact.problem:
            reasons[case.id] = REASONS[fact.problem]
        elif len(fact.shape) != cohort.ndim:
            reasons[case.id] = f"not {cohort.ndim}-D"
        elif unlabelled(cohort, case):
            reasons[case.id] = "no label"
    return reasons
