"""Small CT volumes of lung: vessels everywhere, and in half of them a nodule of known volume."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from vesalius.phantoms.sheet import Item, shuffle_labels, truth_of, write_items, write_table
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

CLASSES = ("normal", "nodule")
AIR_HU, LUNG_HU, TISSUE_HU, VESSEL_HU = -1000, -860, 40, 30
SPACINGS_MM = ((1.5, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 0.9, 0.9))


def points_mm(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Centre of every voxel in mm, ``[Z, Y, X, 3]`` in array order (z, y, x), from the middle of the volume."""
    axes = [(np.arange(length) - (length - 1) / 2) * step for length, step in zip(shape, spacing_mm, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def _tube(points: np.ndarray, start: np.ndarray, direction: np.ndarray, radius: float) -> np.ndarray:
    """Share of each voxel about a straight vessel, softened over 1 mm."""
    along = direction / np.linalg.norm(direction)
    offset = points - start
    distance = np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1)
    return (0.5 + (radius - distance)).clip(0, 1)


def lung_patch(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Lung with vessels that cross it and, in most, the chest wall on one side; HU ``[Z, Y, X]`` float64."""
    points = points_mm(shape, spacing_mm)
    volume = np.full(shape, float(LUNG_HU))
    for _ in range(rng.integers(8, 14)):
        share = _tube(points, rng.uniform(-16, 16, 3), rng.normal(size=3), rng.uniform(0.7, 2.0))
        volume += share * (VESSEL_HU - volume)
    if rng.random() < 0.6:
        outward = np.array([rng.uniform(-0.2, 0.2), rng.choice([-1.0, 1.0]), rng.uniform(-0.4, 0.4)])
        depth = points @ (outward / np.linalg.norm(outward)) - rng.uniform(13, 18)
        volume += (0.5 + depth).clip(0, 1) * (TISSUE_HU - volume)
        volume += (0.5 - np.abs(depth - 4)).clip(0, 1) * 0.7 * 600
    return volume


def add_nodule(volume: np.ndarray, spacing_mm: tuple[float, ...], centre_mm: np.ndarray, radius_mm: float) -> None:
    """Put a ball of tissue into the volume, in place; voxels on its rim hold their share."""
    distance = np.linalg.norm(points_mm(volume.shape, spacing_mm) - centre_mm, axis=-1)
    volume += (0.5 + (radius_mm - distance)).clip(0, 1) * (TISSUE_HU - volume).clip(0)


def affine_ras(shape: tuple[int, ...], spacing_mm: tuple[float, ...], flipped: bool) -> np.ndarray:
    """Index (x, y, z) to RAS mm: the array runs to the patient's left, back and head; ``flipped`` turns x to the right."""
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    affine[:3, 3] = [spacing_mm[2] * (shape[2] - 1) / 2, spacing_mm[1] * (shape[1] - 1) / 2, -spacing_mm[0] * (shape[0] - 1) / 2]
    if flipped:
        affine[0] = -affine[0]
    return affine


def nifti(volume: np.ndarray, affine: np.ndarray) -> bytes:
    """HU ``[Z, Y, X]`` as a compressed NIfTI-1 file of int16; the same volume gives the same bytes."""
    image = nib.Nifti1Image(volume.round().astype(np.int16).transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm", "sec")
    return gzip.compress(image.to_bytes(), 6, mtime=0)


def make_volumes(out: Path, seed: int, n: int, *, size: int = 36, flipped: float = 0.3, shuffle: bool = False) -> Truth:
    """NIfTI volumes and ``table.csv``; a nodule of 4 to 8 mm radius in half of them.

    Parameters
    ----------
    size: voxels along each axis; the spacing differs from patient to patient.
    flipped: share of volumes that are stored from left to right (the affine says so).
    shuffle: deals the labels out anew.
    """
    items, nodules = [], {}
    for number in range(n):
        item, nodule = _volume(seed, number, size, flipped)
        items.append(item)
        if nodule:
            nodules[item.id] = nodule
    if shuffle:
        shuffle_labels(items, generator(seed, "shuffle"))
    write_items(out, items)
    write_table(out / DATA / "table.csv", [{"image": i.id, "patient": i.patient, **i.columns, "label": i.given} for i in items])
    facts = {"kind": "volumes", "seed": seed, "n": n, "options": {"size": size, "flipped": flipped, "shuffle": shuffle}}
    planted = {"nodules": nodules, "flipped": [i.id for i in items if i.planted["flipped"]], "spacing_mm": {i.id: i.planted["spacing_mm"] for i in items}}
    return truth_of(out, items, facts | {"target": "label", "target_kind": "binary", "classes": CLASSES}, planted)


def _volume(seed: int, number: int, size: int, flipped: float) -> tuple[Item, dict[str, Any]]:
    rng = generator(seed, "volumes", number)
    label, shape = CLASSES[number % 2], (size,) * 3
    spacing = SPACINGS_MM[int(rng.integers(len(SPACINGS_MM)))]
    volume = lung_patch(rng, shape, spacing)
    nodule: dict[str, Any] = {}
    if label == "nodule":
        centre, radius = rng.uniform(-7, 7, 3), float(rng.uniform(4, 8))
        add_nodule(volume, spacing, centre, radius)
        nodule = {"mm3": 4 / 3 * np.pi * radius**3, "radius_mm": radius}
    volume += rng.normal(0, 25, shape)
    turn = bool(rng.random() < flipped)
    affine = affine_ras(shape, spacing, turn)
    if nodule:
        nodule["centre_lps_mm"] = _centre_lps(affine, shape, spacing, centre)
    columns = {"sex": str(rng.choice(["F", "M"])), "age": int(rng.integers(30, 85))}
    content = nifti(volume, affine)
    planted = {"flipped": turn, "spacing_mm": list(spacing)}
    return Item(content, ".nii.gz", f"V{number:04d}", label, label, columns, planted, f"images/volume_{number:04d}.nii.gz"), nodule


def _centre_lps(affine: np.ndarray, shape: tuple[int, ...], spacing_mm: tuple[float, ...], centre_mm: np.ndarray) -> list[float]:
    index_zyx = centre_mm / np.array(spacing_mm) + (np.array(shape) - 1) / 2
    ras = affine @ np.array([*index_zyx[::-1], 1.0])
    return [float(-ras[0]), float(-ras[1]), float(ras[2])]
