"""Images on their way to disk, and the table beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vesalius.phantoms.truth import DATA, Truth


@dataclass(eq=False)
class Item:
    """One image before it has a name: its bytes, whose it is, and what is true and what is said of it."""

    content: bytes
    suffix: str
    patient: str
    true: Any
    given: Any
    columns: dict[str, Any] = field(default_factory=dict)
    planted: dict[str, Any] = field(default_factory=dict)
    id: str = ""


def png(image: np.ndarray) -> bytes:
    """``[Y, X]`` or ``[Y, X, 3]`` uint8 as a PNG file."""
    store = io.BytesIO()
    Image.fromarray(image).save(store, "PNG")
    return store.getvalue()


def jpeg(image: np.ndarray, quality: int) -> bytes:
    """The same as a JPEG file of that quality."""
    store = io.BytesIO()
    Image.fromarray(image).save(store, "JPEG", quality=quality)
    return store.getvalue()


def write_items(out: Path, items: Iterable[Item]) -> None:
    """Write every image under ``OUT/data`` at its id."""
    for item in items:
        path = out / DATA / item.id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.content)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A CSV with the union of the rows' columns, in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def truth_of(out: Path, items: list[Item], facts: Mapping[str, Any], planted: Mapping[str, Any]) -> Truth:
    """The record of items that are on disk."""
    return Truth(
        **facts,
        data=str(out / DATA),
        true_label={item.id: item.true for item in items},
        given_label={item.id: item.given for item in items},
        patient={item.id: item.patient for item in items},
        planted=dict(planted),
    )


def shuffle_labels(items: list[Item], rng: np.random.Generator) -> None:
    """Deal the given labels out anew, patient by patient, so that images say nothing of them and counts stay alike."""
    patients = list(dict.fromkeys(item.patient for item in items))
    first = {item.patient: item.given for item in reversed(items)}
    dealt = dict(zip(patients, [first[patients[i]] for i in rng.permutation(len(patients))], strict=True))
    for item in items:
        item.given = dealt[item.patient]


def draw_age(rng: np.random.Generator, mean: float, spread: float) -> int:
    """Years, between 18 and 95."""
    return int(np.clip(rng.normal(mean, spread), 18, 95))


def patient_sizes(rng: np.random.Generator, n: int, most: int) -> list[int]:
    """How many images each patient has: 1 to ``most``, adding up to ``n``."""
    sizes: list[int] = []
    while sum(sizes) < n:
        sizes.append(min(int(rng.integers(1, most + 1)), n - sum(sizes)))
    return sizes
