"""CT-like volumes of one lung with planted nodules of 3 to 30 mm among branching vessels that look like them in a slice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from vesalius.core.boxes import boxes_mm
from vesalius.core.geometry import Grid
from vesalius.errors import OptionError
from vesalius.phantoms.chest import Chest, Nodule, Space, add_nodule, draw_chest, draw_nodule, expose_chest, grain
from vesalius.phantoms.organs import turned_nifti
from vesalius.phantoms.sheet import Item, patient_sizes, truth_of, write_items, write_table
from vesalius.phantoms.truth import DATA, Truth
from vesalius.phantoms.volumes import affine_ras
from vesalius.seed import generator

CLASSES = ("nodule",)
LAYOUTS = ("centres", "world", "voxels", "masks")
SPACINGS_MM = ((1.25, 1.25, 1.25), (1.5, 1.0, 1.0), (2.0, 1.1, 1.1), (1.0, 1.2, 1.2), (1.4, 1.4, 1.4))
ORIENTATIONS = ("LPS", "RAS", "LAS", "PSR")
LEAST_MM, MOST_MM = 3.0, 30.0
LEAST_EXTENT_MM = 48.0
GAP_MM = 5.0
"""Nodules are at least this far apart, so that the parts of a mask are the nodules."""
TRIES = 60
GROWTH = 0.12
"""By how much a malignant nodule's radius has grown at the second visit."""
EDGES = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")


def plant(rng: np.random.Generator, chest: Chest, bare: np.ndarray, space: Space, count: int, extent_mm: float) -> list[Nodule]:
    """Nodules at free places of the lung, off the large vessels; one that finds no room in `TRIES` tries is left out."""
    found: list[Nodule] = []
    for _ in range(count):
        drawn = draw_nodule(rng, int(rng.random() < 0.5), LEAST_MM, min(MOST_MM / (1 + GROWTH), extent_mm / 4))
        for _ in range(TRIES):
            nodule = replace(drawn, centre=rng.uniform(-0.5, 0.5, 3) * extent_mm)
            if _free(nodule, chest, bare, space, found):
                found.append(nodule)
                break
    return found


def _free(nodule: Nodule, chest: Chest, bare: np.ndarray, space: Space, others: list[Nodule]) -> bool:
    low, high = nodule.box_mm()
    ends = np.array([(axis[0], axis[-1]) for axis in space.axes])
    if (low < ends[:, 0] + 2).any() or (high > ends[:, 1] - 2).any() or chest.depth(nodule.centre) < 0.9 * (high - low).max() / 2:
        return False
    if any(np.linalg.norm(nodule.centre - other.centre) < 1.4 * (nodule.radius + other.radius) + GAP_MM for other in others):
        return False
    cut, points = space.window(low, high)
    held = bare[cut][nodule.depth(points) > 0]
    return bool(held.size and (held > -500).mean() < 0.25)


def make_nodules(
    out: Path, seed: int, n: int, *, extent_mm: float = 128, layout: Literal["centres", "world", "voxels", "masks"] = "world", negative: float = 0.2,
    turned: float = 0.25, shuffle: bool = False,
) -> Truth:  # fmt: skip
    """NIfTI volumes; patients have one or two, and in the second the malignant nodules have grown.

    Parameters
    ----------
    extent_mm: edge of the part of the body that is seen; the spacing differs from patient to patient (64 to 128 voxels an axis by default).
    layout: ``nodules.csv`` with a row a nodule and an empty row for a volume without any: ``centres`` (``coordX``, ``coordY``, ``coordZ`` and
        ``diameter_mm`` in LPS mm, as LUNA16 has them), ``world`` (box in LPS mm, ``xmin_mm`` ...), ``voxels`` (box in samples as stored,
        ``xmin`` ...); or ``masks`` (``images`` and ``masks``, 1 for nodule; these do not say which is malignant).
    negative: share of the patients without a nodule. turned: share of volumes that are stored along other axes.
    shuffle: every volume has the nodules of another patient.

    Raises
    ------
    OptionError: an unknown layout, an extent too small, a share that is none, or a shuffle with one patient.
    """
    _possible(extent_mm, layout, negative)
    people = [(f"P{who:04d}", k) for who, count in enumerate(patient_sizes(generator(seed, "nodules", "visits"), n, 2)) for k in range(count)]
    patients = list(dict.fromkeys(who for who, _ in people))
    if shuffle and len(patients) < 2:
        raise OptionError("nodules can only be shuffled between patients", expected="two patients or more", got=len(patients), do="ask for more volumes")
    order = [patients[int(i)] for i in generator(seed, "nodules", "negative").permutation(len(patients))]
    empty = set(order[: round(negative * len(patients))])
    images, masks = zip(*(_case(seed, patient, visit, extent_mm, patient in empty, turned) for patient, visit in people), strict=True)
    given = {image.id: _other(images, order, image) if shuffle else image for image in images}
    for image in images:
        image.given = given[image.id].true
    _write(out, layout, list(images), list(masks), given)
    options = {"extent_mm": extent_mm, "layout": layout, "negative": negative, "turned": turned, "shuffle": shuffle}
    facts = {"kind": "nodules", "seed": seed, "n": n, "options": options, "target": "boxes", "target_kind": "boxes", "classes": CLASSES}
    return truth_of(out, list(images), facts, _planted(list(images), list(masks), layout))


def _possible(extent_mm: float, layout: str, negative: float) -> None:
    if layout not in LAYOUTS:
        raise OptionError("there is no such layout of a phantom with nodules", expected=" or ".join(LAYOUTS), got=layout)
    if extent_mm < LEAST_EXTENT_MM:
        raise OptionError("the volumes are too small for nodules", expected=f"extent_mm of {LEAST_EXTENT_MM:g} or more", got=extent_mm)
    if not 0 <= negative <= 1:
        raise OptionError("the share of patients without a nodule is no share", expected="0 to 1", got=negative)


def _case(seed: int, patient: str, visit: int, extent_mm: float, empty: bool, turned: float) -> tuple[Item, Item]:
    """One volume and its mask."""
    person, rng = generator(seed, "nodules", "patient", patient), generator(seed, "nodules", "visit", patient, visit)
    spacing = SPACINGS_MM[int(person.integers(len(SPACINGS_MM)))]
    shape = tuple(round(extent_mm / step) for step in spacing)
    space, chest = Space.of(shape, spacing), draw_chest(person, extent_mm)
    volume = expose_chest(chest, space, generator(seed, "nodules", "texture", patient))
    nodules = [] if empty else plant(generator(seed, "nodules", "planted", patient), chest, volume, space, int(person.choice([1, 2, 3, 4])), extent_mm)
    grown = [replace(each, radius=each.radius * (1 + visit * each.malignant * GROWTH)) for each in nodules]
    labels = np.zeros(shape, np.uint8)
    for nodule in grown:
        add_nodule(volume, space, nodule)
        _mark(labels, space, nodule)
    volume += grain(rng, shape, chest.noise)
    affine = affine_ras(shape, spacing, False)
    affine[:3, 3] += rng.uniform(-60, 60, 3).round(1)
    axes = str(rng.choice(ORIENTATIONS[1:])) if rng.random() < turned else ORIENTATIONS[0]
    content, grid = turned_nifti(volume.clip(-1024, 3000).round(), affine, axes, np.int16), _grid(shape, spacing, affine, axes)
    facts = {"nodules": [_facts(each, space, affine, grid) for each in grown], "spacing_mm": list(grid.spacing_mm), "axes": axes}
    label, name = ("nodule" if grown else ""), f"{patient}_{visit + 1}.nii.gz"
    image = Item(content, ".nii.gz", patient, label, label, {}, facts, f"images/{name}")
    return image, Item(turned_nifti(labels, affine, axes, np.uint8), ".nii.gz", patient, None, None, id=f"masks/{name}")


def _mark(labels: np.ndarray, space: Space, nodule: Nodule) -> None:
    low, high = nodule.box_mm()
    cut, points = space.window(low - 1, high + 1)
    labels[cut][nodule.depth(points) > 0] = 1


def _grid(shape: tuple[int, ...], spacing_mm: tuple[float, ...], affine_ras_: np.ndarray, axes: str) -> Grid:
    """Where the samples lie as they are stored, in LPS mm."""
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine_ras_), nib.orientations.axcodes2ornt(axes))
    stored = affine_ras_ @ nib.orientations.inv_ornt_aff(turn, shape[::-1])
    sizes = [shape[::-1][int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3)]
    steps = np.linalg.norm(stored[:3, :3], axis=0)
    return Grid(tuple(sizes[::-1]), tuple(float(v) for v in steps[::-1]), np.diag([-1.0, -1.0, 1.0, 1.0]) @ stored)


def _facts(nodule: Nodule, space: Space, affine: np.ndarray, grid: Grid) -> dict[str, Any]:
    """What is true of a nodule: box in samples as stored and in LPS mm, centre and mean diameter of the box, and whether it is malignant."""
    corners = np.stack(nodule.box_mm())
    index = np.stack([np.interp(corners[:, k], axis, np.arange(len(axis))) for k, axis in enumerate(space.axes)], -1)
    lps = (affine @ np.concatenate([index[:, ::-1], np.ones((2, 1))], -1).T).T[:, :3] * np.array([-1.0, -1.0, 1.0])
    stored = grid.index(lps) + 0.5
    box = [*stored.min(0), *stored.max(0)]
    world = boxes_mm(np.array([box]), grid)[0]
    low, high = world.min(0), world.max(0)
    return {
        "class": CLASSES[0], "box": [round(float(v), 4) for v in box], "low_lps_mm": [round(float(v), 4) for v in low],
        "high_lps_mm": [round(float(v), 4) for v in high], "centre_lps_mm": [round(float(v), 4) for v in (low + high) / 2],
        "diameter_mm": round(float((high - low).mean()), 4), "malignant": nodule.malignant,
    }  # fmt: skip


def _other(images: tuple[Item, ...], order: list[str], image: Item) -> Item:
    """A volume of the next patient in a drawn order."""
    after = order[(order.index(image.patient) + 1) % len(order)]
    return next(other for other in images if other.patient == after)


def _write(out: Path, layout: str, images: list[Item], masks: list[Item], given: dict[str, Item]) -> None:
    write_items(out, images)
    if layout == "masks":
        mask_of = {image.id: mask for image, mask in zip(images, masks, strict=True)}
        write_items(out, [replace(mask_of[given[image.id].id], id=mask_of[image.id].id) for image in images])
        return
    rows = []
    for image in images:
        facts = {"image": image.id, "patient": image.patient}
        rows += [facts | _row(layout, nodule) for nodule in given[image.id].planted["nodules"]] or [facts | _row(layout, None)]
    write_table(out / DATA / "nodules.csv", rows)


def _row(layout: str, nodule: dict[str, Any] | None) -> dict[str, Any]:
    """The cells of one nodule, or empty ones."""
    names: tuple[str, ...]
    if layout == "centres":
        names, values = ("coordX", "coordY", "coordZ", "diameter_mm"), [*nodule["centre_lps_mm"], nodule["diameter_mm"]] if nodule else []
    elif layout == "world":
        names, values = tuple(f"{edge}_mm" for edge in EDGES), [*nodule["low_lps_mm"], *nodule["high_lps_mm"]] if nodule else []
    else:
        names, values = EDGES, [*nodule["box"][2::-1], *nodule["box"][:2:-1]] if nodule else []
    told = dict(zip(names, values, strict=True)) if nodule else dict.fromkeys(names, "")
    return {"class": CLASSES[0] if nodule else "", **told, "malignant": nodule["malignant"] if nodule else ""}


def _planted(images: list[Item], masks: list[Item], layout: str) -> dict[str, Any]:
    nodules = {image.id: image.planted["nodules"] for image in images}
    boxes = {name: [{"class": each["class"], "box": each["box"], "malignant": each["malignant"]} for each in held] for name, held in nodules.items()}
    return {
        "nodules": nodules, "boxes": boxes, "negative": sorted(name for name, held in nodules.items() if not held),
        **{name: {image.id: image.planted[name] for image in images} for name in ("spacing_mm", "axes")},
        **({"masks": {image.id: mask.id for image, mask in zip(images, masks, strict=True)}} if layout == "masks" else {}),
    }  # fmt: skip
