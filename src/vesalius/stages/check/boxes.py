"""What may be wrong with boxes, and what they are: how many of each class, in how many images, of what size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from vesalius.core.boxes import BoxTruth
from vesalius.core.cohort import Cohort
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.stages.check.audit import Issue
from vesalius.stages.check.facts import Fact, boxes_of, sides_of, truth_of
from vesalius.stages.check.masks import REASONS as MASK_REASONS
from vesalius.stages.check.masks import WORDS as MASK_WORDS

NAMED = 3
SMALL_SAMPLES = 4.0
"""A box with a shorter side holds too little to be told from its surroundings."""
SMALL_SHARE = 0.01
"""So does one whose longest side is less than this part of the image's longest, unless the image is read in tiles."""
TILES_FROM = {2: 1280, 3: 192}
"""Samples along a side from which an image is not read at once."""
REASONS = {
    "no_boxes": "not marked", "box_class": "box of an unknown class", "box_size": "size disagrees with that of its boxes' file",
    "box_unusable": "boxes cannot be used", **MASK_REASONS,
}
WORDS = {
    "no_boxes": ("images are not marked", "张影像没有标注"), "box_class": ("images have a box of a class that nobody named", "张影像含有未知类别的标注框"),
    "box_size": ("images are not of the size that the file of their boxes states", "张影像的尺寸与标注文件不一致"),
    "box_unusable": ("images have boxes that cannot be used", "张影像的标注框无法使用"), **MASK_WORDS,
}


def labelled(cohort: Cohort, facts: Sequence[Fact]) -> Cohort:
    """The cohort with the classes of the boxes that can be used as labels (None where they could not be read)."""
    cases = (replace(case, label=_label(fact.boxes.truth, cohort.target) if fact.boxes else None) for case, fact in zip(cohort.cases, facts, strict=True))
    return replace(cohort, cases=tuple(cases))


def _label(truth: BoxTruth, target: TargetSpec) -> str:
    held = set(truth.labels[~truth.ignored].tolist())
    return SEPARATOR.join(name for k, name in enumerate(target.classes) if k in held)


def box_issues(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """All issues of a cohort whose truth are boxes."""
    seen = [fact for fact in facts if fact.boxes is not None]
    return [*_problems(facts), *_lost(cohort), *_aside(seen), *_clipped(seen), *_negative(seen), *_absent(cohort, facts), *_small(seen), *_twice(seen),
            *_tiles(cohort, seen), *_ignored(seen), *_risk(cohort, seen)]


def _problems(facts: Sequence[Fact]) -> list[Issue]:
    issues = []
    for code, (en, zh) in WORDS.items():
        mine = [fact for fact in facts if fact.problem == code]
        if mine:
            told = f"{len(mine)} {en}; they are left out. First: {mine[0].told}."
            issues.append(Issue.of(code, "error", told, f"{len(mine)} {zh},已排除。例如:{mine[0].told}", [fact.id for fact in mine]))
    return issues


def _lost(cohort: Cohort) -> list[Issue]:
    n = len(cohort.lost)
    if not n:
        return []
    en = f"{n} files or entries mark an image that is not there, or that a file does not list; their boxes are left out. First: {cohort.lost[0]}."
    return [Issue.of("lost_boxes", "error", en, f"{n} 个标注没有对应的影像,已排除。例如:{cohort.lost[0]}", cohort.lost)]


def _told(seen: Sequence[Fact], sentences: Callable[[Fact], Sequence[str]]) -> tuple[list[str], str, list[str]]:
    """All sentences, the first of them as text, and the images that they are of."""
    every = [text for fact in seen for text in sentences(fact)]
    more = f"; and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return every, "; ".join(every[:NAMED]) + more, [fact.id for fact in seen if sentences(fact)]


def _aside(seen: Sequence[Fact]) -> list[Issue]:
    every, told, files = _told(seen, lambda fact: truth_of(fact).aside)
    if not every:
        return []
    en = f"{len(every)} boxes cannot be used and are set aside; they are neither learnt from nor scored: {told}."
    return [Issue.of("boxes_aside", "warning", en, f"{len(every)} 个标注框无效,已搁置,不参与训练和评估:{told}", files)]


def _clipped(seen: Sequence[Fact]) -> list[Issue]:
    every, told, files = _told(seen, lambda fact: fact.boxes.clipped if fact.boxes else ())
    if not every:
        return []
    return [Issue.of("boxes_clipped", "info", f"{len(every)} boxes reach out of their image and are cut at its border: {told}.",
                     f"{len(every)} 个标注框超出影像边界,已截断:{told}", files)]


def _negative(seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if not len(truth_of(fact))]
    if not files:
        return []
    every = len(files) == len(seen)
    severity = "error" if every else "warning" if 2 * len(files) > len(seen) else "info"
    en = "No image has a box." if every else f"{len(files)} of {len(seen)} images have no box: there is nothing in them to be found."
    zh = "所有影像都没有标注框。" if every else f"{len(seen)} 张影像中有 {len(files)} 张没有标注框(阴性影像)。"
    return [Issue.of("no_box_in_image", severity, en, zh, files)]  # type: ignore[arg-type]


def _absent(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    counts = boxes_of(cohort, facts)
    absent = [name for name, held in counts.items() if not held["n"]]
    if not absent or len(absent) == len(counts):
        return []
    kept = ",".join(name for name in counts if name not in absent)
    en = f"No box is of the class {', '.join(absent)}: it cannot be learnt. Leave it out with --label {kept}."
    return [Issue("class_without_boxes", "warning", en, f"没有任何标注框属于类别 {', '.join(absent)};可用 --label {kept} 排除。", (), len(absent))]


def _small(seen: Sequence[Fact]) -> list[Issue]:
    held = [(fact, sides) for fact in seen if len(sides := sides_of(truth_of(fact))[~truth_of(fact).ignored])]
    few = [(fact, int(((sides.min(1) < SMALL_SAMPLES) | (sides.max(1) < SMALL_SHARE * max(fact.shape))).sum())) for fact, sides in held]
    n, total = sum(count for _, count in few), sum(len(sides) for _, sides in held)
    if not n:
        return []
    en = f"{n} of {total} boxes are very small: below {SMALL_SAMPLES:g} samples along a side, or below {SMALL_SHARE:.0%} of their image."
    zh = f"{total} 个标注框中有 {n} 个非常小:某边小于 {SMALL_SAMPLES:g} 个像素,或小于影像边长的 {SMALL_SHARE:.0%}。"
    return [Issue.of("small_boxes", "warning" if 5 * n > total else "info", en, zh, [fact.id for fact, count in few if count])]


def _twice(seen: Sequence[Fact]) -> list[Issue]:
    """One and the same box of one class twice in an image: it would be counted twice."""
    rows = [np.column_stack([truth_of(fact).boxes, truth_of(fact).labels]) for fact in seen]
    spare = [len(each) - len(np.unique(each, axis=0)) for each in rows]
    if not any(spare):
        return []
    files = [fact.id for fact, n in zip(seen, spare, strict=True) if n]
    en = f"{sum(spare)} boxes are there twice, edge for edge and of one class: was something marked, or a file joined, two times?"
    return [Issue.of("boxes_twice", "warning", en, f"{sum(spare)} 个标注框完全重复:是否重复标注或重复合并?", files)]


def _tiles(cohort: Cohort, seen: Sequence[Fact]) -> list[Issue]:
    least = TILES_FROM[cohort.ndim]
    files = [fact.id for fact in seen if fact.shape and max(fact.shape) > least]
    if not files:
        return []
    largest = max((fact.shape for fact in seen if fact.shape), key=max)
    en = f"{len(files)} images are longer than {least} samples along a side (up to {' x '.join(map(str, largest))}): they are read in tiles, or made smaller."
    return [Issue.of("large_images", "info", en, f"{len(files)} 张影像的边长超过 {least} 个像素,将分块读取或缩小。", files)]


def _ignored(seen: Sequence[Fact]) -> list[Issue]:
    counts = [int(truth_of(fact).ignored.sum()) for fact in seen]
    if not any(counts):
        return []
    en = f"{sum(counts)} boxes are marked as difficult or as a crowd: neither learnt from nor scored."
    files = [fact.id for fact, n in zip(seen, counts, strict=True) if n]
    return [Issue.of("boxes_ignored", "info", en, f"{sum(counts)} 个标注框被标记为困难或群体:不参与训练和评估。", files)]


def _risk(cohort: Cohort, seen: Sequence[Fact]) -> list[Issue]:
    name = cohort.target.risk
    if not name:
        return []
    values = np.concatenate([*(truth_of(fact).risk for fact in seen), np.zeros(0, np.float32)])
    ill, known = int((values == 1).sum()), int(np.isfinite(values).sum())
    en = f"Boxes carry a second label, '{name}': {ill} of {known} are 1" + (f"; {len(values) - known} do not say." if known < len(values) else ".")
    return [Issue("second_label", "info", en, f"标注框带有第二标签“{name}”:{known} 个中有 {ill} 个为 1。", (), known)]
