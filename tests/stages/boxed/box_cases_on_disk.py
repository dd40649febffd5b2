"""A few pictures and volumes on disk with bright blocks, and their boxes as a file would state them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from vesalius.core.cohort import Case, MarkedBox, Source
from vesalius.core.target import TargetSpec

TARGET = TargetSpec("boxes", ("dot", "block"), risk="bad")
FLAT: tuple[tuple[str, tuple[int, ...]], ...] = (("dot", (4, 6, 10, 12)), ("block", (20, 30, 36, 50)))
DEEP: tuple[tuple[str, tuple[int, ...]], ...] = (("dot", (2, 4, 6, 5, 8, 12)), ("block", (8, 10, 12, 14, 18, 26)))


def marked(boxes: tuple[tuple[str, tuple[int, ...]], ...], ignored: tuple[bool, ...] = (False, False)) -> tuple[MarkedBox, ...]:
    made = []
    for (name, box), spared in zip(boxes, ignored, strict=True):
        d = len(box) // 2
        made.append(MarkedBox(name, tuple(map(float, box[:d])), tuple(map(float, box[d:])), ignored=spared, facts={"bad": int(name == "block")}))
    return tuple(made)


def pictures(folder: Path, n: int = 4, **options: tuple[bool, ...]) -> list[Case]:
    """Pictures of 48 x 64; the last one has nothing."""
    made = []
    for i in range(n):
        image = np.random.default_rng(i).integers(0, 40, (48, 64)).astype(np.uint8)
        for _, (a, b, c, e) in FLAT if i < n - 1 else ():
            image[a:c, b:e] = 220
        Image.fromarray(image).save(folder / f"i{i}.png")
        made.append(Case(f"i{i}.png", Source("raster", str(folder / f"i{i}.png")), f"p{i}", boxes=marked(FLAT, **options) if i < n - 1 else ()))
    return made


def volumes(folder: Path, n: int = 3) -> list[Case]:
    """Volumes of 16 x 20 x 30 samples of 2 x 1 x 1 mm, stored from right to left."""
    made = []
    for i in range(n):
        image = np.random.default_rng(i).normal(0, 5, (16, 20, 30))
        for _, box in DEEP:
            image[tuple(slice(*ends) for ends in zip(box[:3], box[3:], strict=True))] += 200
        path = folder / f"v{i}.nii.gz"
        nib.Nifti1Image(image.transpose(2, 1, 0).astype(np.int16), np.diag([1.0, -1.0, 2.0, 1.0])).to_filename(path)
        made.append(Case(f"v{i}.nii.gz", Source("nifti", str(path)), f"p{i}", boxes=marked(DEEP)))
    return made


def frame_of(cases: list[Case], *splits: str) -> pd.DataFrame:
    given = splits or ("train",) * len(cases)
    rows = [{"id": case.id, "path": case.id, "patient": case.patient, "split": split} for case, split in zip(cases, given, strict=True)]
    return pd.DataFrame(rows)
