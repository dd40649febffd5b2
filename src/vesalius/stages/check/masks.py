"""What may be wrong with masks, what they hold, and whether images are slices of one volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vesalius.core.cohort import Cohort
from vesalius.kernels.order import numbered
from vesalius.stages.check.audit import FEW_CASES, MIN_GROUPS, Issue
from vesalius.stages.check.facts import Fact

FULL = 0.99
THICK = 3.0
"""Spacing across slices over that within: from here on told."""
VARIES = 1.1
ALIKE = 0.3
"""Median correlation of images with neighbouring numbers from which they are slices (membranes of one animal 0.66; strangers below 0.1)."""
ALIKE_FROM = 10
REASONS = {
    "no_mask": "no mask", "mask_unreadable": "mask cannot be read", "mask_grid": "mask on another grid", "mask_number": "unknown number in the mask",
    "mask_overlap": "structures overlap", "mask_unusable": "mask cannot be used",
}
WORDS = {
    "no_mask": ("images have no mask", "张影像没有标注"), "mask_unreadable": ("masks cannot be read", "个标注无法读取"),
    "mask_grid": ("masks do not lie on the grid of their image", "个标注与影像网格不一致"),
    "mask_number": ("masks hold a number that nobody named", "个标注含有未知数值"),
    "mask_overlap": ("cases have structures that overlap", "个病例的结构互相重叠"), "mask_unusable": ("masks cannot be used", "个标注无法使用"),
}


def labelled(cohort: Cohort, facts: Sequence[Fact]) -> Cohort:
    """The cohort with the classes that each mask holds as labels (None where it could not be read)."""
    cases = (replace(case, label=fact.marks.label(cohort.target) if fact.marks else None) for case, fact in zip(cohort.cases, facts, strict=True))
    return replace(cohort, cases=tuple(cases))


def mask_issues(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """All issues of a cohort whose truth are masks."""
    seen = [fact for fact in facts if fact.marks is not None]
    return [*_problems(facts), *_empty(seen), *_full(seen), *_same(cohort, facts), *_rare(cohort, facts), *_spacing(cohort, seen), *_thin(cohort, seen),
            *_channels(seen), *_few(seen), *slices(cohort, facts)]


def _problems(facts: Sequence[Fact]) -> list[Issue]:
    issues = []
    for code, (en, zh) in WORDS.items():
        mine = [fact for fact in facts if fact.problem == code]
        if mine:
            told = f"{len(mine)} {en}; they are left out. First: {mine[0].told}."
            issues.append(Issue.of(code, "error", told, f"{len(mine)} {zh},已排除。例如:{mine[0].told}", [fact.id for fact in mine]))
    return issues


def _empty(seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if fact.marks and not any(fact.marks.sizes)]
    if not files:
        return []
    severity = "error" if len(files) == len(seen) else "warning" if 2 * len(files) > len(seen) else "info"
    en, zh = f"{len(files)} masks are empty: images without any structure.", f"{len(files)} 个标注为空:影像中没有任何结构。"
    return [Issue.of("empty_masks", severity, en, zh, files)]  # type: ignore[arg-type]


def _full(seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if fact.marks and fact.marks.covered >= FULL]
    if not files:
        return []
    en = f"{len(files)} masks cover the whole image: is the background marked instead, or a field of view taken for a structure?"
    return [Issue.of("full_masks", "warning", en, f"{len(files)} 个标注覆盖整张影像:是否标注了背景或视野?", files)]


def _same(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """One and the same mask for several patients: a file was copied."""
    held: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case, fact in zip(cohort.cases, facts, strict=True):
        if fact.marks and fact.marks.digest:
            held[fact.marks.digest].append((case.patient, case.id))
    groups = [mine for mine in held.values() if len({patient for patient, _ in mine}) > 1]
    if not groups:
        return []
    en = f"{len(groups)} masks are shared, sample for sample, by images of several patients: was a file copied?"
    zh = f"{len(groups)} 个标注在不同患者间完全相同:是否误复制了文件?"
    return [Issue.of("same_masks", "warning", en, zh, [name for mine in groups for _, name in mine])]


def _rare(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    held: dict[str, set[str]] = {name: set() for name in cohort.target.classes}
    for case, fact in zip(cohort.cases, facts, strict=True):
        for name, n in zip(cohort.target.classes, fact.marks.sizes if fact.marks else (), strict=False):
            if n:
                held[name].add(case.patient)
    rare = {name: len(patients) for name, patients in held.items() if len(patients) < MIN_GROUPS}
    if not rare:
        return []
    said = ", ".join(f"{name} ({n})" for name, n in rare.items())
    en = f"Structures in fewer than {MIN_GROUPS} patients: {said}; they cannot be in training, validation and test."
    return [Issue("rare_structure", "warning", en, f"少于 {MIN_GROUPS} 名患者的结构:{said};无法同时出现在训练、验证和测试集中。", (), len(rare))]


def _spacing(cohort: Cohort, seen: Sequence[Fact]) -> list[Issue]:
    known = [fact for fact in seen if fact.spacing_mm]
    if not known:
        en, zh = "No file states a spacing: sizes and distances count in samples.", "文件未给出像素间距:大小与距离以像素计。"
        return [Issue("no_spacing", "info", en, zh, (), len(seen))] if seen else []
    spacing = np.array([fact.spacing_mm for fact in known if len(fact.spacing_mm) == cohort.ndim])
    low, high = spacing.min(0, initial=np.inf), spacing.max(0, initial=0)
    issues = []
    if len(spacing) and (high / low > VARIES).any():
        en, zh = (f"{_mm(low)} to {_mm(high)} mm", f"{_mm(low)} 至 {_mm(high)} 毫米")
        issues.append(Issue("mixed_spacing", "info", f"The spacing varies: {en}.", f"像素间距不一致:{zh}。", (), len(spacing)))
    thick = [fact.id for fact in known if max(fact.spacing_mm) / min(fact.spacing_mm) >= THICK]
    if thick:
        middle = np.median([max(fact.spacing_mm) / min(fact.spacing_mm) for fact in known if fact.id in set(thick)])
        en = f"In {len(thick)} images the samples are {middle:.1f} times longer along one axis (thick slices)."
        issues.append(Issue.of("anisotropic", "info", en, f"{len(thick)} 个影像沿某一轴的间距为其他轴的 {middle:.1f} 倍(厚层)。", thick))
    return issues


def _mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)


def _thin(cohort: Cohort, seen: Sequence[Fact]) -> list[Issue]:
    files = [fact.id for fact in seen if cohort.ndim == 3 and len(fact.shape) == 3 and min(fact.shape) == 1]
    if not files:
        return []
    en = f"{len(files)} volumes have a single slice: nothing can be seen across slices; pictures belong into a 2-D data set."
    return [Issue.of("single_slice", "warning", en, f"{len(files)} 个三维影像只有一层。", files)]


def _channels(seen: Sequence[Fact]) -> list[Issue]:
    counts = Counter(fact.channels for fact in seen)
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    said = ", ".join(f"{n} with {k}" for k, n in counts.most_common())
    files = [fact.id for fact in seen if fact.channels != usual]
    return [Issue.of("mixed_channels", "warning", f"The number of channels differs: {said}.", f"通道数不一致:{said}。", files)]


def _few(seen: Sequence[Fact]) -> list[Issue]:
    if len(seen) >= FEW_CASES:
        return []
    en = f"There are {len(seen)} cases with masks: every figure will be very uncertain."
    return [Issue("few_cases", "warning", en, f"仅有 {len(seen)} 个带标注的病例:所有指标都非常不确定。", (), len(seen))]


def slices(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """Whether pictures with neighbouring numbers are so alike that they are slices of one volume, though nothing names a patient."""
    order = numbered([case.id for case in cohort.cases])
    if cohort.patient_known or cohort.patient_evidence.startswith("--patient") or cohort.ndim != 2 or order is None:
        return []
    thumbs = [facts[i].print for i in order]
    rows = [thumb[0] for thumb in thumbs if thumb is not None and len(thumb) == 1]
    if len(rows) < max(ALIKE_FROM, len(thumbs)):
        return []
    near, far = _likeness(np.stack(rows))
    if near < ALIKE or near < far:
        return []
    en = f"Images with neighbouring numbers are alike (correlation {near:.2f}; of other pairs nine in ten are below {far:.2f})"
    en += ": they look like slices of one volume."
    zh = f"编号相邻的影像彼此相似(相关系数 {near:.2f};其他影像对的九成低于 {far:.2f}):很可能是同一三维影像的切片。"
    return [Issue("slices", "error", en, zh, (), len(rows))]


def _likeness(thumbs: np.ndarray) -> tuple[float, float]:
    """Correlation of coarse thumbnails without the mean of all: median of neighbours, and the 90th percentile of all other pairs."""
    rows = thumbs.reshape(len(thumbs), 12, 4, 12, 4).mean((2, 4)).reshape(len(thumbs), -1)
    rows = rows - rows.mean(0)
    rows = rows - rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9
    cosine = rows @ rows.T
    return float(np.median(np.diag(cosine, 1))), float(np.quantile(cosine[np.triu_indices(len(rows), 2)], 0.9))
