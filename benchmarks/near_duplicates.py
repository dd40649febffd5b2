"""Does `check` find planted near duplicates, and does it leave strangers alone?

    python benchmarks/near_duplicates.py [NPZ] [--films 9000] [--copies 100] [--seed 0] [--json FILE]

FILMS generated pictures of five sizes (28 to 512 px) and three kinds that resemble one another strongly (chest films of one view, fundus
photographs of one round field of view, smears of cells) are written as PNG; with an NPZ of the MedMNIST kind half of them are its own films, each
once. COPIES of different films are planted for each change, one copy a film. The whole `check` is timed (reading included). Sensitivity
is counted per change and per size with its 95 % Wilson interval; a false pair is one whose two images come from different films.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from vesalius.kernels.stats import wilson
from vesalius.phantoms.anatomy import Findings, draw_person
from vesalius.phantoms.films import plain_film
from vesalius.phantoms.vessels import coverage, draw_tree, expose_fundus, field_of_view
from vesalius.seed import generator
from vesalius.stages.check import check

SIZES = (28, 64, 128, 256, 512)
DRAWN = 96
"""Side at which a picture is drawn; larger ones are enlarged and have a grain of their own."""

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def chest(rng: np.random.Generator) -> np.ndarray:
    return plain_film(rng, draw_person(rng), Findings(), DRAWN)


def fundus(rng: np.random.Generator) -> np.ndarray:
    disc, branches = draw_tree(rng)
    return expose_fundus(rng, disc, coverage(branches, DRAWN), field_of_view(DRAWN))[..., 1]


def cells(rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((DRAWN, DRAWN))
    canvas[rng.integers(0, DRAWN, 60), rng.integers(0, DRAWN, 60)] = rng.uniform(0.6, 1, 60)
    blobs = gaussian_filter(canvas, 3.0, mode="wrap")
    return to_bytes(210 - 150 * np.minimum(blobs / 0.016, 1) + rng.normal(0, 2, canvas.shape))


KINDS = {"chest": chest, "fundus": fundus, "cells": cells}


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).round().astype(np.uint8)


def sized(film: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The film at that size, with some grain where it was enlarged."""
    if film.shape == (size, size):
        return film
    made = np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return to_bytes(made + (rng.normal(0, 2, made.shape) if size > len(film) else 0))


def jpeg(film: np.ndarray, quality: int = 70) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(film).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def gained(film: np.ndarray, gain: float) -> np.ndarray:
    return to_bytes(film.astype(np.float32) * gain)


def cropped(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = (max(1, round(0.05 * n)) for n in film.shape)
    top, left = int(rng.integers(0, y + 1)), int(rng.integers(0, x + 1))
    return np.ascontiguousarray(film[top : top + film.shape[0] - y, left : left + film.shape[1] - x])


def turned(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    fill = int(rng.choice([0, int(film.mean())]))
    return np.asarray(Image.fromarray(film).rotate(float(rng.choice([-1, 1])), Image.Resampling.BILINEAR, fillcolor=fill))


def resized(film: np.ndarray, scale: float) -> np.ndarray:
    height, width = (int(n * scale) for n in film.shape)
    return np.asarray(Image.fromarray(film).resize((width, height), Image.Resampling.BICUBIC))


CHANGES: dict[str, Change] = {
    "JPEG quality 70": lambda film, rng: jpeg(film), "20 % brighter": lambda film, rng: gained(film, 1.2), "20 % darker": lambda film, rng: gained(film, 0.8),
    "5 % crop": cropped, "mirrored": lambda film, rng: film[:, ::-1], "upside down": lambda film, rng: film[::-1], "rotated 1 degree": turned,
    "60 % size": lambda film, rng: resized(film, 0.6), "150 % size": lambda film, rng: resized(film, 1.5),
    "crop, mirror, 10 % brighter, JPEG": lambda film, rng: jpeg(gained(cropped(film, rng)[:, ::-1], 1.1)),
    "rotated, 20 % darker, 80 % size": lambda film, rng: resized(gained(turned(film, rng), 0.8), 0.8),
}


def real_films(npz: Path | None, n: int) -> list[np.ndarray]:
    if npz is None:
        return []
    with np.load(npz) as held:
        every = np.concatenate([held[name] for name in held.files if name.endswith("_images")])
    every = np.unique(every, axis=0)
    return list(every[np.random.default_rng(0).permutation(len(every))[:n]])


def written(folder: Path, npz: Path | None, n: int, copies: int, seed: int) -> dict[str, tuple[int, str, int, str]]:
    """The film, change, size and kind of each file; every third copy goes to the other class folder than its film."""
    real, held, order = real_films(npz, n // 2), {}, np.random.default_rng(seed).permutation(n)
    planted = {int(i): name for k, name in enumerate(CHANGES) for i in order[k * copies : (k + 1) * copies]}
    for name in ("a", "b"):
        (folder / name).mkdir()
    for i in range(n):
        rng = generator(seed, "near duplicates", i)
        kind = "real chest" if i < len(real) else list(KINDS)[i % len(KINDS)]
        size = SIZES[i // len(KINDS) % len(SIZES)]
        film = sized(real[i] if i < len(real) else KINDS[kind](rng), size, rng)
        made = {f"f{i:05d}": ("", film)} | ({f"c{i:05d}": (planted[i], CHANGES[planted[i]](film, rng))} if i in planted else {})
        for name, (change, image) in made.items():
            path = f"{'ab'[(i + (name[0] == 'c' and i % 3 == 0)) % 2]}/{name}.png"
            Image.fromarray(np.ascontiguousarray(image)).save(folder / path, compress_level=1)
            held[name] = i, change, size, kind
    return held


def told(hits: list[bool]) -> dict[str, float]:
    low, high = wilson(sum(hits), len(hits))
    return {"value": round(sum(hits) / len(hits), 4), "low": round(low, 4), "high": round(high, 4), "n": len(hits)}


def measured(folder: Path, held: dict[str, tuple[int, str, int, str]]) -> dict[str, object]:
    start, used = time.perf_counter(), time.process_time()
    audit = check(str(folder))
    seconds, used, ids = time.perf_counter() - start, time.process_time() - used, [Path(case.id).stem for case in audit.cohort.cases]
    pairs = [(ids[pair.a], ids[pair.b], pair.score) for pair in audit.twins.near]
    false = [(a, b, round(score, 3), held[a][3], held[a][2], held[b][2]) for a, b, score in pairs if held[a][0] != held[b][0]]
    found = {held[a][0] for a, b, _ in pairs if held[a][0] == held[b][0]}
    tables: dict[str, dict[str, list[bool]]] = {"change": {}, "size": {}, "kind": {}}
    for i, change, size, kind in held.values():
        if change:
            for table, key in zip(tables.values(), (change, f"{size} px", kind), strict=True):
                table.setdefault(key, []).append(i in found)
    return {"images": len(held), "seconds_of_check": round(seconds, 1), "processor_seconds_without_readers": round(used, 1),
            "load": os.getloadavg()[0], "pairs": len(pairs), "false_pairs": len(false), "false": false[:20],
            "all": told([hit for hits in tables["change"].values() for hit in hits]),
            **{name: {key: told(hits) for key, hits in table.items()} for name, table in tables.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", nargs="?", type=Path)
    parser.add_argument("--films", type=int, default=8900)
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        facts = measured(Path(made), written(Path(made), wish.npz, wish.films, wish.copies, wish.seed))
    text = json.dumps(facts, indent=1)
    print(text)
    if wish.json:
        wish.json.write_text(text)


if __name__ == "__main__":
    main()
