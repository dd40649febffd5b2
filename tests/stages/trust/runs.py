"""Finished runs of which only what a test of trust looks at is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.cohort import Case, Source
from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.stages.run import RunFolder
from vesalius.stages.trust.base import Trust

BINARY = TargetSpec("binary", ("normal", "ill"))


class PlainMapping:
    """A mapping of which only the reads are looked at."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.reads = Reads(size)


def blobs(labels: np.ndarray, patients: np.ndarray, seed: int = 0, side: int = 32, disease: float = 60.0) -> np.ndarray:
    """Pictures ``[N, 1, Y, X]`` uint8: every patient has a texture of its own, the ill a bright spot in the middle."""
    rng, y, x = np.random.default_rng(seed), *np.mgrid[0:side, 0:side]
    own = {who: np.kron(rng.normal(0, 18, (side // 4, side // 4)), np.ones((4, 4))) for who in np.unique(patients)}
    spot = np.exp(-((y - side / 2) ** 2 + (x - side / 2) ** 2) / 12)
    made = [90 + own[who] + disease * spot * bool(label) + rng.normal(0, 4, (side, side)) for who, label in zip(patients, labels, strict=True)]
    return np.stack(made).clip(0, 255).astype(np.uint8)[:, None]


def finished(folder: Path, labels: Any, patients: Any, images: np.ndarray | None, target: TargetSpec = BINARY, **columns: Any) -> Trust:
    """A finished run; of every five patients three train, one is in validation and one in the test."""
    n, who = len(labels), np.asarray(patients, str)
    ids = [f"image_{i:04d}.png" for i in range(n)]
    place = np.unique(who, return_inverse=True)[1] % 5
    split = np.array(["train", "train", "train", "validation", "test"])[place]
    known = {"id": ids, "path": ids, "hash": "0", "patient": who, "label": labels, "split": split, "duplicate_cluster": -1}
    frame = pd.DataFrame(known | columns)
    cases = {name: Case(name, Source("raster", str(folder / name)), owner) for name, owner in zip(ids, who.tolist(), strict=True)}
    size = (32, 32) if images is None else images.shape[2:]
    return Trust(RunFolder(folder), PlainMapping(size), frame, images, pd.DataFrame(), target, cases)  # type: ignore[arg-type]
