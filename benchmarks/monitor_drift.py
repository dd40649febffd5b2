"""False alarms and found drifts of `monitor`: by simulation, and with real chest films.

    python benchmarks/monitor_drift.py PNEUMONIAMNIST.npz --run RUN [--draws 300] [--window 50]

Simulation: 14 correlated statistics and a word; reference of 300 studies. Films: in each draw the official test films are divided in two at random; one half is
the reference, and a window of the other half is looked at as it is (false alarms) or after a drift was planted in every film of it. RUN is a finished run of
`vesalius fit` on the same file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, rotate, zoom

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.kernels.drift import drift
from vesalius.kernels.stats import wilson
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import judge
from vesalius.stages.fitfor.outputs import outputs_of

RATE = 0.01
Rows = list[dict[str, Any]]


def simulated(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, list[Any]]:
    x = 0.7 * rng.normal(size=(n, 1)) + rng.normal(size=(n, 14))
    x[:, 0] += shift
    return {f"x{i}": list(x[:, i]) for i in range(14)} | {"modality": list(rng.choice(["CT", "MR"], n, p=[0.8, 0.2]))}


def rows_of(mapping: Mapping, films: np.ndarray) -> Rows:
    """Statistics and answer of each film, as predict would log them."""
    made = []
    for film in films:
        image = np.clip(np.round(film), 0, 255).astype(np.uint8)[None]
        study = Study(image, Grid.plain(image.shape[1:]))
        made.append(dict(judge(mapping, study).statistics) | outputs_of(mapping(study), mapping.output.target))
    return made


def columns(rows: Rows, chosen: np.ndarray, names: list[str]) -> dict[str, list[Any]]:
    return {name: [rows[i].get(name) for i in chosen] for name in names}


def larger(film: np.ndarray, by: float) -> np.ndarray:
    """The middle of a film, larger by a share."""
    grown = zoom(film, 1 + by, order=1)
    start = (grown.shape[0] - film.shape[0]) // 2
    return grown[start : start + film.shape[0], start : start + film.shape[1]]


def drifts(rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {
        "brightness -5 %": lambda x: x * 0.95, "brightness -10 %": lambda x: x * 0.9, "contrast -20 %": lambda x: (x - 145) * 0.8 + 145,
        "noise of 1 %": lambda x: x + rng.normal(0, 2.55, x.shape), "noise of 3 %": lambda x: x + rng.normal(0, 7.65, x.shape),
        "blur of 0.7 pixels": lambda x: gaussian_filter(x, 0.7), "larger by 10 %": lambda x: larger(x, 0.1),
        "turned by 5°": lambda x: rotate(x, 5, reshape=False, order=1, mode="nearest"),
    }


def told(name: str, p: list[float], seen: list[str]) -> None:
    k = sum(each <= RATE for each in p)
    low, high = wilson(k, len(p))
    first = max(sorted(set(seen)), key=seen.count) if seen else "-"
    print(f"| {name} | {len(p)} | {k / len(p):.3f} ({low:.3f}-{high:.3f}) | {first} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--window", type=int, default=50)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| what | windows | alarms | first named |\n|---|---|---|---|")
    for shift in (0.0, 0.5, 1.0):
        n = options.draws * (3 if shift == 0 else 1)
        found = [drift(simulated(rng, 300), simulated(rng, options.window, shift), permutations=999, seed=i) for i in range(n)]
        told(f"simulated, shift of {shift:g} SD", [each.p for each in found], [next(iter(each.each)) for each in found if each.p <= RATE])
    mapping = Mapping.load(options.run)
    with np.load(options.data) as arrays:
        films, labels = arrays["test_images"].astype(float), arrays["test_labels"].ravel()
    plain = rows_of(mapping, films)
    names = [name for name in plain[0] if name not in ("modality", "body_part", "view")]
    half = len(films) // 2

    def drawn(name: str, rows: Rows, draws: int, only: np.ndarray | None = None) -> None:
        p, seen = [], []
        for i in range(draws):
            order = rng.permutation(len(films))
            window = order[half:] if only is None else order[half:][only[order[half:]]]
            found = drift(columns(plain, order[:half], names), columns(rows, window[: options.window], names), permutations=999, seed=i)
            p.append(found.p)
            seen += [next(iter(found.each))] if found.p <= RATE else []
        told(name, p, seen)

    drawn("films as they are", plain, 3 * options.draws)
    drawn("only ill patients (62 % in the reference)", plain, options.draws // 3, labels == 1)
    for name, change in drifts(rng).items():
        drawn(name, rows_of(mapping, np.stack([change(film) for film in films])), options.draws // 3)


if __name__ == "__main__":
    main()
