"""Who trains, who chooses, who tests: the split into training, validation and test.

Patients and duplicates stay together; every part holds every class; the same
seed gives the same split whatever the order of the files. An official split is
kept and audited. Slices that are split by image are held out as a block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case
from vesalius.core.target import SEVERAL, TargetSpec, missing, text_of
from vesalius.errors import OptionError, TooFewError
from vesalius.kernels.grouping import deal, join, strata
from vesalius.kernels.order import numbered
from vesalius.seed import generator
from vesalius.stages.check.audit import Audit
from vesalius.stages.cohortfile import read_cohort, write_cohort
from vesalius.stages.sealing import Looks, seal, verify_seal

__all__ = ["Looks", "Split", "crossing", "folds", "read_cohort", "seal", "split_cohort", "verify_seal", "write_cohort"]

PARTS = ("train", "validation", "test")
BLOCK = (0.67, 0.13, 0.2)
"""Fractions where blocks of neighbouring slices are held out: a block is worth fewer images than it has, so that the test gets more."""
Note = dict[str, str]
By = Literal["patient", "image"]
Decision = tuple[str, Any, str]
Placed = tuple[np.ndarray, list[Decision], list[Note]]


@dataclass(frozen=True)
class Split:
    """A split cohort.

    ``frame`` has a row per case, excluded ones too, with the columns of ``cohort.parquet``. ``decisions`` are
    (name, value, reason) for the plan. ``notes`` are what the report must say: code, severity, en, zh.
    """

    frame: pd.DataFrame
    decisions: list[Decision]
    notes: list[Note]
    by: By


def split_cohort(
    audit: Audit, *, seed: int = 0, fractions: tuple[float, float, float] = (0.7, 0.15, 0.15), by: By = "patient", keep_official: bool = True,
) -> Split:
    """Split an audited cohort.

    Parameters
    ----------
    seed: of the dealing; the order of the files does not matter.
    fractions: of the images for training, validation and test. Without use where an official split is kept or blocks are held out.
    by: ``"image"`` ignores who the patient is (duplicates still stay together); the report shows that in red. Pictures with masks
        whose names are consecutive numbers are then split in blocks (see `BLOCK`): the test is the last one, validation that before.
    keep_official: keep the data's own split where there is one. A part that it lacks is dealt from its training images.

    Raises
    ------
    OptionError: the fractions do not add up to 1. TooFewError: a class that cannot be in every part.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise OptionError("the fractions of the split are impossible", expected="three numbers above 0 that add up to 1", got=fractions)
    frame = _frame(audit)
    used = frame.index[frame["excluded_because"].isna()].to_numpy()
    groups, marks = _groups(frame.loc[used], by), strata(_truth(frame.loc[used], audit.cohort.target))
    official = keep_official and bool(frame.loc[used, "official_split"].notna().any())
    order = numbered(list(frame.loc[used, "id"])) if by == "image" and audit.cohort.target.kind == "mask" else None
    if official:
        part, decisions, notes = _kept(frame.loc[used], groups, marks, fractions, seed)
    elif order is not None:
        part, decisions, notes = _in_blocks(order)
    else:
        part, decisions, notes = _dealt(groups, marks, fractions, seed, by)
    frame.loc[used, "split"] = part
    notes += _by_image(by) + (_crossings(frame.loc[used]) if official else [])
    _every_class(frame.loc[used], audit, official)
    decisions += [(f"n_{name}", int((frame["split"] == name).sum()), "images") for name in PARTS]
    return Split(frame, [("by", by, _why(by, audit)), ("seed", seed, "given, or 0"), *decisions], notes, by)


def _frame(audit: Audit) -> pd.DataFrame:
    """A row per case, sorted by id; all marked excluded until they are dealt."""
    target, hashes, clusters = audit.cohort.target, audit.hashes, audit.clusters
    cases = sorted(audit.cohort.cases, key=lambda case: case.id)
    rows = [_row(case, target, hashes[case.id], clusters[case.id], audit.excluded.get(case.id)) for case in cases]
    frame = pd.DataFrame(rows)
    for name in ("member", "official_split", "excluded_because", *(() if target.kind == "regression" else ("label",))):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame


def _row(case: Case, target: TargetSpec, digest: str, cluster: int, excluded: str | None) -> dict[str, Any]:
    known = {"id": case.id, "path": case.source.path, "member": case.source.member, "hash": digest, "patient": str(case.patient), "label": _label(case, target),
             "split": "excluded", "official_split": case.split, "duplicate_cluster": cluster, "excluded_because": excluded}
    return known | {(f"clinical_{name}" if name in known else name): value for name, value in case.clinical.items()}


def _label(case: Case, target: TargetSpec) -> str | float | None:
    if target.kind == "regression":
        return float(target.encode([case.label])[0])
    empty = case.label is None or (missing(case.label) and target.kind not in SEVERAL)
    return None if empty or (isinstance(case.label, float) and np.isnan(case.label)) else text_of(case.label)


def _truth(frame: pd.DataFrame, target: TargetSpec) -> np.ndarray:
    return target.encode(list(frame["label"]))


def _groups(frame: pd.DataFrame, by: By) -> np.ndarray:
    """What must not be torn apart: duplicates always, patients unless the user said otherwise."""
    twins = [int(n) if n >= 0 else None for n in frame["duplicate_cluster"]]
    return join(list(frame["patient"]), twins) if by == "patient" else join(list(frame["id"]), twins)


def _dealt(groups: np.ndarray, marks: np.ndarray, fractions: Sequence[float], seed: int, by: By) -> Placed:
    part = deal(groups, marks, fractions, generator(seed, "split"))
    unit = "patients" if by == "patient" else "images"
    reason = f"no official split is kept; {unit} and their duplicates stay together, the label is spread evenly"
    return np.array(PARTS)[part], [("source", "dealt", reason), ("fractions", list(fractions), "of the images")], []


def _in_blocks(order: Sequence[int]) -> Placed:
    """Blocks of the order of the slices: training, then validation, then test, so that the test touches validation only."""
    n = len(order)
    test, validation = max(1, round(BLOCK[2] * n)), max(1, round(BLOCK[1] * n))
    part = np.full(n, "train", object)
    part[list(order[n - test :])] = "test"
    part[list(order[n - test - validation : n - test])] = "validation"
    reason = "the names are consecutive numbers and the split is by image: slices next to each other are alike, so a block of them is held out whole"
    return part, [("source", "blocks", reason), ("fractions", list(BLOCK), "of the images, in their order; the test block lies at the end")], []


def _kept(frame: pd.DataFrame, groups: np.ndarray, marks: np.ndarray, fractions: Sequence[float], seed: int) -> Placed:
    """The official split; what it lacks is dealt from its training images, what it leaves open trains."""
    official = frame["official_split"].to_numpy(object)
    part = np.array([name if name in PARTS else "train" for name in official], object)
    decisions: list[Decision] = [("source", "official", "the data come with a split; it was audited, see the notes")]
    notes: list[Note] = []
    open_ = int(sum(name not in PARTS for name in official))
    if open_:
        en, zh = f"{open_} images have no place in the official split; they train.", f"{open_} 张影像未被官方划分,已用于训练。"
        notes.append(_note("official_open", "warning", en, zh))
    lacking = [name for name in PARTS[1:] if name not in part]
    if lacking:
        part = _carved(part, lacking, groups, marks, fractions, seed)
        said = " and ".join(lacking)
        decisions.append(("carved", lacking, "the official split has none; dealt from its training images, by group"))
        en, zh = f"The official split has no {said}; dealt from its training images.", f"官方划分缺少 {said},已从训练影像中划出。"
        notes.append(_note("official_carved", "info", en, zh))
    return part, decisions, notes


def _carved(part: np.ndarray, lacking: list[str], groups: np.ndarray, marks: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    rows = np.flatnonzero(part == "train")
    names = ["train", *lacking]
    shares = np.array([dict(zip(PARTS, fractions, strict=True))[name] for name in names])
    mine = np.unique(groups[rows], return_inverse=True)[1]
    dealt = deal(mine, marks[rows], list(shares / shares.sum()), generator(seed, "split", *lacking))
    part = part.copy()
    part[rows] = np.array(names, object)[dealt]
    return part


def _crossings(frame: pd.DataFrame) -> list[Note]:
    """What the official split tears apart, for the report in red."""
    notes = []
    for column, code, en, zh in (("patient", "patients_cross_official_split", "patients lie", "名患者"),
                                 ("duplicate_cluster", "duplicates_cross_official_split", "groups of duplicates lie", "组重复影像")):
        known = frame[frame[column] >= 0] if column == "duplicate_cluster" else frame
        parts = known.groupby(column)["split"].nunique()
        n, images = int((parts > 1).sum()), int(known[column].isin(parts.index[parts > 1]).sum())
        if n:
            told = f"{n} {en} in several parts of the official split ({images} images); the test is easier than it looks"
            told += ". A new split (--new-split) keeps them together."
            notes.append(_note(code, "error", told, f"{n} {zh}跨越官方划分的多个部分({images} 张影像),测试结果偏乐观;使用 --new-split 可重新划分。"))
    return notes


def _by_image(by: By) -> list[Note]:
    if by == "patient":
        return []
    en = "The split is by image: one patient may be in training and test, so the figures may be too good."
    return [_note("split_by_image", "error", en, "按影像划分:同一患者可能同时出现在训练集和测试集中,指标可能偏高。")]


def _every_class(frame: pd.DataFrame, audit: Audit, official: bool) -> None:
    """Refuse a split in which a class is not in every part (a rare mark of a multilabel is only told by its figure)."""
    target = audit.cohort.target
    empty = [name for name in PARTS if not (frame["split"] == name).any()]
    if empty:
        what, got = f"there is nothing to put into {empty[0]}", f"{len(frame)} images"
        raise TooFewError(what, where=audit.cohort.root, expected="at least 3 independent patients", got=got, do="add patients")
    if target.kind in (*SEVERAL, "regression"):
        return
    for name in PARTS:
        held = {text_of(label) for label in frame.loc[frame["split"] == name, "label"]}
        absent = [label for label in target.classes if label not in held and (frame["label"] == label).any()]
        if absent:
            advice = "add patients of that class, or leave it out" + ("; --new-split deals anew" if official else "")
            raise TooFewError(f"class '{absent[0]}' is not in {name}", where=audit.cohort.root, expected="every class in training, validation and test",
                              got=f"{int((frame['label'] == absent[0]).sum())} images of it in too few independent patients", do=advice)


def _why(by: By, audit: Audit) -> str:
    if by == "image":
        return "asked for; who the patient is was ignored"
    if not audit.cohort.patient_known:
        return "nothing names the patient: each image counts as one"
    return f"patients are known from {audit.cohort.patient_evidence or 'the data'}"


def _note(code: str, severity: str, en: str, zh: str) -> Note:
    return {"code": code, "severity": severity, "en": en, "zh": zh}


def folds(frame: pd.DataFrame, k: int, seed: int, target: TargetSpec | None = None) -> list[np.ndarray]:
    """Rows of ``frame`` (by place) that each of ``k`` folds holds out: patients and duplicates together, labels spread.

    Only training and validation rows take part. ``target`` says what the labels are; without it, numbers are a
    regression and text is classes.

    Raises
    ------
    TooFewError: fewer independent patients than folds.
    """
    rows = np.flatnonzero(frame["split"].isin(PARTS[:2]))
    inner = frame.iloc[rows]
    groups = _groups(inner, "patient")
    n = int(groups.max(initial=-1)) + 1
    if n < k or k < 2:
        told = f"at least {max(k, 2)} independent patients and 2 folds"
        raise TooFewError("too few patients for the folds", expected=told, got=f"{n} patients, {k} folds", do="use fewer folds")
    fold = deal(groups, strata(_truth(inner, target or _guessed(inner))), [1 / k] * k, generator(seed, "folds", k))
    return [rows[fold == i] for i in range(k)]


def _guessed(frame: pd.DataFrame) -> TargetSpec:
    if pd.api.types.is_numeric_dtype(frame["label"]):
        return TargetSpec("regression", ())
    names = sorted({part.strip() for label in frame["label"] for part in str(label).split("|") if part.strip()})
    several = any("|" in str(label) for label in frame["label"])
    return TargetSpec("multilabel" if several else "multiclass", tuple(names))


def crossing(frame: pd.DataFrame) -> dict[str, int]:
    """How many patients and duplicate clusters lie in several parts of a split frame; both 0 for a split of ours by patient."""
    used = frame[frame["split"].isin(PARTS)]
    held: dict[str, dict[Any, set[str]]] = {"patients": defaultdict(set), "clusters": defaultdict(set)}
    for patient, twin, part in zip(used["patient"], used["duplicate_cluster"], used["split"], strict=True):
        held["patients"][patient].add(part)
        if twin >= 0:
            held["clusters"][twin].add(part)
    return {name: sum(len(parts) > 1 for parts in each.values()) for name, each in held.items()}
