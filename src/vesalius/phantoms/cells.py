"""Pictures like those of a stained blood film: red cells, white cells and platelets that touch and overlap, among dust and dye."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from vesalius.errors import OptionError
from vesalius.phantoms.boxfiles import LAYOUTS, PARTS, Pictured, place_of, write_boxes
from vesalius.phantoms.sheet import Item, jpeg, patient_sizes, truth_of, write_items
from vesalius.phantoms.smear import CLASSES, DRAWN, Placed, Stain, add_debris, add_shadow, draw_stain, expose_smear, placed, shadow
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

UNIT = 0.105
"""Usual radius of a red cell as a share of the picture's height, about that of BCCD's pictures."""
LEAST_SIZE = 96
NEAREST = {"RBC": 0.62, "WBC": 0.9, "Platelets": 0.6}
"""How near the centres of two cells may be, as a share of their radii together; the larger of both kinds counts."""
TRIES = 40


def _counts(rng: np.random.Generator, crowd: float) -> dict[str, int]:
    """How many cells of each kind: the crowd of red cells is the film's own."""
    return {"WBC": int(rng.choice([0, 1, 2], p=[0.25, 0.62, 0.13])), "RBC": int(rng.poisson(crowd)) + 1, "Platelets": min(int(rng.poisson(1.1)), 5)}


def _free(cell: Any, centre: np.ndarray, cells: list[Placed]) -> bool:
    return all(
        np.linalg.norm(centre - other.centre) > max(NEAREST[cell.kind], NEAREST[other.cell.kind]) * (cell.radius + other.cell.radius) for other in cells
    )


def _spot(rng: np.random.Generator, cell: Any, cells: list[Placed], shape: tuple[int, int]) -> np.ndarray:
    """Anywhere, or, for most red cells, beside another red cell, so that they lie in heaps and rows as in a real film."""
    red = [other for other in cells if other.cell.kind == "RBC"]
    if cell.kind == "RBC" and red and rng.random() < 0.55:
        beside, angle = red[int(rng.integers(len(red)))], rng.uniform(0, 2 * np.pi)
        return beside.centre + (cell.radius + beside.cell.radius) * rng.uniform(0.66, 1.05) * np.array([np.sin(angle), np.cos(angle)])
    return rng.uniform(-0.04, 1.04, 2) * np.array(shape)


def scatter(rng: np.random.Generator, stain: Stain, shape: tuple[int, int], crowd: float) -> list[Placed]:
    """Cells at their places, white ones first; a cell that finds no room in `TRIES` tries is left out."""
    cells: list[Placed] = []
    for kind, count in _counts(rng, crowd).items():
        for _ in range(count):
            cell, turn = DRAWN[kind](rng, stain, UNIT * shape[0]), rng.uniform(0, 2 * np.pi)
            for _ in range(TRIES):
                centre = _spot(rng, cell, cells, shape)
                seen = placed(cell, centre, turn, shape) if _free(cell, centre, cells) else None
                if seen is not None:
                    cells.append(seen)
                    break
    return cells


def draw_smear(rng: np.random.Generator, stain: Stain, shape: tuple[int, int], crowd: float, *, empty: bool = False) -> tuple[np.ndarray, list[Placed]]:
    """A picture ``[Y, X, 3]`` uint8 and the cells in it; ``empty`` has debris only."""
    cells = [] if empty else scatter(rng, stain, shape, crowd)
    canvas = np.zeros((*shape, 3))
    for each in cells:
        corner, _, dark = shadow(each.cell, each.centre, each.turn, stain)
        add_shadow(canvas, corner, dark)
    add_debris(rng, canvas, stain, UNIT * shape[0], int(rng.integers(4, 14)))
    return expose_smear(rng, canvas, stain), cells


def make_cells(
    out: Path, seed: int, n: int, *, size: int = 192, layout: Literal["coco", "voc", "yolo", "csv"] = "coco", split: bool = False, negative: float = 0.08,
    shuffle: bool = False,
) -> Truth:  # fmt: skip
    """Colour JPEG pictures with boxes; a patient has one to four pictures of one stain, and the file name begins with the patient.

    Parameters
    ----------
    size: height in pixels; the width is 4/3 of it, and all cells grow with it.
    layout: how the boxes are written: ``coco`` (``annotations/instances_*.json``), ``voc`` (``Annotations``, ``JPEGImages``), ``yolo``
        (``images``, ``labels``, ``data.yaml``) or ``csv`` (``boxes.csv``).
    split: whether the files state train (60 %), val and test, by patient.
    negative: share of the pictures that hold no cell.
    shuffle: every picture has the boxes of another one, so that nothing can be learnt.

    Raises
    ------
    OptionError: an unknown layout, a size too small to tell platelets, a share that is none, or a shuffle of one picture.
    """
    _possible(n, size, layout, negative, shuffle)
    patients = [(f"P{who:04d}", k) for who, count in enumerate(patient_sizes(generator(seed, "cells", "patients"), n, 4)) for k in range(count)]
    parts = _parts(seed, [who for who, _ in patients]) if split else {}
    shape, empty = (size, round(size * 4 / 3)), set(_order(seed, n, "empty")[: round(negative * n)])
    items, pictures = [], []
    for number, (patient, k) in enumerate(patients):
        image, cells = _picture(seed, number, patient, shape, number in empty)
        boxes = tuple((each.cell.kind, each.box) for each in cells)
        pictures.append(Pictured(f"{patient}_{k + 1}.jpg", patient, shape, parts.get(patient), boxes))
        place = place_of(layout, pictures[-1].name, parts.get(patient))
        items.append(Item(jpeg(image, 92), ".jpg", patient, present(boxes), present(boxes), id=place))
    given = _shuffled(seed, pictures) if shuffle else pictures
    for item, picture in zip(items, given, strict=True):
        item.given = present(picture.boxes)
    write_items(out, items)
    write_boxes(out / DATA, layout, given, CLASSES)
    options = {"size": size, "layout": layout, "split": split, "negative": negative, "shuffle": shuffle}
    facts = {"kind": "cells", "seed": seed, "n": n, "options": options, "target": "boxes", "target_kind": "boxes", "classes": CLASSES}
    return truth_of(out, items, facts, planted_boxes(items, pictures) | {"split": {i.id: p.part for i, p in zip(items, pictures, strict=True)}})


def _possible(n: int, size: int, layout: str, negative: float, shuffle: bool) -> None:
    if layout not in LAYOUTS:
        raise OptionError("there is no such layout of a phantom with boxes", expected=" or ".join(LAYOUTS), got=layout)
    if size < LEAST_SIZE:
        raise OptionError("the pictures are too small for platelets", expected=f"size of {LEAST_SIZE} or more", got=size)
    if not 0 <= negative <= 1:
        raise OptionError("the share of pictures without a cell is no share", expected="0 to 1", got=negative)
    if shuffle and n < 2:
        raise OptionError("boxes can only be shuffled between pictures", expected="two pictures or more", got=n)


def _order(seed: int, n: int, what: str) -> list[int]:
    return [int(i) for i in generator(seed, "cells", what).permutation(n)]


def _parts(seed: int, patients: list[str]) -> dict[str, str]:
    """Patient to part: 60 % train, then val and test in halves, one patient each at least where there are three."""
    known = list(dict.fromkeys(patients))
    order, rest = _order(seed, len(known), "parts"), max(1, round(0.2 * len(known)))
    ends = {PARTS[2]: order[:rest], PARTS[1]: order[rest : 2 * rest], PARTS[0]: order[2 * rest :]}
    return {known[i]: part for part, held in ends.items() for i in held}


def _picture(seed: int, number: int, patient: str, shape: tuple[int, int], empty: bool) -> tuple[np.ndarray, list[Placed]]:
    person = generator(seed, "cells", "patient", patient)
    stain, crowd = draw_stain(person), person.uniform(5, 19)
    return draw_smear(generator(seed, "cells", "picture", number), stain, shape, crowd, empty=empty)


def present(boxes: tuple[tuple[str, Any], ...]) -> str:
    """The classes that boxes hold, joined by ``|``."""
    return "|".join(name for name in CLASSES if any(kind == name for kind, _ in boxes))


def _shuffled(seed: int, pictures: list[Pictured]) -> list[Pictured]:
    """Each picture with the boxes of the next one in a drawn order."""
    order = _order(seed, len(pictures), "shuffle")
    after = {i: order[(place + 1) % len(order)] for place, i in enumerate(order)}
    return [Pictured(p.name, p.patient, p.shape, p.part, pictures[after[i]].boxes) for i, p in enumerate(pictures)]


def planted_boxes(items: list[Item], pictures: list[Pictured]) -> dict[str, Any]:
    """``boxes``: image id to ``[{"class", "box": [y0, x0, y1, x1]}]`` as drawn; ``negative``: ids without any."""
    boxes = {item.id: [{"class": name, "box": list(box)} for name, box in p.boxes] for item, p in zip(items, pictures, strict=True)}
    return {"boxes": boxes, "negative": sorted(name for name, held in boxes.items() if not held)}
