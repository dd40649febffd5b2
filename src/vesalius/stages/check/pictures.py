"""What may be wrong with the images: unreadable, empty, of another kind than the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from vesalius.core.cohort import Cohort
from vesalius.stages.check.audit import Issue
from vesalius.stages.check.facts import Fact

MINORITY = 0.2  # a kind of image with a smaller share is the exception and is listed
FAR = 4.0  # times larger or smaller (in samples) than the median
UNLIKE = 8.0  # median absolute deviations below the median likeness
ENOUGH = 50  # images from which a "typical" one is spoken of
SQUARE = 0.03

PROBLEMS = {
    "unreadable": ("files cannot be read", "个文件无法读取"),
    "empty": ("files are empty (0 bytes)", "个文件为空(0 字节)"),
    "truncated": ("files are cut short or damaged", "个文件被截断或损坏"),
    "constant": ("images are constant: every sample has the same value", "张影像为常数:所有像素值相同"),
    "channel_grids": ("images have channels that do not fit together", "张影像的各通道文件不一致"),
    "no_numbers": ("images hold no numbers (only NaN)", "张影像不含有效数值(全为 NaN)"),
}

TOLD = ("unreadable", "channel_grids")
"""Problems of several kinds, so that the sentence of the first one is given."""


def picture_issues(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """All issues that need the images only."""
    seen = [fact for fact in facts if fact.shape]
    return [*_problems(facts), *_not_numbers(seen), *_dimensions(cohort, seen), *_modalities(seen), *_colours(seen), *_bits(seen), *_sizes(seen),
            *_orientations(seen), *_unlike(seen)]


def _problems(facts: Sequence[Fact]) -> list[Issue]:
    issues = []
    for code, (en, zh) in PROBLEMS.items():
        mine = [fact for fact in facts if fact.problem == code]
        if mine:
            first = (f" First: {mine[0].told}.", f"例如:{mine[0].told}。") if code in TOLD else ("", "")
            files = [fact.id for fact in mine]
            issues.append(Issue.of(code, "error", f"{len(files)} {en}; they are left out.{first[0]}", f"{len(files)} {zh},已排除。{first[1]}", files))
    return issues


def _not_numbers(seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if fact.nan and fact.problem is None]
    if not files:
        return []
    worst = max(fact.nan / np.prod(fact.shape) for fact in seen)
    en = f"{len(files)} images hold samples that are not numbers (NaN), up to {worst:.0%} of an image; they count as the lowest value."
    return [Issue.of("nan", "warning", en, f"{len(files)} 张影像含有非数值(NaN)像素,最多占 {worst:.0%};按最低值处理。", files)]


def _dimensions(cohort: Cohort, seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if len(fact.shape) != cohort.ndim]
    if not files:
        return []
    en = f"{len(files)} images do not have {cohort.ndim} axes as the others do; they are left out."
    return [Issue.of("other_dimensions", "error", en, f"{len(files)} 张影像的维数与其他影像({cohort.ndim} 维)不同,已排除。", files)]


def _kinds(seen: Sequence[Fact], of: Callable[[Fact], Hashable]) -> tuple[Counter[Hashable], list[str]]:
    """How many images there are of each kind, and the ids of those that are the exception."""
    counts = Counter(of(fact) for fact in seen)
    rare = {kind for kind, n in counts.items() if n < MINORITY * len(seen)}
    return counts, [fact.id for fact in seen if of(fact) in rare]


def _named(counts: Counter[Hashable]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common(6))


def _modalities(seen: Sequence[Fact]) -> list[Issue]:
    counts, files = _kinds(seen, lambda fact: fact.modality or "not stated")
    if len(counts) < 2:
        return []
    said = _named(counts)
    en, zh = f"The images are of several modalities: {said}. Do they belong together?", f"影像来自多种模态:{said}。请确认是否应放在一起。"
    return [Issue.of("mixed_modality", "warning", en, zh, files)]


def _colours(seen: Sequence[Fact]) -> list[Issue]:
    counts, files = _kinds(seen, lambda fact: fact.colour)
    if len(counts) < 2:
        return []
    n, said = counts[True], "photographs or annotated pictures among grey images?" if counts[True] < counts[False] else "grey images among colour pictures?"
    zh = f"{n} 张彩色、{counts[False]} 张灰度影像混在一起,是否混入了照片或带标注的图?"
    return [Issue.of("mixed_colour", "warning" if files else "info", f"{n} images are in colour and {counts[False]} in grey: {said}", zh, files)]


def _bits(seen: Sequence[Fact]) -> list[Issue]:
    counts, files = _kinds(seen, lambda fact: f"of {fact.bits} bit")
    if len(counts) < 2:
        return []
    said = _named(counts)
    return [Issue.of("mixed_bits", "warning" if files else "info", f"The depth differs: {said}.", f"位深不一致:{said}。", files)]


def _sizes(seen: Sequence[Fact]) -> list[Issue]:
    shapes = {fact.shape for fact in seen}
    if len(shapes) < 2:
        return []
    samples = np.array([np.prod(fact.shape, dtype=float) for fact in seen])
    small, large = ("x".join(map(str, seen[int(i)].shape)) for i in (samples.argmin(), samples.argmax()))
    en, zh = f"There are {len(shapes)} sizes, from {small} to {large}.", f"共有 {len(shapes)} 种尺寸,从 {small} 到 {large}。"
    issues = [Issue("mixed_size", "info", en, zh, (), len(shapes))]
    ratio = samples / np.median(samples)
    files = [fact.id for fact, r in zip(seen, ratio, strict=True) if r > FAR or r < 1 / FAR]
    if 0 < len(files) < MINORITY * len(seen):
        en = f"{len(files)} images are over {FAR:g} times larger or smaller than the typical one: thumbnails, cut-outs or another examination?"
        issues.append(Issue.of("odd_size", "warning", en, f"{len(files)} 张影像比典型尺寸大或小 {FAR:g} 倍以上:缩略图、裁剪图或其他检查?", files))
    return issues


def _orientations(seen: Sequence[Fact]) -> list[Issue]:
    counts, files = _kinds([fact for fact in seen if len(fact.shape) == 2], _page)
    issues = []
    if len(counts.keys() - {"square"}) > 1:
        said = _named(counts)
        issues.append(Issue.of("mixed_orientation", "info", f"Portrait and landscape are mixed: {said}.", f"横幅与竖幅混合:{said}。", files))
    stated = [fact for fact in seen if fact.axes]
    axes, odd = _kinds(stated, lambda fact: fact.axes)
    if len(axes) > 1:
        said = _named(axes)
        en = f"The volumes' axes point different ways: {said}."
        issues.append(Issue.of("mixed_axes", "warning", en, f"三维影像的坐标轴方向不一致:{said}。", odd or [fact.id for fact in stated]))
    return issues


def _page(fact: Fact) -> str:
    y, x = fact.shape[-2:]
    return "square" if abs(y - x) <= SQUARE * max(y, x) else "portrait" if y > x else "landscape"


def _unlike(seen: Sequence[Fact]) -> list[Issue]:
    """Images whose picture resembles none of the typical ones: another body part, a photograph, a table of text."""
    groups: dict[int, list[Fact]] = defaultdict(list)
    for fact in seen:
        if fact.problem is None and fact.print is not None:
            groups[len(fact.print)].append(fact)
    files = [name for facts in groups.values() if len(facts) >= ENOUGH for name in _strangers(facts)]
    if not files:
        return []
    en = f"{len(files)} images look unlike all the others; is it the same examination?"
    return [Issue.of("odd_picture", "warning", en, f"{len(files)} 张影像与其他影像明显不同,请确认是否为同一种检查。", files)]


def _strangers(facts: Sequence[Fact]) -> list[str]:
    """Ids of images far below the others in likeness to the mean thumbnail (correlation, median absolute deviations)."""
    small = np.stack([fact.print for fact in facts]).astype(np.float32)  # type: ignore[misc]
    rows = small.reshape(len(facts), -1, 12, 4, 12, 4).mean((3, 5)).reshape(len(facts), -1)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6
    likeness = rows @ np.median(rows, axis=0)
    middle = float(np.median(likeness))
    spread = float(np.median(np.abs(likeness - middle))) + 0.01
    return [fact.id for fact, like in zip(facts, likeness, strict=True) if like < middle - UNLIKE * spread]
