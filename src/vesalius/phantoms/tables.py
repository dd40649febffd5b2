"""Films whose label is of another kind: two class folders, several labels, a grade, a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.phantoms.anatomy import Findings, Person, draw_person
from vesalius.phantoms.films import draw_findings, plain_film
from vesalius.phantoms.sheet import Item, draw_age, patient_sizes, png, shuffle_labels, truth_of, write_items, write_table
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

FOLDERS = ("normal", "effusion")
SIGNS = ("nodule", "effusion", "cardiomegaly")
GRADES = (0.0, 0.18, 0.34, 0.52)
"""Height of the fluid in grade 0 to 3, in half image widths."""


@dataclass(frozen=True)
class Patient:
    """A build, what is ill, and the label that states it."""

    person: Person
    findings: Findings
    label: Any


def _folder_patient(rng: np.random.Generator) -> Patient:
    person, label = draw_person(rng), str(rng.choice(FOLDERS))
    return Patient(person, draw_findings(rng, person, label), label)


def _signs_patient(rng: np.random.Generator) -> Patient:
    marks = {name: int(rng.random() < 0.4) for name in SIGNS}
    person = draw_person(rng, float(rng.uniform(0.46, 0.54) if marks["cardiomegaly"] else rng.uniform(0.27, 0.34)))
    nodules = draw_findings(rng, person, "nodule").nodules if marks["nodule"] else ()
    fluid = draw_findings(rng, person, "effusion" if marks["effusion"] else "normal")
    return Patient(person, Findings(nodules, fluid.effusion_right, fluid.effusion_left), marks)


def _grade_patient(rng: np.random.Generator) -> Patient:
    grade = int(rng.integers(len(GRADES)))
    height = GRADES[grade] + (float(rng.uniform(-0.05, 0.05)) if grade else 0.0)
    left = rng.random() < 0.5
    return Patient(draw_person(rng), Findings((), 0.0 if left else height, height if left else 0.0), grade)


def _ratio_patient(rng: np.random.Generator) -> Patient:
    person = draw_person(rng, float(rng.uniform(0.24, 0.54)))
    return Patient(person, Findings(), round(person.cardiothoracic_ratio, 4))


def _draw(seed: int, kind: str, n: int, size: int, draw: Callable[[np.random.Generator], Patient]) -> list[Item]:
    items = []
    for number, count in enumerate(patient_sizes(generator(seed, kind, "patients"), n, 3)):
        rng = generator(seed, kind, "patient", number)
        patient = draw(rng)
        columns = {"sex": str(rng.choice(["F", "M"])), "age": draw_age(rng, 58, 14)}
        for visit in range(count):
            image = png(plain_film(rng, patient.person, patient.findings, size))
            items.append(Item(image, ".png", f"P{number:04d}", patient.label, patient.label, dict(columns), id=f"images/film_{number:04d}_{visit}.png"))
    return items


def _mislabel(items: list[Item], rng: np.random.Generator, share: float) -> list[Item]:
    """Give a share of the films the label of the other folder; the films as they were drawn keep it in ``true``."""
    chosen = [items[i] for i in sorted(rng.permutation(len(items))[: round(share * len(items))])]
    for item in chosen:
        item.given = next(name for name in FOLDERS if name != item.given)
    return chosen


def make_binary_folders(out: Path, seed: int, n: int, *, size: int = 96, mislabelled: float = 0.0, shuffle: bool = False) -> Truth:
    """``normal/`` and ``effusion/``; the patient is in the file name (``P0012_1.png``), there is no table.

    ``mislabelled``: share of the films that lie in the wrong folder.
    """
    items = _draw(seed, "binary-folders", n, size, _folder_patient)
    wrong = _mislabel(items, generator(seed, "mislabel"), mislabelled)
    if shuffle:
        shuffle_labels(items, generator(seed, "shuffle"))
    for item in items:
        item.id = f"{item.given}/{item.patient}_{item.id[-5]}.png"
    write_items(out, items)
    facts = {"kind": "binary-folders", "seed": seed, "n": n, "options": {"size": size, "mislabelled": mislabelled, "shuffle": shuffle}}
    planted = {"mislabelled": sorted(item.id for item in wrong)} if wrong else {}
    return truth_of(out, items, facts | {"target": "folder", "target_kind": "binary", "classes": FOLDERS}, planted)


def make_multilabel(out: Path, seed: int, n: int, *, size: int = 112, shuffle: bool = False) -> Truth:
    """A table with a 0/1 column for each of nodule, effusion and cardiomegaly; any of them, also none, may be present."""
    items = _draw(seed, "multilabel", n, size, _signs_patient)
    facts = {"target": ",".join(SIGNS), "target_kind": "multilabel", "classes": SIGNS}
    return _with_table(out, items, {"kind": "multilabel", "seed": seed, "n": n, "options": {"size": size, "shuffle": shuffle}} | facts)


def make_ordinal(out: Path, seed: int, n: int, *, size: int = 96, shuffle: bool = False) -> Truth:
    """A table with the column ``grade``: 0 no fluid, 1 small, 2 moderate, 3 large."""
    items = _draw(seed, "ordinal", n, size, _grade_patient)
    facts = {"target": "grade", "target_kind": "ordinal", "classes": tuple(str(grade) for grade in range(len(GRADES)))}
    return _with_table(out, items, {"kind": "ordinal", "seed": seed, "n": n, "options": {"size": size, "shuffle": shuffle}} | facts)


def make_regression(out: Path, seed: int, n: int, *, size: int = 96, shuffle: bool = False) -> Truth:
    """A table with the column ``ctr``: the cardiothoracic ratio, width of the heart over width of the chest."""
    items = _draw(seed, "regression", n, size, _ratio_patient)
    facts = {"target": "ctr", "target_kind": "regression", "classes": ()}
    return _with_table(out, items, {"kind": "regression", "seed": seed, "n": n, "options": {"size": size, "shuffle": shuffle}} | facts)


def _with_table(out: Path, items: list[Item], facts: dict[str, Any]) -> Truth:
    if facts["options"]["shuffle"]:
        shuffle_labels(items, generator(facts["seed"], "shuffle"))
    write_items(out, items)
    rows = []
    for item in items:
        label = item.given if isinstance(item.given, dict) else {facts["target"]: item.given}
        rows.append({"image": item.id, "patient": item.patient, **item.columns, **label})
    write_table(out / DATA / "table.csv", rows)
    return truth_of(out, items, facts, {})
