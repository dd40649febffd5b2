"""Does a chest film model know what it should not read? AUROC, sensitivity and refusals on real pictures of other kinds and on altered films.

    python benchmarks/out_of_distribution.py PNEUMONIAMNIST.npz [--run RUN] [--budget 2m] [--bccd FOLDER] [--drive FOLDER] [--hippocampus FOLDER]
        [--other FILE ...]

A model is trained, or taken from ``--run``. The test images of the official split, which neither the network nor any bound has seen, are in distribution.
Pictures of other kinds are first brought to the same form (grey, 28 x 28, 8 bits, their own range stretched), so that only what they show can tell them
apart; ``as the files are`` leaves them as a user would send them. Films are turned, mirrored, inverted and made noisy.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

import vesalius
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.formats import find_sources, open_study
from vesalius.kernels.imagestats import small_view
from vesalius.kernels.stats import wilson
from vesalius.mapping import Mapping
from vesalius.stages.cohortfile import read_cohort
from vesalius.stages.fitfor import Fitness, judge
from vesalius.stages.request import seconds_of

SIDE = 28


def study(array: np.ndarray) -> Study:
    image = np.clip(np.round(array), 0, 255).astype(np.uint8)[None]
    return Study(image, Grid.plain(image.shape[1:]))


def same_form(image: np.ndarray) -> np.ndarray:
    """``[C, Y, X]`` as grey, 28 x 28, 0 .. 255."""
    grey = small_view(image).mean(0)
    low, high = np.percentile(grey, (0.5, 99.5))
    grey = np.clip((grey - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR), float)


def pictures(folder: Path, most: int = 300) -> Iterator[Study]:
    """Studies below a folder; of volumes the middle slice."""
    for source in find_sources(folder)[:most]:
        opened = open_study(source)
        if opened.ndim == 3:
            middle = opened.image[:, opened.image.shape[1] // 2]
            yield Study(middle, Grid.plain(middle.shape[1:]), bits=opened.bits)
        else:
            yield opened


def altered(films: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        "turned by 90°": lambda x: np.rot90(x), "turned by 270°": lambda x: np.rot90(x, 3), "turned by 180°": lambda x: np.rot90(x, 2),
        "upside down (mirrored)": lambda x: x[::-1], "inverted": lambda x: 255.0 - x, "noise of 10 %": lambda x: x + rng.normal(0, 25.5, x.shape),
        "noise of 20 %": lambda x: x + rng.normal(0, 51, x.shape), "left and right exchanged (warned of)": lambda x: x[:, ::-1],
    }


def line(name: str, own: list[Fitness], other: list[Fitness]) -> None:
    scores = [[each.distance if each.distance is not None else np.inf for each in some] for some in (own, other)]
    flat = np.nan_to_num(np.concatenate(scores), posinf=1e9)
    auroc = roc_auc_score(np.r_[np.zeros(len(own)), np.ones(len(other))], flat)
    refused = sum(each.refused for each in other)
    low, high = wilson(refused, len(other))
    codes = [each.reasons[0].code for each in other if each.reasons]
    first = max(sorted(set(codes)), key=codes.count) if codes else "-"
    print(f"| {name} | {len(other)} | {auroc:.4f} | {refused / len(other):.3f} ({low:.3f}-{high:.3f}) | {first} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--budget", default="2m")
    for name in ("bccd", "drive", "hippocampus"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    run = options.run or vesalius.fit(options.data, Path(tempfile.mkdtemp()) / "run", budget_s=seconds_of(options.budget))
    mapping, cohort = Mapping.load(run), read_cohort(run / "cohort.parquet")
    with np.load(options.data) as arrays:
        places = [int(name.rpartition(":")[2]) for name in cohort.loc[cohort["split"] == "test", "id"]]
        films = arrays["test_images"][places].astype(float)
    own = [judge(mapping, study(film)) for film in films]
    refused = sum(each.refused for each in own)
    low, high = wilson(refused, len(own))
    print(f"refused of {len(own)} test films of the same kind: {refused / len(own):.4f} ({low:.4f}-{high:.4f})")
    print("| given | n | AUROC | refused | commonest first reason |\n|---|---|---|---|---|")
    for name in ("bccd", "drive", "hippocampus"):
        folder = getattr(options, name)
        if folder is not None:
            there = list(pictures(folder))
            line(f"{name}, same form", own, [judge(mapping, study(same_form(each.image))) for each in there])
            line(f"{name}, as the files are", own, [judge(mapping, each) for each in there])
    for name, change in altered(films).items():
        line(name, own, [judge(mapping, study(change(film))) for film in films])
    for path in options.other:
        told = [(judge(mapping, each)) for each in pictures(path, 5)]
        print(f"{path.name}: refused {sum(each.refused for each in told)} of {len(told)}: {told[0].sentence()}")


if __name__ == "__main__":
    main()
