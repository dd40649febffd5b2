"""Exact and near duplicates of a cohort, and what they cross."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from vesalius.core.cohort import Case, Cohort
from vesalius.core.target import missing, text_of
from vesalius.kernels.fingerprint import Pair, cluster, near_pairs
from vesalius.stages.check.audit import Issue, Twins
from vesalius.stages.check.facts import Fact

Progress = Callable[[int, int, str], None]
NOT_COMPARED = ("constant", "no_numbers")  # all constant images are alike; that says nothing of the patient


def find_twins(cohort: Cohort, facts: Sequence[Fact], *, progress: Progress | None = None) -> Twins:
    """Images of identical content and images that show the same picture, clustered."""
    places = [i for i, fact in enumerate(facts) if fact.hash and fact.print is not None and fact.problem not in NOT_COMPARED]
    same: dict[str, list[int]] = defaultdict(list)
    for i in places:
        same[facts[i].hash].append(i)
    exact = [group for group in same.values() if len(group) > 1]
    near = _near(facts, [group[0] for group in same.values()], progress)
    chain = [Pair(group[0], other, 1.0, "identical") for group in exact for other in group[1:]]
    label = cluster(len(facts), [*chain, *near])
    held = {fact.id: int(number) for fact, number in zip(facts, label, strict=True) if number >= 0}
    named = tuple(tuple(facts[i].id for i in group) for group in exact)
    return Twins(named, tuple(near), held, _crossing(cohort, held))


def _near(facts: Sequence[Fact], firsts: list[int], progress: Progress | None) -> list[Pair]:
    """Pairs among images of the same kind: pictures with pictures, volumes with volumes."""
    found: list[Pair] = []
    for planes in (1, 3):
        mine = [i for i in firsts if len(facts[i].print) == planes]  # type: ignore[arg-type]
        if len(mine) > 1:
            pairs = near_pairs(np.stack([facts[i].print for i in mine]), progress=progress)  # type: ignore[misc]
            found += [Pair(mine[pair.a], mine[pair.b], pair.score, pair.how) for pair in pairs]
    return found


def _crossing(cohort: Cohort, held: dict[str, int]) -> dict[str, int]:
    groups: dict[int, list[Case]] = defaultdict(list)
    for case in cohort.cases:
        if case.id in held:
            groups[held[case.id]].append(case)
    several = {"patients": 0, "labels": 0, "splits": 0}
    for cases in groups.values():
        several["patients"] += cohort.patient_known and len({case.patient for case in cases}) > 1
        several["labels"] += len({text_of(case.label) for case in cases if not missing(case.label)}) > 1
        several["splits"] += len({case.split for case in cases if case.split}) > 1
    return several


def twin_issues(cohort: Cohort, twins: Twins) -> list[Issue]:
    """What the duplicates mean for the user."""
    issues = []
    if twins.exact:
        files = [name for group in twins.exact for name in group]
        spare = len(files) - len(twins.exact)
        issues.append(Issue.of("exact_duplicates", "warning", f"{spare} images are exact copies of others.", f"{spare} 张影像与其他影像完全相同。", files))
    if twins.near:
        ids = [case.id for case in cohort.cases]
        files = list(dict.fromkeys(ids[i] for pair in twins.near for i in (pair.a, pair.b)))
        n = len(twins.near)
        en = f"{n} pairs of images show the same picture (re-encoded, brightened, cropped, mirrored or rotated)."
        issues.append(Issue.of("near_duplicates", "warning", en, f"{n} 对影像是同一图像(重新编码、调亮、裁剪、镜像或旋转)。", files))
    return issues + [_crossed(cohort, twins, what) for what, n in twins.crossing.items() if n]


CROSSED = {
    "patients": ("duplicates_across_patients", "warning", "hold images of several patients; the same picture under two names is kept together in the split",
                 "含有多名患者的影像;同一图像的不同名称在划分时保持在一起", lambda case: case.patient),
    "labels": ("duplicates_across_labels", "error", "carry different labels for the same picture; look at them",
               "对同一图像标注了不同标签,请核对", lambda case: text_of(case.label)),
    "splits": ("duplicates_across_splits", "error", "lie in several parts of the official split: the test is easier than it looks",
               "跨越官方划分的多个部分:测试结果会偏乐观", lambda case: case.split),
}


def _crossed(cohort: Cohort, twins: Twins, what: str) -> Issue:
    code, severity, en, zh, key = CROSSED[what]
    groups: dict[int, list[Case]] = defaultdict(list)
    for case in cohort.cases:
        if case.id in twins.clusters:
            groups[twins.clusters[case.id]].append(case)
    files = [case.id for cases in groups.values() if len({key(case) for case in cases}) > 1 for case in cases]  # type: ignore[no-untyped-call]
    n = twins.crossing[what]
    return Issue.of(code, severity, f"{n} groups of duplicates {en}.", f"{n} 组重复影像{zh}。", files)  # type: ignore[arg-type]
