"""Chest films whose label can be told without looking at the lesion, and their clean twin.

The patients of a seed, their lesions and labels are the same whatever is planted, so that the twin differs by the plant alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vesalius.errors import OptionError
from vesalius.phantoms.anatomy import Findings, Person, chest_film, draw_person, draw_pose, expose, nodule_box, place_nodule, stamp
from vesalius.phantoms.sheet import Item, patient_sizes, png, shuffle_labels, truth_of, write_items, write_table
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

CLASSES = ("normal", "nodule")
PLANTS = ("none", "marker", "site", "border", "background", "size")
"""marker: letters in a corner of the ill. site: most of the ill come from one hospital, whose machine is darker and grainier. border: the
rim of the ill is shaded. background: the air beside the body of the ill is fogged. size: the ill were scanned at another size."""
SITES = {"north": (1.0, 0.015), "south": (0.72, 0.045)}
"""Site: gain and grain of its machine."""
RIM = 0.09


def make_shortcuts(
    out: Path, seed: int, n: int, *, plant: str = "none", strength: float = 0.9, size: int = 64, per_patient: int = 1, contrast: float = 1.0,
    shuffle: bool = False,
) -> Truth:  # fmt: skip
    """Films with and without a nodule in one folder with ``table.csv`` (columns ``image, patient, site, label``).

    Parameters
    ----------
    plant: one of `PLANTS`.
    strength: share of the films on which the plant agrees with the label; .5 says nothing of it.
    size: side of a film in pixels. per_patient: most films of a patient. contrast: of the nodules, 1 as in the other phantoms.
    shuffle: deals the labels out anew over the patients, after the planting; nothing can then be learnt.

    Raises
    ------
    OptionError: an unknown plant, or a share outside 0.5 to 1.
    """
    if plant not in PLANTS:
        raise OptionError(f"nothing called '{plant}' can be planted", expected=f"one of {', '.join(PLANTS)}", got=plant)
    if not 0.5 <= strength <= 1:
        raise OptionError("the strength of a plant is a share", expected="0.5 to 1", got=strength)
    sizes = patient_sizes(generator(seed, "shortcuts", "plants"), n, per_patient)
    items = [item for number, count in enumerate(sizes) for item in _films(seed, number, count, size, plant, strength, contrast)]
    for number, item in enumerate(items):
        item.id = f"images/film_{number:05d}.png"
    if shuffle:
        shuffle_labels(items, generator(seed, "shortcuts", "shuffle"))
    write_items(out, items)
    write_table(out / DATA / "table.csv", [{"image": i.id, "patient": i.patient, **i.columns, "label": i.given} for i in items])
    options = {"plant": plant, "strength": strength, "size": size, "per_patient": per_patient, "contrast": contrast, "shuffle": shuffle}
    facts = {"kind": "shortcuts", "seed": seed, "n": n, "options": options, "target": "label", "target_kind": "binary", "classes": CLASSES}
    boxes = {item.id: item.planted["boxes"] for item in items if item.planted["boxes"]}
    planted = {"plant": plant, "ids": [item.id for item in items if item.planted["bears"]], "boxes": boxes}
    return truth_of(out, items, facts, planted)


def _films(seed: int, number: int, count: int, size: int, plant: str, strength: float, contrast: float) -> list[Item]:
    """All films of a patient; what is drawn does not depend on the plant."""
    rng = generator(seed, "shortcuts", "patient", number)
    label, agrees, anywhere = CLASSES[int(rng.random() < 0.5)], rng.random() < strength, rng.random() < 0.5
    bears = (label == CLASSES[1]) == agrees
    site = ("south" if bears else "north") if plant == "site" else ("south" if anywhere else "north")
    person = draw_person(rng)
    findings = _findings(rng, person, contrast) if label == CLASSES[1] else Findings()
    items = []
    for _ in range(count):
        pose = draw_pose(rng)
        gain, grain = SITES[site] if plant == "site" else SITES["north"]
        film = expose(chest_film(person, pose, findings, size), rng, gain, grain)
        image = _planted(stamp(film, "L", "upper-right"), rng, plant if bears else "none")
        boxes = [nodule_box(nodule, pose, len(image)) for nodule in findings.nodules]
        items.append(Item(png(image), ".png", f"P{number:04d}", label, label, {"site": site}, {"boxes": boxes, "bears": bears and plant != "none"}))
    return items


def _findings(rng: np.random.Generator, person: Person, contrast: float) -> Findings:
    drawn = tuple(place_nodule(rng, person) for _ in range(rng.integers(1, 4)))
    return Findings(nodules=tuple(type(each)(each.x, each.y, each.radius, each.contrast * contrast) for each in drawn))


def _planted(image: np.ndarray, rng: np.random.Generator, plant: str) -> np.ndarray:
    """One film ``[Y, X]`` uint8 with its plant; a film without one has drawn as much."""
    level, step = int(rng.integers(25, 40)), rng.integers(0, 2)
    edge = max(2, round(RIM * len(image)))
    changed = image.astype(int)
    if plant == "marker":
        return stamp(image, "AP", "upper-left")
    if plant == "border":
        rim = np.ones(image.shape, bool)
        rim[edge:-edge, edge:-edge] = False
        changed[rim] += level
    elif plant == "background":
        changed[image < 0.09 * 255] += level // 2
    elif plant == "size":
        side = len(image) + 8 + 4 * int(step)
        place = (np.arange(side) * len(image)) // side
        changed = changed[np.ix_(place, place)]
    return changed.clip(0, 255).astype(np.uint8)
