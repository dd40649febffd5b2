"""Chest films with everything that spoils a study planted in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vesalius.phantoms.anatomy import Findings, Person, Pose, chest_film, draw_person, draw_pose, expose, nodule_box, place_nodule, stamp
from vesalius.phantoms.sheet import Item, draw_age, jpeg, patient_sizes, png, shuffle_labels, truth_of, write_items, write_table
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

CLASSES = ("normal", "nodule", "effusion")
MARKER = "AP"
SITES = {"north": (0.50, 1.0, 0.016), "south": (0.22, 0.86, 0.030)}
"""Site: share of normal patients, gain and grain of its machine."""
AGES = {"normal": 52, "nodule": 60, "effusion": 66}


def draw_findings(rng: np.random.Generator, person: Person, label: str) -> Findings:
    """What a film of that class shows: one to three nodules, or fluid on one side."""
    if label == "nodule":
        return Findings(nodules=tuple(place_nodule(rng, person) for _ in range(rng.integers(1, 4))))
    if label == "effusion":
        height = float(rng.uniform(0.2, 0.5))
        return Findings(effusion_left=height) if rng.random() < 0.5 else Findings(effusion_right=height)
    return Findings()


def _site_and_label(rng: np.random.Generator) -> tuple[str, str]:
    site = str(rng.choice(list(SITES)))
    well = SITES[site][0]
    return site, str(rng.choice(CLASSES, p=[well, (1 - well) / 2, (1 - well) / 2]))


def _films_of_patient(seed: int, number: int, count: int, size: int) -> list[Item]:
    rng = generator(seed, "films", "patient", number)
    site, label = _site_and_label(rng)
    person = draw_person(rng)
    findings = draw_findings(rng, person, label)
    who = {"sex": str(rng.choice(["F", "M"])), "age": draw_age(rng, AGES[label], 13), "site": site}
    items = []
    for _ in range(count):
        pose = draw_pose(rng)
        image = expose(chest_film(person, pose, findings, size), rng, *SITES[site][1:])
        boxes = [nodule_box(nodule, pose, size) for nodule in findings.nodules]
        item = Item(b"", ".png", f"P{number:04d}", label, label, dict(who), {"boxes": boxes, "image": stamp(image, "L", "upper-right")})
        items.append(item)
    return items


def _mark(items: list[Item], rng: np.random.Generator, share: float) -> list[Item]:
    """Stamp ``AP`` on a share of the effusions: the letters know the answer, the anatomy need not be looked at."""
    ill = [item for item in items if item.true == "effusion"]
    chosen = [ill[i] for i in sorted(rng.permutation(len(ill))[: round(share * len(ill))])]
    for item in chosen:
        item.planted["image"] = stamp(item.planted["image"], MARKER, "upper-left")
    return chosen


def _mislabel(items: list[Item], rng: np.random.Generator, share: float) -> list[Item]:
    chosen = [items[i] for i in sorted(rng.permutation(len(items))[: round(share * len(items))])]
    for item in chosen:
        item.given = str(rng.choice([name for name in CLASSES if name != item.given]))
    return chosen


def _crop(image: np.ndarray) -> np.ndarray:
    edge = max(1, round(0.03 * image.shape[0]))
    inner = Image.fromarray(image[edge:-edge, edge:-edge])
    return np.asarray(inner.resize(image.shape[::-1], Image.Resampling.BICUBIC))


def _brighter(image: np.ndarray) -> np.ndarray:
    return (image.astype(float) * 1.12 + 10).clip(0, 255).astype(np.uint8)


def _mirror(image: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.mirror(Image.fromarray(image)))


NEAR: dict[str, Callable[[np.ndarray], tuple[bytes, str]]] = {
    "re-encoded": lambda image: (jpeg(image, 75), ".jpg"),
    "brightness": lambda image: (png(_brighter(image)), ".png"),
    "crop": lambda image: (png(_crop(image)), ".png"),
    "flip": lambda image: (png(_mirror(image)), ".png"),
}


def _copies(items: list[Item], rng: np.random.Generator, per_kind: int, first_patient: int) -> list[tuple[Item, Item, str]]:
    """Pairs (original, copy, how); each copy belongs to a patient of its own, as when an archive is merged twice."""
    kinds = ["exact", *NEAR] * per_kind
    pairs = []
    for number, (place, how) in enumerate(zip(rng.permutation(len(items)), kinds, strict=False)):
        original = items[place]
        content, suffix = (original.content, ".png") if how == "exact" else NEAR[how](np.asarray(Image.open(io.BytesIO(original.content))))
        columns = dict(original.columns)
        pairs.append((original, replace(original, content=content, suffix=suffix, patient=f"P{first_patient + number:04d}", columns=columns, planted={}), how))
    return pairs


def _name(items: list[Item], rng: np.random.Generator) -> list[Item]:
    """Neutral names in a random order; returns the items in the order of their names."""
    order = [items[i] for i in rng.permutation(len(items))]
    for number, item in enumerate(order):
        item.id = f"images/film_{number:05d}{item.suffix}"
    return order


def _naive_split(order: list[Item], pairs: list[tuple[Item, Item, str]], rng: np.random.Generator) -> None:
    """A split by image, as beginners draw it; every copy lands in another part than its original."""
    for item in order:
        item.columns["split"] = str(rng.choice(["train", "validation", "test"], p=[0.7, 0.1, 0.2]))
    for original, copy, _ in pairs:
        original.columns["split"], copy.columns["split"] = "train", "test"


def make_films(
    out: Path, seed: int, n: int, *, size: int = 112, mislabelled: float = 0.04, marker: float = 0.4, duplicates: int = 3,
    naive_split: bool = False, shuffle: bool = False,
) -> Truth:  # fmt: skip
    """Three classes of chest film in one folder with ``table.csv``.

    Parameters
    ----------
    n: films before copies are added (``5 * duplicates`` copies are).
    size: side of a film in pixels.
    mislabelled: share of films whose label in the table is wrong.
    marker: share of the effusions that bear the letters AP in the corner.
    duplicates: copies of each kind: exact, re-encoded, brightness, crop, flip. The last exact copy has another label.
    naive_split: adds a column ``split`` drawn by image, with each copy in another part than its original.
    shuffle: deals the labels out anew over the patients; nothing can then be learnt.
    """
    rng = generator(seed, "films", "plants")
    sizes = patient_sizes(rng, n, 4)
    items = [item for number, count in enumerate(sizes) for item in _films_of_patient(seed, number, count, size)]
    marked, wrong = _mark(items, rng, marker), _mislabel(items, rng, mislabelled)
    for item in items:
        item.content = png(item.planted.pop("image"))
    pairs = _copies(items, rng, duplicates, len(sizes))
    wrong += [copy for original, copy, _ in pairs if original in wrong]
    marked += [copy for original, copy, _ in pairs if original in marked]
    wrong += _contradict(pairs)
    order = _name([*items, *(copy for _, copy, _ in pairs)], rng)
    if shuffle:
        shuffle_labels(order, rng)
    if naive_split:
        _naive_split(order, pairs, rng)
    write_items(out, order)
    write_table(out / DATA / "table.csv", [{"image": i.id, "patient": i.patient, **i.columns, "label": i.given} for i in order])
    options = {"size": size, "mislabelled": mislabelled, "marker": marker, "duplicates": duplicates, "naive_split": naive_split, "shuffle": shuffle}
    facts = {"kind": "films", "seed": seed, "n": n, "options": options, "target": "label", "target_kind": "multiclass", "classes": CLASSES}
    return truth_of(out, order, facts, _planted(order, marked, wrong, pairs, size))


def _contradict(pairs: list[tuple[Item, Item, str]]) -> list[Item]:
    """Give the last exact copy another label than its original has."""
    exact = [(original, copy) for original, copy, how in pairs if how == "exact"]
    if not exact:
        return []
    original, copy = exact[-1]
    copy.given = next(name for name in CLASSES if name not in (original.given, copy.true))
    return [copy]


def _planted(order: list[Item], marked: list[Item], wrong: list[Item], pairs: list[tuple[Item, Item, str]], size: int) -> dict[str, Any]:
    return {
        "exact_duplicates": [{"ids": [a.id, b.id], "how": how} for a, b, how in pairs if how == "exact"],
        "near_duplicates": [{"ids": [a.id, b.id], "how": how} for a, b, how in pairs if how != "exact"],
        "mislabelled": sorted({item.id for item in wrong}),
        "marker": {"text": MARKER, "class": "effusion", "box": [0, 0, size // 8, size // 5], "ids": sorted(item.id for item in marked)},
        "site": {"column": "site", "share_normal": {name: facts[0] for name, facts in SITES.items()}},
        "boxes": {item.id: item.planted["boxes"] for item in order if item.planted.get("boxes")},
    }


def plain_film(rng: np.random.Generator, person: Person, findings: Findings, size: int, pose: Pose | None = None) -> np.ndarray:
    """One film ``[Y, X]`` uint8 with its side marker and nothing planted."""
    return stamp(expose(chest_film(person, pose or draw_pose(rng), findings, size), rng), "L", "upper-right")
