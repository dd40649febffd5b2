"""Frames a second and mAP50 of our one-stage detector against torchvision's Faster R-CNN, side by side.

    python benchmarks/detectors.py [--data FOLDER] [--teach SECONDS [SECONDS]] [--ours yolo-like] [--threads 2] [--rounds 5]

Speed: a colour picture as uint8 goes in, boxes on that picture come out: preparation (416 samples along the longer side),
network, suppression. Ours runs in the fastest engine that `vesalius.networks.backends` finds here; theirs is
``fasterrcnn_mobilenet_v3_large_320_fpn`` without pretrained weights, with its own preparation and suppression, in PyTorch.
Blocks of pictures take turns in one process, with the same number of threads; the median and the fastest block count. Both
keep at most 100 boxes of a score of at least 0.05; how many they found is shown, since suppression takes time for each.

mAP50: both are taught for the same number of seconds on the same training pictures (mirrored at random, batches of 4, AdamW
with a rate that falls to nothing), from weights from a seed, and judged on the same test pictures by COCO's rule. A second
number of seconds is theirs: more time for the slower learner. ``--rates`` are those of ours and of theirs: one rate for both
by default, tuned for neither. After the few seconds of the default the
figures only show that both run; an untaught network (``--teach 0``) finds nothing (ours) or anything (theirs), so that its
speed says little. Without ``--data`` the pictures are the phantom of a blood film; with it a folder of Pascal VOC
(``JPEGImages``, ``Annotations``, ``ImageSets/Main/train.txt`` and ``test.txt``).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.kernels.boxes import suppressed
from vesalius.kernels.boxscores import Responses, average_precision, match
from vesalius.networks import build
from vesalius.networks.backends import Backend, fastest
from vesalius.phantoms.cells import make_cells
from vesalius.phantoms.truth import DATA
from vesalius.transforms.boxaugment import rows_of, stacked
from vesalius.transforms.boxtiles import boxes_in, boxes_out
from vesalius.transforms.tiles import TileTrace, prepare_tiles

SIDE, MULTIPLE = 416, 32
FLOOR, MOST, OVERLAP = 0.05, 100, 0.5
BATCH = 4
PHANTOMS = 120
Boxes = Callable[[np.ndarray], Detected]


class Picture(NamedTuple):
    image: np.ndarray  # [3, Y, X] uint8
    truth: BoxTruth


def read_voc(folder: Path, part: str, classes: list[str]) -> list[Picture]:
    """Pictures of a part with their boxes; boxes without an area are left out; VOC counts pixels from 1 and includes the last."""
    made = []
    for name in (folder / "ImageSets" / "Main" / f"{part}.txt").read_text().split():
        root = ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot()
        image = np.asarray(Image.open(next((folder / "JPEGImages").glob(f"{name}.*"))).convert("RGB")).transpose(2, 0, 1)
        rows = [(classes.index(each.findtext("name", "")), *(float(each.findtext(f"bndbox/{side}", "0")) for side in ("ymin", "xmin", "ymax", "xmax")))
                for each in root.iter("object")]
        kept = np.array([row for row in rows if row[3] > row[1] and row[4] > row[2]], np.float32).reshape(-1, 5)
        n = len(kept)
        boxes = np.clip(kept[:, 1:] - np.array([1, 1, 0, 0], np.float32), 0, None)
        made.append(Picture(np.ascontiguousarray(image), BoxTruth(boxes, kept[:, 0].astype(np.int64), np.zeros(n, bool), np.full(n, np.nan, np.float32))))
    return made


def classes_of(folder: Path) -> list[str]:
    names = {each.findtext("name", "") for path in (folder / "Annotations").glob("*.xml") for each in ElementTree.parse(path).getroot().iter("object")}
    return sorted(names)


class Ours:
    """Preparation, network or engine, suppression."""

    def __init__(self, name: str, n_out: int, pictures: list[Picture]) -> None:
        shares = np.concatenate([picture.image.reshape(3, -1)[:, ::97] / 255 for picture in pictures[:50]], 1)
        mean, std = tuple(map(float, shares.mean(1))), tuple(map(float, shares.std(1)))
        self.reads = TileReads((SIDE, SIDE), 3, schemes=("full",) * 3, low=(0.0,) * 3, high=(255.0,) * 3, mean=mean, std=std, longest=SIDE)
        self.n_out = n_out
        self.network = build(name, channels=3, n_out=n_out, size=(SIDE, SIDE), detects=True)
        self.engine: nn.Module | Backend = self.network

    def prepared(self, image: np.ndarray) -> tuple[Tensor, TileTrace]:
        x, trace = prepare_tiles(Study(image, Grid.plain(image.shape[1:])), self.reads)
        short = [-n % MULTIPLE for n in x.shape[1:]]
        return torch.from_numpy(np.pad(x, ((0, 0), (0, short[0]), (0, short[1]))))[None], trace

    def __call__(self, image: np.ndarray) -> Detected:
        x, trace = self.prepared(image)
        with torch.no_grad():
            found = self.engine(x)[0].numpy()
        place, label = np.nonzero(found[:, 4:] > math.log(FLOOR / (1 - FLOOR)))
        scores = 1 / (1 + np.exp(-found[place, 4 + label]))
        unknown = np.full(len(place), np.nan, np.float32)
        best = suppressed(found[place, :4], label, scores, unknown, threshold=OVERLAP, most=MOST)
        return Detected(boxes_out(best.boxes, trace), best.labels, best.scores, best.risk)

    def learnable(self, picture: Picture) -> tuple[Tensor, np.ndarray]:
        x, trace = self.prepared(picture.image)
        truth = picture.truth
        return x[0], rows_of(boxes_in(truth.boxes, trace), truth.labels, truth.ignored, truth.risk)

    def loss(self, chosen: list[tuple[Tensor, np.ndarray]], mirrored: list[bool]) -> Tensor:
        x = torch.stack([each.flip(-1) if turn else each for (each, _), turn in zip(chosen, mirrored, strict=True)])
        rows = [self._mirrored(each, x.shape[-1]) if turn else each for (_, each), turn in zip(chosen, mirrored, strict=True)]
        loss: Tensor = self.network(x, stacked(rows, 2)).mean()
        return loss

    def _mirrored(self, rows: np.ndarray, width: int) -> np.ndarray:
        made = rows.copy()
        made[:, 1], made[:, 3] = width - rows[:, 3], width - rows[:, 1]
        return made

    def quicken(self, image: np.ndarray, threads: int) -> str:
        x = self.prepared(image)[0]
        self.engine = fastest(self.network, channels=3, size=tuple(x.shape[2:]), n_out=self.n_out, threads=threads, probe=x, detects=True)
        return self.engine.sentence


class Theirs:
    """As torchvision states it: pictures in 0 .. 1, its own preparation, labels from 1."""

    def __init__(self, n_out: int) -> None:
        self.network = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=n_out + 1)

    def __call__(self, image: np.ndarray) -> Detected:
        with torch.no_grad():
            found = self.network([torch.from_numpy(image).float() / 255])[0]
        kept = (found["scores"] >= FLOOR).numpy()
        boxes = found["boxes"].numpy()[kept][:, [1, 0, 3, 2]]
        return Detected(boxes, found["labels"].numpy()[kept] - 1, found["scores"].numpy()[kept], np.full(kept.sum(), np.nan, np.float32))

    def learnable(self, picture: Picture) -> tuple[Tensor, np.ndarray]:
        return torch.from_numpy(picture.image).float() / 255, np.column_stack([picture.truth.boxes[:, [1, 0, 3, 2]], picture.truth.labels + 1])

    def loss(self, chosen: list[tuple[Tensor, np.ndarray]], mirrored: list[bool]) -> Tensor:
        images, targets = [], []
        for (x, rows), turn in zip(chosen, mirrored, strict=True):
            boxes = torch.from_numpy(rows[:, :4]).float()
            if turn:
                x, boxes = x.flip(-1), torch.stack([x.shape[-1] - boxes[:, 2], boxes[:, 1], x.shape[-1] - boxes[:, 0], boxes[:, 3]], 1)
            images.append(x)
            targets.append({"boxes": boxes, "labels": torch.from_numpy(rows[:, 4]).long()})
        return torch.stack(list(self.network(images, targets).values())).sum()


def teach(side: Ours | Theirs, pictures: list[Picture], seconds: float, rate: float) -> int:
    """Steps that were taken in that time; everything is prepared before the clock starts, for both sides."""
    ready, rng = [side.learnable(picture) for picture in pictures], np.random.default_rng(0)
    optimizer = torch.optim.AdamW(side.network.parameters(), rate, weight_decay=1e-2)
    side.network.train()
    steps, start = 0, time.perf_counter()
    while (gone := (time.perf_counter() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (steps + 1) / 50) * (1 + math.cos(math.pi * gone)) / 2
        chosen = [ready[i] for i in rng.choice(len(ready), min(BATCH, len(ready)), replace=False)]
        loss = side.loss(chosen, [bool(rng.integers(2)) for _ in chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(side.network.parameters(), 10.0)
        optimizer.step()
        steps += 1
    side.network.eval()
    return steps


def map50(find: Boxes, pictures: list[Picture], n_out: int) -> dict[str, float]:
    """Average precision of each class at an overlap of one half, and their mean."""
    found, truths = [find(picture.image) for picture in pictures], [picture.truth for picture in pictures]
    matched = [match(each, truth, (0.5,)) for each, truth in zip(found, truths, strict=True)]
    each = [average_precision(Responses.of(found, truths, matched, label)).ravel()[0].item() for label in range(n_out)]
    return {"map50": round(float(np.nanmean(each)), 4), **{str(label): round(value, 4) for label, value in enumerate(each)}}


def speeds(sides: dict[str, Boxes], images: list[np.ndarray], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a picture, blocks of the sides in turn."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, find in sides.items():
            start = time.perf_counter()
            for image in images:
                find(image)
            if turn:  # the first block warms up
                taken[name].append((time.perf_counter() - start) / len(images))
    return {name: {"median_ms": round(1e3 * statistics.median(each), 2), "best_ms": round(1e3 * min(each), 2),
                   "frames_per_second": round(1 / statistics.median(each), 1)} for name, each in taken.items()}


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    classes = classes_of(folder)
    train, test = read_voc(folder, "train", classes), read_voc(folder, "test", classes)
    torch.manual_seed(0)
    ours = Ours(options.ours, len(classes), train)
    theirs = Theirs(len(classes))
    told: dict[str, Any] = {"classes": classes, "train": len(train), "test": len(test), "threads": options.threads}
    sides: dict[str, Ours | Theirs] = {"ours": ours, "theirs": theirs}
    if options.teach[0]:
        turns = zip(sides.items(), [options.teach[0], options.teach[-1]], options.rates, strict=True)
        told["steps"] = {name: teach(side, train, seconds, rate) for (name, side), seconds, rate in turns}
        told |= {"rates": options.rates, "taught_seconds": options.teach}
    for side in sides.values():
        side.network.eval()
    told["engine"] = ours.quicken(test[0].image, options.threads)
    if options.teach[0]:
        told["test_map50"] = {name: map50(side, test, len(classes)) for name, side in sides.items()}
    told["speed"] = speeds(dict(sides), [picture.image for picture in test[: options.pictures]], options.rounds)
    told["boxes_a_picture"] = {name: round(statistics.mean(len(side(picture.image)) for picture in test), 1) for name, side in sides.items()}
    told["ours_times_faster"] = round(told["speed"]["theirs"]["median_ms"] / told["speed"]["ours"]["median_ms"], 2)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of Pascal VOC; without it the phantom of a blood film")
    parser.add_argument("--teach", type=float, nargs="+", default=[25.0], help="seconds that each side is taught; a second number is theirs")
    parser.add_argument("--rates", type=float, nargs=2, default=[1e-3, 1e-3], help="of AdamW, ours and theirs")
    parser.add_argument("--ours", default="yolo-like", help="name of a network that detects")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=20, help="pictures of a block")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        if options.data is None:
            make_cells(Path(place), 0, PHANTOMS, size=480, layout="voc", split=True)
        print(json.dumps(compared(options.data or Path(place) / DATA, options), indent=1))


if __name__ == "__main__":
    main()
