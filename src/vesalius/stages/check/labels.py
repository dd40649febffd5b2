"""What may be wrong with labels and patients, and what gives the label away without looking at the image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency, rankdata

from vesalius.core.cohort import Case, Cohort
from vesalius.core.target import MARKED, SEVERAL, missing, text_of
from vesalius.stages.check.audit import Issue, label_counts
from vesalius.stages.check.facts import Fact

IMBALANCE = 3.0  # largest class over smallest: mentioned from here, a warning from ten
SEVERE = 10.0
FEW_PATIENTS = 10
DOMINANT = 0.2  # share of all images that one patient may hold unmentioned
LEAK_GAIN = 0.5  # share of the majority guess's errors that a fact of the file alone removes
LEAK_AUC = 0.85
LEAK_P = 1e-6
LEAK_MIN = 30
LEVELS = 20
ORIGINS = ("site", "hospital", "scanner", "device", "manufacturer", "centre", "center", "machine", "source", "医院", "设备")


def label_issues(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """All issues that concern labels and patients."""
    return [*_missing(cohort), *_balance(cohort), *_patients(cohort), *_conflicts(cohort), *_parts(cohort), *_leaks(cohort, facts), *_notes(cohort)]


def _missing(cohort: Cohort) -> list[Issue]:
    files = [case.id for case in cohort.cases if unlabelled(cohort, case)]
    if not files or cohort.target.kind in MARKED:  # told by `masks` and `boxes`, each with its reason
        return []
    return [Issue.of("missing_label", "warning", f"{len(files)} images have no label; they are left out.", f"{len(files)} 张影像没有标签,已排除。", files)]


def unlabelled(cohort: Cohort, case: Case) -> bool:
    """Whether a case says nothing of the target; in a multilabel target and of masks an empty text says "none of them"."""
    if cohort.target.kind in SEVERAL:
        return case.label is None or (isinstance(case.label, float) and bool(np.isnan(case.label)))
    return missing(case.label)


def _balance(cohort: Cohort) -> list[Issue]:
    if cohort.target.kind == "regression":
        return []
    counts = {name: n for name, n in label_counts(cohort).items() if name != "(missing)"}
    issues = [_absent(counts)] if any(n == 0 for n in counts.values()) and cohort.target.kind != "boxes" else []  # told by `boxes`
    filled = {name: n for name, n in counts.items() if n}
    if len(filled) < 2:
        return issues
    ratio = max(filled.values()) / min(filled.values())
    if ratio >= IMBALANCE:
        said = ", ".join(f"{name} {n}" for name, n in sorted(filled.items(), key=lambda item: -item[1])[:8])
        severity = "warning" if ratio >= SEVERE else "info"
        en = f"The largest class is {ratio:.1f} times the smallest ({said})."
        zh = f"最大类别是最小类别的 {ratio:.1f} 倍({said})。"
        issues.append(Issue("imbalance", severity, en, zh, (), len(filled)))  # type: ignore[arg-type]
    return issues + _few(cohort)


def _absent(counts: Mapping[str, int]) -> Issue:
    names = ", ".join(name for name, n in counts.items() if n == 0)
    n = sum(n == 0 for n in counts.values())
    return Issue("class_without_images", "warning", f"No image has the label: {names}.", f"没有影像属于类别:{names}。", (), n)


def _few(cohort: Cohort) -> list[Issue]:
    held: dict[str, set[str]] = defaultdict(set)
    for case in cohort.cases:
        if not unlabelled(cohort, case):
            for name in text_of(case.label).split("|"):
                held[name.strip()].add(case.patient)
    few = {name: len(patients) for name, patients in held.items() if name and len(patients) < FEW_PATIENTS}
    if not few:
        return []
    said = ", ".join(f"{name} ({n})" for name, n in few.items())
    en = f"Classes with fewer than {FEW_PATIENTS} patients: {said}; every figure for them will be very uncertain."
    return [Issue("few_patients", "warning", en, f"患者少于 {FEW_PATIENTS} 名的类别:{said};相应指标非常不确定。", (), len(few))]


def _patients(cohort: Cohort) -> list[Issue]:
    n, patients = len(cohort), cohort.patients
    if not cohort.patient_known:
        en = "Nothing names the patient, so each image counts as one; if patients have several images, name the column with --patient."
        zh = "没有患者信息,每张影像视为一名患者;若同一患者有多张影像,请用 --patient 指定列。"
        return [Issue("patient_unknown", "warning", en, zh, (), n)]
    en = f"{len(patients)} patients, known from {cohort.patient_evidence or 'the data'}; {n / max(len(patients), 1):.1f} images each."
    zh = f"{len(patients)} 名患者(依据:{cohort.patient_evidence or '数据'}),平均每人 {n / max(len(patients), 1):.1f} 张。"
    issues = [Issue("patients", "info", en, zh, (), len(patients))]
    name, most = Counter(case.patient for case in cohort.cases).most_common(1)[0] if n else ("", 0)
    if n >= LEAK_MIN and most > DOMINANT * n:
        files = [case.id for case in cohort.cases if case.patient == name]
        issues.append(Issue.of("dominant_patient", "warning", f"One patient holds {most} of {n} images.", f"一名患者占 {n} 张影像中的 {most} 张。", files))
    return issues


def _conflicts(cohort: Cohort) -> list[Issue]:
    if not cohort.patient_known or cohort.target.kind in (*SEVERAL, "regression"):
        return []
    held: dict[str, list[Case]] = defaultdict(list)
    for case in cohort.cases:
        if not missing(case.label):
            held[case.patient].append(case)
    groups = [cases for cases in held.values() if len({text_of(case.label) for case in cases}) > 1]
    if not groups:
        return []
    files = [case.id for cases in groups for case in cases]
    en = f"{len(groups)} patients carry several labels on their images; right for follow-ups and both sides, else a mistake."
    return [Issue.of("patient_conflict", "warning", en, f"{len(groups)} 名患者的影像带有不同标签;若非随访或双侧影像,可能是错误。", files)]


def _parts(cohort: Cohort) -> list[Issue]:
    """Patients that lie in several parts of an official split."""
    if not (cohort.has_official_split and cohort.patient_known):
        return []
    held: dict[str, set[str]] = defaultdict(set)
    for case in cohort.cases:
        if case.split:
            held[case.patient].add(case.split)
    files = [case.id for case in cohort.cases if len(held[case.patient]) > 1]
    if not files:
        return []
    n = sum(len(parts) > 1 for parts in held.values())
    en = f"{n} patients lie in several parts of the official split: the test is easier than it looks."
    return [Issue.of("patients_across_splits", "error", en, f"{n} 名患者跨越官方划分的多个部分:测试结果会偏乐观。", files)]


def _notes(cohort: Cohort) -> list[Issue]:
    return [Issue("note", "info", note, note, (), 0) for note in cohort.notes]


def _leaks(cohort: Cohort, facts: Sequence[Fact]) -> list[Issue]:
    """Facts of the file, and the table's columns for site and device, that alone tell the label."""
    if cohort.target.kind in (*SEVERAL, "regression"):
        return []
    rows = [(case, fact) for case, fact in zip(cohort.cases, facts, strict=True) if fact.shape and not missing(case.label)]
    label = np.array([text_of(case.label) for case, _ in rows])
    if len(rows) < LEAK_MIN or len(set(label)) < 2:
        return []
    issues = []
    for name, zh, values in _features(rows):
        told = _told_by_kind(values, label) if isinstance(values[0], str) else _told_by_number(np.array(values, float), label)
        if told:
            en = f"{name} alone tells the label ({told}): a network may learn that instead of the disease."
            issues.append(Issue("leak", "error", en, f"仅凭{zh}即可判断标签({told}):网络可能学到的是它而不是疾病。", (), len(rows)))
    return issues


def _features(rows: Sequence[tuple[Case, Fact]]) -> list[tuple[str, str, list[Any]]]:
    facts = [fact for _, fact in rows]
    kinds: list[tuple[str, str, Callable[[Fact], Any]]] = [
        ("The file type", "文件类型", lambda f: f.suffix or "none"),
        ("The image size", "影像尺寸", lambda f: "x".join(map(str, f.shape))),
        ("The depth or colour", "位深或颜色", lambda f: f"{f.bits} bit {'colour' if f.colour else 'grey'}"),
        ("The modality", "模态", lambda f: f.modality or "not stated"),
        ("The number of samples", "像素数", lambda f: float(np.prod(f.shape))),
        ("The aspect ratio", "长宽比", lambda f: f.shape[-1] / f.shape[-2]),
    ]
    found = [(en, zh, [of(fact) for fact in facts]) for en, zh, of in kinds]
    names = dict.fromkeys(name for case, _ in rows for name in case.clinical if _is_origin(name))
    return found + [(f"The column '{name}'", f"列“{name}”", [text_of(case.clinical.get(name)) for case, _ in rows]) for name in names]


def _is_origin(name: str) -> bool:
    """Columns that say where an image was made, not what the patient has; age or symptoms may well tell the label."""
    return any(word in name.lower() for word in ORIGINS)


def _told_by_kind(values: list[str], label: np.ndarray) -> str | None:
    levels, place = np.unique(values, return_inverse=True)
    classes, truth = np.unique(label, return_inverse=True)
    if not 2 <= len(levels) <= LEVELS:
        return None
    table = np.zeros((len(levels), len(classes)))
    np.add.at(table, (place, truth), 1)
    guess = table.sum(0).max() / len(label)
    right = table.max(1).sum() / len(label)
    if right - guess < LEAK_GAIN * (1 - guess) or chi2_contingency(table).pvalue > LEAK_P:
        return None
    return f"{right:.0%} right, {guess:.0%} by guessing"


def _told_by_number(values: np.ndarray, label: np.ndarray) -> str | None:
    """Numbers of many levels; few levels are told by `_told_by_kind`."""
    if len(np.unique(values)) <= LEVELS:
        return None
    classes = np.unique(label)
    scores = [_auc(values, label == name) for name in classes]
    best = int(np.argmax([abs(score - 0.5) for score in scores]))
    far = max(scores[best], 1 - scores[best])
    n = int((label == classes[best]).sum())
    return f"AUC {far:.2f} for '{classes[best]}'" if far >= LEAK_AUC and min(n, len(label) - n) >= 10 else None


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve from ranks (Mann-Whitney), ties counted half."""
    n = int(positive.sum())
    rank = float(rankdata(values)[positive].sum())
    return (rank - n * (n + 1) / 2) / (n * (len(values) - n))
