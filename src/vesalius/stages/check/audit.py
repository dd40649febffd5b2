"""What an audit says of a cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vesalius.core.cohort import Cohort
from vesalius.core.target import MARKED, SEVERAL, missing, text_of
from vesalius.errors import DataError, LabelError, TooFewError
from vesalius.kernels.fingerprint import Pair
from vesalius.stages.check.facts import Fact, boxes_of, structures

Severity = Literal["error", "warning", "info"]
SHOWN = 20
MIN_IMAGES = 10
MIN_CASES = 5  # of a target of masks: every case holds thousands of samples
FEW_CASES = MIN_IMAGES
MIN_GROUPS = 3  # independent patients (or duplicate clusters) of a class: one each for training, validation and test
BIT_NAMES = {True: "colour", False: "grey"}

MARKS = {
    "mask": ("a mask", "every mask is empty", "a structure in at least some images", "masks of background only",
             "give the right masks, or name the numbers with --label NAME=NUMBER", "a structure", "too few masks hold anything"),
    "boxes": ("boxes (or say that there is nothing)", "no image has a box", "boxes in at least some images", "images without any box that can be used",
              "give the right files of boxes, or look at the boxes that the audit set aside", "a class", "too few images have boxes"),
}
"""Words for what is marked: what an image has, and what is said where nothing, or too little, is marked."""


@dataclass(frozen=True)
class Issue:
    """One thing the user should know. ``files`` are at most 20 ids of the ``n`` concerned."""

    code: str
    severity: Severity
    en: str
    zh: str
    files: tuple[str, ...] = ()
    n: int = 0

    @classmethod
    def of(cls, code: str, severity: Severity, en: str, zh: str, files: list[str] | tuple[str, ...] = ()) -> Issue:
        return cls(code, severity, en, zh, tuple(files[:SHOWN]), len(files))

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "files": list(self.files)}


@dataclass(frozen=True)
class Twins:
    """Duplicates. ``exact``: ids of identical content. ``near``: pairs of the same picture, by place in the cohort.

    ``clusters``: id to number, for images with a twin. ``crossing``: how many clusters hold several patients, labels or official splits.
    """

    exact: tuple[tuple[str, ...], ...] = ()
    near: tuple[Pair, ...] = ()
    clusters: Mapping[str, int] = field(default_factory=dict)
    crossing: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """What `check` found; nothing on the disk was changed.

    Parameters
    ----------
    cohort: as it was recognised. facts: a `Fact` per case. twins: duplicates. issues: most severe first.
    excluded: id to reason, for the images that no split will hold. seconds: how long the audit took.
    """

    cohort: Cohort
    facts: tuple[Fact, ...]
    twins: Twins
    issues: tuple[Issue, ...]
    excluded: Mapping[str, str]
    seconds: float = 0.0

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of each image (with its masks, where these are the truth) by id; "" where it could not be read."""
        return {fact.id: fact.sealed or fact.hash for fact in self.facts}

    @property
    def clusters(self) -> dict[str, int]:
        """Number of the duplicate cluster of each image by id, -1 for none."""
        return {fact.id: self.twins.clusters.get(fact.id, -1) for fact in self.facts}

    def usable(self) -> list[int]:
        """Places of the cases that can be used."""
        return [i for i, case in enumerate(self.cohort.cases) if case.id not in self.excluded]

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``audit.json`` (docs/architecture.md)."""
        cohort, seen = self.cohort, [fact for fact in self.facts if fact.shape]
        return {
            "schema": 1, "root": cohort.root, "layout": cohort.layout, "n_images": len(cohort), "n_patients": len(cohort.patients),
            "target": cohort.target.to_dict(), "label_counts": label_counts(cohort), "patient_evidence": cohort.patient_evidence,
            "patient_known": cohort.patient_known,
            "sizes": [{"shape": list(shape), "n": n} for shape, n in Counter(fact.shape for fact in seen).most_common()],
            "modalities": dict(Counter(fact.modality or "not stated" for fact in seen)),
            "bits": dict(Counter(f"{fact.bits} bit {BIT_NAMES[fact.colour]}" for fact in seen)),
            "issues": [issue.to_dict() for issue in self.issues], "duplicates": self._duplicates(),
            "n_clusters": len(set(self.twins.clusters.values())), "crossing": dict(self.twins.crossing),
            "excluded": dict(self.excluded), "seconds": round(self.seconds, 2),
        } | ({"masks": self.masks()} if cohort.target.kind == "mask" else {"boxes": self.boxes()} if cohort.target.kind == "boxes" else {})

    def masks(self) -> dict[str, dict[str, Any]]:
        """For each structure: in how many cases it is, its median size there with the unit, and its median number of parts."""
        return structures(self.cohort, self.facts)

    def boxes(self) -> dict[str, dict[str, Any]]:
        """For each class: ``n`` boxes in ``images``, and their ``median_size`` (root of the area, cube root of the volume) in ``unit``."""
        return boxes_of(self.cohort, self.facts)

    def _duplicates(self) -> dict[str, Any]:
        ids = [case.id for case in self.cohort.cases]
        near = [{"ids": [ids[pair.a], ids[pair.b]], "how": pair.how, "score": round(pair.score, 4)} for pair in self.twins.near]
        return {"exact": [list(group) for group in self.twins.exact], "near": near}

    def raise_if_hopeless(self, by: Literal["patient", "image"] = "patient") -> None:
        """Refuse a cohort that nothing can be learned from or tested on.

        Raises
        ------
        DataError: no image, or none that can be used. LabelError: no label, or one class only.
        TooFewError: fewer than 10 images (5 with masks or boxes), one patient only, or a class with fewer than 3 patients (for masks
            and boxes: no class in as many). ``by="image"`` does not ask for patients.
        """
        root, n = self.cohort.root, len(self.cohort)
        if not n:
            raise DataError("there are no images", where=root, expected="at least one image with a label", do="give the folder that holds the images")
        used = self.usable()
        if not used:
            reason = Counter(self.excluded.values()).most_common(1)[0][0]
            kind: type[DataError] = LabelError if reason == "no label" else DataError
            raise kind("none of the images can be used", where=root, got=f"{n} images, most of them: {reason}", do="look at the files that the audit names")
        marked = self.cohort.target.kind in MARKED
        least, what = (MIN_CASES, f"{MARKS[self.cohort.target.kind][0]}") if marked else (MIN_IMAGES, "a label")
        if len(used) < least:
            raise TooFewError("too few images", where=root, expected=f"at least {least} that can be read and have {what}", got=len(used), do="add images")
        self._raise_if_few_patients(used, by)
        if marked:
            self._raise_if_few_marks(used, by)
        else:
            self._raise_if_few_of_a_class(used, by)

    def _raise_if_few_patients(self, used: list[int], by: str) -> None:
        patients = {self.cohort.cases[i].patient for i in used}
        if by == "patient" and len(patients) < MIN_GROUPS:
            got = "one patient" if len(patients) == 1 else f"{len(patients)} patients"
            advice = f"add patients, or name the right column with --patient (known from: {self.cohort.patient_evidence or 'nothing'})"
            raise TooFewError("too few patients to test on others", where=self.cohort.root, expected=f"at least {MIN_GROUPS} patients", got=got, do=advice)

    def _raise_if_few_marks(self, used: list[int], by: str) -> None:
        root, groups, words = self.cohort.root, self._groups_per_class(used, by), MARKS[self.cohort.target.kind]
        if not any(groups.values()):
            raise LabelError(words[1], where=root, expected=words[2], got=f"{len(used)} {words[3]}", do=words[4])
        if max(groups.values()) < MIN_GROUPS:
            unit = "patients" if by == "patient" else "distinct images"
            name = max(groups, key=lambda each: groups[each])
            told = f"{words[5]} in at least {MIN_GROUPS} {unit} (training, validation and test)"
            raise TooFewError(words[6], where=root, expected=told, got=f"'{name}' in {groups[name]}", do="add images that show it")
        if by == "patient" and any(issue.code == "slices" for issue in self.issues):
            raise TooFewError("the images look like slices of one volume", where=root, expected=f"at least {MIN_GROUPS} patients",
                              got="one patient, as it seems",
                              do="say who the patient is with --patient ('none': each image is one), or --split-by-image, which holds out a block of slices")

    def _raise_if_few_of_a_class(self, used: list[int], by: str) -> None:
        target, root = self.cohort.target, self.cohort.root
        if target.kind == "regression":
            if len({text_of(self.cohort.cases[i].label) for i in used}) < 2:
                raise LabelError("every image has the same value", where=root, expected="values that differ", do="check the column that was taken as the label")
            return
        groups = self._groups_per_class(used, by)
        present = [name for name, n in groups.items() if n]
        if len(present) < (1 if target.kind == "multilabel" else 2):
            one = f"only '{present[0]}'" if present else "none"
            advice = "add images of another class, or name the label"
            raise LabelError("there is one class only", where=root, expected="at least two classes", got=one, do=advice)
        few = {name: n for name, n in groups.items() if n < MIN_GROUPS}
        if few and target.kind != "multilabel":
            name, n = min(few.items(), key=lambda item: item[1])
            unit = "patients" if by == "patient" else "distinct images"
            raise TooFewError(
                f"class '{name}' is too small", where=root, expected=f"at least {MIN_GROUPS} {unit} (training, validation and test)", got=n,
                do="add images of that class, or leave it out",
            )

    def _groups_per_class(self, used: list[int], by: str) -> dict[str, int]:
        cases, target = self.cohort.cases, self.cohort.target
        held: dict[str, set[str]] = {name: set() for name in target.classes}
        for i in used:
            unit = cases[i].patient if by == "patient" else f"{self.twins.clusters.get(cases[i].id, cases[i].id)}"
            label = text_of(cases[i].label)
            for name in {part.strip() for part in label.split("|")} if target.kind in SEVERAL else {label}:
                if name in held:
                    held[name].add(unit)
        return {name: len(units) for name, units in held.items()}


def label_counts(cohort: Cohort) -> dict[str, Any]:
    """Images per class (an image of several classes counts in each), or a summary of a regression's values; missing labels as "(missing)"."""
    labels = [case.label for case in cohort.cases]
    empty = sum(missing(label) for label in labels)
    counts: dict[str, Any]
    if cohort.target.kind == "regression":
        values = cohort.target.encode(labels)
        values = values[np.isfinite(values)]
        counts = {"n": len(values)} | ({"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())} if len(values) else {})
    elif cohort.target.kind in SEVERAL:
        marks = np.nansum(cohort.target.encode(labels), 0) if labels else np.zeros(len(cohort.target.classes))
        counts = {name: int(n) for name, n in zip(cohort.target.classes, marks, strict=True)}
        empty = sum(label is None or (isinstance(label, float) and np.isnan(label)) for label in labels)
    else:
        seen = Counter(text_of(label) for label in labels if not missing(label))
        counts = {name: seen.get(name, 0) for name in cohort.target.classes}
    return counts | ({"(missing)": empty} if empty else {})
