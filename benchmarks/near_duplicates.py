"""Are planted near duplicates found, and are strangers left alone?

    python benchmarks/near_duplicates.py NPZ [--size 256] [--total 10000] [--seed 0]

NPZ holds chest films of the MedMNIST kind (``train_images`` ...). Every distinct film is enlarged to SIZE pixels (0: as it is)
with a little noise of its own; copies with one known change each fill up to TOTAL images. Sensitivity is counted per
change (with its 95 % Wilson interval); a false pair is one whose two images come from different films. Enlarged 28-pixel
films have less detail than real ones and so are harder to tell apart. Without an NPZ, phantoms stand in.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest

from vesalius.kernels.fingerprint import cluster, fingerprint, near_pairs

N_CHANGES = 10


def films(npz: Path | None, size: int) -> list[np.ndarray]:
    """Distinct films, uint8 ``[Y, X]``, in random order."""
    if npz is None:
        return [phantom(i, size or 128) for i in range(6000)]
    with np.load(npz) as held:
        small = np.concatenate([held[name] for name in held.files if name.endswith("_images")])
    small = np.unique(small.reshape(len(small), -1), axis=0).reshape(-1, *small.shape[1:])
    small = small[np.random.default_rng(0).permutation(len(small))]
    return [enlarged(film, size, i) if size else film for i, film in enumerate(small)]


def enlarged(film: np.ndarray, size: int, seed: int) -> np.ndarray:
    large = np.asarray(Image.fromarray(film).resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return to_bytes(large + np.random.default_rng(seed).normal(0, 3, large.shape))


def phantom(seed: int, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] / size
    detail = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), size / 25)
    return to_bytes(120 + 60 * np.cos(6 * x) * np.cos(3 * y) + 25 * detail / detail.std())


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).round().astype(np.uint8)


def jpeg(film: np.ndarray, quality: int = 70) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(film).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def changed(film: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    """The film with each of the changes that must be seen through."""
    y, x = (round(0.05 * n) for n in film.shape)
    top, left, sign = int(random.integers(0, y + 1)), int(random.integers(0, x + 1)), float(random.choice([-1, 1]))
    crop = np.ascontiguousarray(film[top : top + film.shape[0] - y, left : left + film.shape[1] - x])
    values, picture = film.astype(np.float32), Image.fromarray(film)
    fill = int(random.choice([0, int(values.mean())]))
    return {
        "JPEG quality 70": jpeg(film), "20 % brighter": to_bytes(values * 1.2), "20 % darker": to_bytes(values * 0.8),
        "20 % contrast": to_bytes((values - values.mean()) * (1 + 0.2 * sign) + values.mean()), "5 % crop": crop,
        "mirrored": np.ascontiguousarray(film[:, ::-1]), "upside down": np.ascontiguousarray(film[::-1]),
        "rotated 1 degree": np.asarray(picture.rotate(sign, Image.Resampling.BILINEAR, fillcolor=fill)),
        "60 % size": np.asarray(picture.resize((int(film.shape[1] * 0.6), int(film.shape[0] * 0.6)), Image.Resampling.BICUBIC)),
        "crop, mirror, brighter, JPEG": jpeg(to_bytes(crop[:, ::-1] * 1.1)),
    }


def measured(base: list[np.ndarray], total: int, seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    n_changed = min(len(base), max(N_CHANGES, (total - len(base)) // N_CHANGES if total > len(base) else N_CHANGES))
    copies = [(i, name, fingerprint(image[None])) for i in range(n_changed) for name, image in changed(base[i], random).items()]
    prints = np.stack([*(fingerprint(film[None]) for film in base), *(thumb for _, _, thumb in copies)])
    film_of = np.array([*range(len(base)), *(i for i, _, _ in copies)])
    start = time.perf_counter()
    pairs = near_pairs(prints)
    seconds = time.perf_counter() - start
    false = [(round(p.score, 3), p.a, p.b) for p in pairs if film_of[p.a] != film_of[p.b]]
    label = cluster(len(prints), pairs)
    hits: dict[str, list[bool]] = {}
    for place, (i, name, _) in enumerate(copies, len(base)):
        hits.setdefault(name, []).append(bool(label[i] >= 0 and label[i] == label[place]))
    found = {name: told(sum(hit), len(hit)) for name, hit in hits.items()}
    strangers = len(prints) * (len(prints) - 1) // 2 - sum(n * (n - 1) // 2 for n in np.bincount(film_of))
    return {"images": len(prints), "films": len(base), "seconds": round(seconds, 1), "pairs_reported": len(pairs), "false_pairs": len(false),
            "false_share_of_reported": len(false) / max(len(pairs), 1), "stranger_pairs": int(strangers), "false_examples": false[:10], "sensitivity": found}


def told(hits: int, n: int) -> dict[str, float]:
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return {"value": round(hits / n, 4), "low": round(interval.low, 4), "high": round(interval.high, 4), "n": n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--total", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(measured(films(given.npz, given.size), given.total, given.seed), indent=1))


if __name__ == "__main__":
    main()
