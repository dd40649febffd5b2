"""Does a model know what it should not read? AUROC and refusals on real pictures of other kinds and on altered ones of its own; any kind of target.

    python benchmarks/out_of_distribution.py DATA [--run RUN] [--budget 2m] [--films PNEUMONIAMNIST.npz] [--bccd FOLDER] [--drive FOLDER]
        [--hippocampus FOLDER] [--most 300] [--other FILE ...]

A model is trained on DATA (anything that `fit` reads), or taken from ``--run``. The test images, which neither the network nor any bound has seen, are in
distribution. Images of other kinds are first brought to the same form (the axes, channels, samples, spacing, bits and range of a test image; a picture for a
volume model becomes a stack of itself, or of films; grey ones for a colour model take the colours of its test images), so that only what they show can tell
them apart; ``as the files are`` leaves them as a user would send them. The test images are turned, mirrored, inverted and made noisy; where the model was
trained on pictures that lie any way up, a turned one is as good as another and should not be refused.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sklearn.metrics import roc_auc_score

import vesalius
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.formats import find_sources, open_study, recognise
from vesalius.formats.cases import open_case
from vesalius.kernels.imagestats import small_view
from vesalius.kernels.stats import wilson
from vesalius.mapping import Mapping
from vesalius.stages.cohortfile import read_cohort
from vesalius.stages.fitfor import Fitness, judge
from vesalius.stages.request import seconds_of

FOREIGN = ("films", "bccd", "drive", "hippocampus")


def own_studies(run: Path, data: Path, most: int) -> list[Study]:
    """The test images of a run."""
    frame = read_cohort(run / "cohort.parquet")
    wanted = frame.loc[frame["split"] == "test", "id"].tolist()
    cases = {case.id: case for case in recognise(str(data)).cases}
    places = np.random.default_rng(0).permutation(len(wanted))[:most]
    return [open_case(cases[wanted[i]]) for i in places]


def others(folder: Path, most: int) -> list[Study]:
    """Studies below a folder or in an archive, drawn at random; masks are left out."""
    sources = [source for source in find_sources(folder) if not {"labels", "mask", "1st_manual"} & set(Path(source.path).parts)]
    places = np.random.default_rng(0).permutation(len(sources))[:most]
    return [open_study(sources[i]) for i in places]


def same_form(given: Study, like: Study) -> Study:
    """What a study shows, in the form of another one."""
    grey = small_view(given.image).mean(0)
    if like.ndim == 2 and grey.ndim == 3:
        grey = grey[len(grey) // 2]
    shape = like.grid.shape
    if like.ndim == 3 and grey.ndim == 2:
        grey = np.repeat(grey[None], 32, 0)
    grey = zoom(grey, [n / m for n, m in zip(shape, grey.shape, strict=True)], order=1)
    low, high = np.percentile(grey, (0.5, 99.5))
    unit = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    ends = [np.percentile(channel, (0.5, 99.5)) for channel in like.image]
    image = np.stack([bottom + unit * (top - bottom) for bottom, top in ends])
    return replace(like, image=as_in(image, like))


def as_in(image: np.ndarray, like: Study) -> np.ndarray:
    """Numbers of the type of another study."""
    if like.image.dtype.kind == "f":
        return np.ascontiguousarray(image, like.image.dtype)
    least, most = np.iinfo(like.image.dtype).min, min(np.iinfo(like.image.dtype).max, 2**like.bits - 1 if like.image.dtype.kind == "u" else 2**31)
    return np.ascontiguousarray(np.clip(np.round(image), least, most).astype(like.image.dtype))


def altered(ndim: int) -> dict[str, Callable[[Study], Study]]:
    rng = np.random.default_rng(0)

    def change(function: Callable[[np.ndarray, float, float], np.ndarray]) -> Callable[[Study], Study]:
        def made(study: Study) -> Study:
            image = study.image.astype(np.float64)
            low, high = (0.0, 255.0) if study.image.dtype == np.uint8 and study.bits == 8 else tuple(np.percentile(image, (0.5, 99.5)))
            changed = function(image, float(low), float(high))
            same = changed.shape == study.image.shape
            grid = study.grid if same else Grid.plain(changed.shape[1:], study.grid.spacing_mm if study.grid.spacing_known else None)
            return replace(study, image=as_in(changed, study), grid=grid)

        return made

    turns = {"turned by 90°": lambda x, *_: np.rot90(x, 1, (-2, -1)), "turned by 180°": lambda x, *_: np.rot90(x, 2, (-2, -1)),
             "upside down (mirrored)": lambda x, *_: x[:, ::-1]} if ndim == 2 else {
             "slices in reverse": lambda x, *_: x[:, ::-1], "front and back exchanged": lambda x, *_: x[:, :, ::-1]}
    rest = {"inverted": lambda x, low, high: low + high - x, "noise of 10 %": lambda x, low, high: x + rng.normal(0, 0.1 * (high - low), x.shape),
            "noise of 20 %": lambda x, low, high: x + rng.normal(0, 0.2 * (high - low), x.shape),
            "left and right exchanged (warned of)": lambda x, *_: x[..., ::-1]}
    return {name: change(function) for name, function in (turns | rest).items()}


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
    for name in FOREIGN:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--most", type=int, default=300)
    parser.add_argument("--other", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    run = options.run or vesalius.fit(options.data, Path(tempfile.mkdtemp()) / "run", budget_s=seconds_of(options.budget))
    mapping, films = Mapping.load(run), own_studies(run, options.data, 10**9 if options.most >= 300 else options.most)
    start = time.process_time()
    own = [judge(mapping, film) for film in films]
    took = 1000 * (time.process_time() - start) / len(films)
    refused = sum(each.refused for each in own)
    low, high = wilson(refused, len(own))
    print(f"refused of {len(own)} test images of the same kind: {refused / len(own):.4f} ({low:.4f}-{high:.4f}); {took:.0f} ms of processor time each")
    for each in own:
        if each.refused:
            print(f"  {each.sentence()}")
    print("| given | n | AUROC | refused | commonest first reason |\n|---|---|---|---|---|", flush=True)
    for name in FOREIGN:
        folder = getattr(options, name)
        if folder is not None:
            there = others(folder, options.most)
            line(f"{name}, same form", own, [judge(mapping, same_form(each, films[i % len(films)])) for i, each in enumerate(there)])
            line(f"{name}, as the files are", own, [judge(mapping, each) for each in there])
    for name, change in altered(films[0].ndim).items():
        line(name, own, [judge(mapping, change(film)) for film in films])
    for path in options.other:
        told = [judge(mapping, each) for each in others(path, 5)]
        print(f"{path.name}: refused {sum(each.refused for each in told)} of {len(told)}: {told[0].sentence()}")


if __name__ == "__main__":
    main()
