"""Small MR-like volumes of an organ with a head and a tail of known volume, among decoys as bright as they are."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from vesalius.errors import OptionError
from vesalius.phantoms.flaws import UNKNOWN_LABEL, Flaws, deal_flaws
from vesalius.phantoms.sheet import Item, patient_sizes, truth_of, write_items
from vesalius.phantoms.truth import DATA, Truth
from vesalius.phantoms.volumes import affine_ras, points_mm
from vesalius.seed import generator

CLASSES = ("head", "tail")
LAYOUTS = {"msd": ("imagesTr", "labelsTr"), "paired": ("images", "masks")}
SPACINGS_MM = ((1.0, 1.0, 1.0), (1.6, 0.9, 0.9), (1.25, 1.0, 1.0), (1.0, 0.9, 1.15))
ORIENTATIONS = ("LPS", "RAS", "LAS", "PSR", "SRP")
TISSUE, ORGAN, FLUID = 0.42, 0.66, 0.12
SPREAD = 4
"""Voxels by which each axis may be longer or shorter than was asked for."""


@dataclass(frozen=True)
class Organ:
    """The anatomy of one patient in mm (z, y, x) from the middle of the volume."""

    centre: np.ndarray
    turn: np.ndarray
    radii: np.ndarray
    tail: tuple[np.ndarray, np.ndarray]
    decoys: tuple[tuple[np.ndarray, np.ndarray], ...]


def draw_organ(rng: np.random.Generator) -> Organ:
    """An ellipsoid about the middle, a tapering tail behind it, and decoys: lone heads, which lie by no fluid and have no tail."""
    angles = rng.normal(0, 0.18, 3)
    path = np.array([[0.0, 2.0, 0.0], [rng.uniform(0, 3), 9.0, rng.uniform(-3, 3)], [rng.uniform(1, 5), 15.5, rng.uniform(-4, 4)]])
    t = np.linspace(0, 1, 14)[:, None]
    bow = (1 - t) ** 2 * path[0] + 2 * t * (1 - t) * path[1] + t**2 * path[2]
    widths = rng.uniform(2.9, 3.9) * (1 - 0.45 * t[:, 0])
    decoys = tuple((_aside(rng), rng.uniform(3.0, 4.8, 3)) for _ in range(6))
    radii = np.array([rng.uniform(4.2, 5.8), rng.uniform(5.8, 7.6), rng.uniform(4.6, 6.4)])
    return Organ(np.array([0.0, -5.0, 0.0]) + rng.uniform(-3, 3, 3), _rotation(angles), radii, (bow, widths), decoys)


def _aside(rng: np.random.Generator) -> np.ndarray:
    """A place near the border of the volume."""
    place = rng.uniform(-15, 15, 3)
    place[int(rng.integers(2)) * 2] = rng.choice([-1.0, 1.0]) * rng.uniform(14, 17)
    return place


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cz, cy, cx), (sz, sy, sx) = np.cos(angles), np.sin(angles)
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _ellipsoid(offset: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """About the depth below the surface in mm (negative outside), ``[...]`` of offsets ``[..., 3]``."""
    return np.asarray((1 - np.linalg.norm(offset / radii, axis=-1)) * radii.mean())


def depths(organ: Organ, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth in mm inside the head and inside the tail of each point ``[..., 3]``; where both are positive it is head."""
    inside = (points - organ.centre) @ organ.turn
    tail = np.full(points.shape[:-1], -np.inf)
    for place, width in zip(*organ.tail, strict=True):
        np.maximum(tail, width - np.linalg.norm(inside - place, axis=-1), out=tail)
    return _ellipsoid(inside, organ.radii), tail


def label_map(organ: Organ, points: np.ndarray) -> np.ndarray:
    """0 background, 1 head, 2 tail: uint8 ``[Z, Y, X]``."""
    head, tail = depths(organ, points)
    return np.where(head > 0, 1, np.where(tail > 0, 2, 0)).astype(np.uint8)


def expose_organ(organ: Organ, points: np.ndarray, rng: np.random.Generator, present: bool = True) -> np.ndarray:
    """An MR-like volume in arbitrary units, float64 ``[Z, Y, X]``: partial volume, bias field, noise, and a scale of its own."""
    volume = TISSUE + 0.05 * np.sin(points @ rng.normal(0, 0.45, 3) + rng.uniform(0, 6)) * np.sin(points @ rng.normal(0, 0.45, 3))
    head, tail = depths(organ, points)
    if present:
        lid = (1.6 - np.abs(head + 2.6)).clip(0, 1) * ((points - organ.centre)[..., 0] < 0)
        volume += lid * (FLUID - volume)
        volume += (0.5 + np.maximum(head, tail)).clip(0, 1) * (ORGAN - volume)
    for centre, radii in organ.decoys:
        away = np.maximum(head, tail) < -3.5 if present else True
        volume += (0.5 + _ellipsoid(points - centre, radii)).clip(0, 1) * away * (ORGAN - volume)
    unit = points / np.abs(points).max()
    bias = np.exp(unit @ rng.normal(0, 0.16, 3) + (unit**2) @ rng.normal(0, 0.12, 3))
    return np.asarray((volume * bias + rng.normal(0, rng.uniform(0.02, 0.045), volume.shape)).clip(0) * rng.uniform(150, 1600))


def turned_nifti(array: np.ndarray, affine: np.ndarray, axes: str, dtype: type[np.generic]) -> bytes:
    """``[Z, Y, X]`` as a compressed NIfTI-1 file whose index axes point to ``axes`` (RAS letters: where they grow)."""
    image = nib.Nifti1Image(array.astype(dtype).transpose(2, 1, 0), affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)))
    turned.header.set_xyzt_units("mm", "sec")
    return gzip.compress(turned.to_bytes(), 6, mtime=0)


def make_organs(
    out: Path, seed: int, n: int, *, size: int = 44, layout: Literal["msd", "paired"] = "msd", turned: float = 0.4, empty: int = 0, other_grid: int = 0,
    unknown_label: int = 0, swapped: int = 0, shuffle: bool = False,
) -> Truth:  # fmt: skip
    """NIfTI volumes with label maps; patients have one or two visits, and the file name begins with the patient.

    Parameters
    ----------
    size: voxels along each axis, give or take `SPREAD`; the spacing differs from patient to patient.
    layout: ``msd`` (``imagesTr``, ``labelsTr`` and ``dataset.json``) or ``paired`` (``images`` and ``masks``).
    turned: share of volumes that are stored along other axes (the affine says so, also of the mask).
    empty, other_grid, unknown_label, swapped: how many masks have that flaw; see `Flaws`.
    shuffle: every mask shows another patient's organ.

    Raises
    ------
    OptionError: an unknown layout, a size too small to hold the organ, or impossible flaws.
    """
    if layout not in LAYOUTS:
        raise OptionError("there is no such layout of a phantom with masks", expected=" or ".join(LAYOUTS), got=layout)
    if size < 40:
        raise OptionError("the volumes are too small for the organ", expected="size of 40 or more", got=size)
    visits = [(f"M{who:04d}", visit) for who, count in enumerate(patient_sizes(generator(seed, "organs", "visits"), n, 2)) for visit in range(count)]
    flaws = deal_flaws(
        seed, [who for who, _ in visits], empty=empty, other_grid=other_grid, unknown_label=unknown_label, swapped=swapped, shuffle=shuffle,
    )  # fmt: skip
    images, masks = zip(*(_case(seed, number, visits, flaws, size, layout, turned) for number in range(n)), strict=True)
    write_items(out, [*images, *masks])
    if layout == "msd":
        _write_dataset(out / DATA / "dataset.json", list(zip(images, masks, strict=True)))
    options = {"size": size, "layout": layout, "turned": turned, "empty": empty, "other_grid": other_grid, "unknown_label": unknown_label}
    facts = {"kind": "organs", "seed": seed, "n": n, "options": options | {"swapped": swapped, "shuffle": shuffle}}
    facts |= {"target": "mask", "target_kind": "mask", "classes": CLASSES}
    return truth_of(out, list(images), facts, _planted(list(images), list(masks), flaws))


def _case(seed: int, number: int, visits: list[tuple[str, int]], flaws: Flaws, size: int, layout: str, turned: float) -> tuple[Item, Item]:
    """The image and its mask; a second visit shows the same organ in another pose, one to six per cent smaller."""
    patient, visit = visits[number]
    rng, person = generator(seed, "organs", "visit", number), generator(seed, "organs", "patient", patient)
    spacing = SPACINGS_MM[int(person.integers(len(SPACINGS_MM)))]
    shape = (size + int(rng.integers(-SPREAD, 1)), size + int(rng.integers(0, SPREAD + 1)), size + int(rng.integers(-SPREAD, SPREAD + 1)))
    points, affine = points_mm(shape, spacing), affine_ras(shape, spacing, False)
    axes = str(rng.choice(ORIENTATIONS[1:])) if rng.random() < turned else ORIENTATIONS[0]
    present = number not in flaws.empty
    volume = expose_organ(_seen(seed, visits, number), points, rng, present)
    true = label_map(_seen(seed, visits, number), points) * np.uint8(present)
    given = true if flaws.shown(number) == number else label_map(_seen(seed, visits, flaws.shown(number)), points)
    name, (image_folder, mask_folder) = f"{patient}_{visit + 1}.nii.gz", LAYOUTS[layout]
    sizes = {label: float((true == k).sum() * np.prod(spacing)) for k, label in enumerate(CLASSES, 1)}
    facts = {"volumes_mm3": sizes, "spacing_mm": list(spacing), "axes": axes}
    content = turned_nifti(volume.round(), affine, axes, np.int16)
    image = Item(content, ".nii.gz", patient, present_in(true), present_in(given), {}, facts, f"{image_folder}/{name}")
    return image, Item(_flawed(given, affine, axes, number, flaws), ".nii.gz", patient, None, None, id=f"{mask_folder}/{name}")


def _seen(seed: int, visits: list[tuple[str, int]], number: int) -> Organ:
    """The organ of a case as it lies in its own visit."""
    patient, visit = visits[number]
    organ, rng = draw_organ(generator(seed, "organs", "organ", patient)), generator(seed, "organs", "pose", number)
    shrunk = 1 - visit * rng.uniform(0.01, 0.06)
    turn = organ.turn @ _rotation(rng.normal(0, 0.06, 3))
    return Organ(organ.centre + rng.normal(0, 0.7, 3), turn, organ.radii * shrunk, (organ.tail[0], organ.tail[1] * shrunk), organ.decoys)


def present_in(labels: np.ndarray) -> str:
    """The classes that a label map holds, joined by ``|``."""
    return "|".join(name for k, name in enumerate(CLASSES, 1) if (labels == k).any())


def _flawed(labels: np.ndarray, affine: np.ndarray, axes: str, number: int, flaws: Flaws) -> bytes:
    if number in flaws.other_grid:
        labels = labels[2:, :, 3:]
    if number in flaws.unknown_label:
        labels = labels.copy()
        labels[4:6, 5:9, 5:9] = UNKNOWN_LABEL
    return turned_nifti(labels, affine, axes, np.uint8)


def _write_dataset(path: Path, pairs: list[tuple[Item, Item]]) -> None:
    labels = {"0": "background"} | {str(k): name for k, name in enumerate(CLASSES, 1)}
    facts = {"name": "organs", "description": "a phantom: drawn, not taken of anyone", "tensorImageSize": "3D", "modality": {"0": "MRI"}, "labels": labels}
    training = [{"image": f"./{image.id}", "label": f"./{mask.id}"} for image, mask in pairs]
    path.write_text(json.dumps(facts | {"numTraining": len(pairs), "numTest": 0, "training": training, "test": []}, indent=1), "utf-8")


def _planted(images: list[Item], masks: list[Item], flaws: Flaws) -> dict[str, Any]:
    ids = [image.id for image in images]
    return {
        **{name: {image.id: image.planted[name] for image in images} for name in ("volumes_mm3", "spacing_mm", "axes")},
        "masks": {image.id: mask.id for image, mask in zip(images, masks, strict=True)}, **flaws_by_id(flaws, ids),
    }  # fmt: skip


def flaws_by_id(flaws: Flaws, ids: list[str]) -> dict[str, Any]:
    """The flawed cases by id: lists, and for ``swapped`` the case whose structures the mask shows."""
    listed = {name: sorted(ids[i] for i in getattr(flaws, name)) for name in ("empty", "other_grid", "unknown_label")}
    return listed | {"swapped": {ids[i]: ids[other] for i, other in sorted(flaws.swapped.items())}}
