"""Are honest heat maps let through, planted bad ones caught, and do maps of a trained network point at the planted lesions?

    python benchmarks/trust_explanations.py [--sets 3] [--n 360] [--steps 150] [--networks small-cnn,small-resnet,cnn-attention]
        [--all-cases]

For every seed and network, chest films with and without nodules (`phantoms.shortcuts`, nothing planted) are learnt, and each kind of map gets its warrant on
20 ill patients that were not learnt from, with the nodules' boxes for the pointing game. Shares have their 95 % Wilson interval. A test ends when its verdict
is clear, as in a fit; with ``--all-cases`` it does not: the verdicts should be the same. Seconds are processor time.

* specificity: a map of the trained network passes (each kind, and all of them). A kind may truly not suit a network: see its pointing game;
* sensitivity: a planted bad map is caught: ``edges`` (a picture of the image's edges, which looks like guided backpropagation), ``elsewhere`` (Grad-CAM
  turned upside down and moved by half the image), ``untrained`` (Grad-CAM of another network that has learnt nothing);
* pointing: share of the hottest places in a nodule, of the trained and of the random networks, and what a random place would reach.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn

from vesalius.kernels.stats import wilson
from vesalius.networks import build
from vesalius.phantoms import make_phantom
from vesalius.stages.explain import warrant
from vesalius.stages.explain.questions import Method, Question, method_of
from vesalius.stages.explain.randomised import randomised
from vesalius.stages.explain.warrant import warrants_of

SIDE, BATCH, RATE = 64, 24, 2e-3
HONEST = ("gradcam", "gradcam++", "occlusion", "integrated-gradients", "rise", "attention-rollout")
HELD = 60
"""Patients that are not learnt from."""


def films(seed: int, n: int) -> tuple[torch.Tensor, np.ndarray, list[np.ndarray]]:
    """Images as the network reads them, labels and where the nodules lie."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_phantom("shortcuts", Path(folder), seed=seed, n=n, contrast=2.0)
        names = sorted(made.true_label)
        images = np.stack([np.asarray(Image.open(made.path / name)) for name in names])
    regions = []
    for name in names:
        region = np.zeros((SIDE, SIDE), bool)
        for box in made.planted["boxes"].get(name, []):
            region[int(box[0]) : int(np.ceil(box[2])), int(box[1]) : int(np.ceil(box[3]))] = True
        regions.append(region)
    labels = np.array([made.classes.index(made.true_label[name]) for name in names])
    return torch.from_numpy((images.astype(np.float32) / 255 - 0.4) * 4)[:, None], labels, regions


def learnt(name: str, x: torch.Tensor, y: torch.Tensor, steps: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = build(name, channels=1, n_out=2, size=(SIDE, SIDE))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for step in range(steps):
        rows = torch.randint(0, len(x), (BATCH,))
        batch = x[rows].flip(-1) if step % 2 else x[rows]
        loss = nn.functional.cross_entropy(network(batch), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def edges(_: nn.Module, question: Question) -> torch.Tensor:
    x = question.x[0, 0]
    steps = (x - x.roll(1, 0)).abs() + (x - x.roll(1, 1)).abs()
    return steps / steps.max()


def planted(network: nn.Module, example: torch.Tensor) -> dict[str, Method]:
    gradcam, other = method_of("gradcam"), randomised(network, example, (1.0,), seed=99)[0]
    return {"edges": edges, "elsewhere": lambda net, q: gradcam(net, q).flip(0).roll(SIDE // 2, 0), "untrained": lambda _, q: gradcam(other, q)}


def one(seed: int, name: str, n: int, steps: int, maps: tuple[str, ...] = HONEST) -> dict[str, Any]:
    x, labels, regions = films(seed, n)
    start = time.process_time()
    network = learnt(name, x[:-HELD], torch.from_numpy(labels[:-HELD]), steps, seed)
    trained = time.process_time() - start
    with torch.no_grad():
        auc = roc_auc_score(labels[-HELD:], network(x[-HELD:]).softmax(1)[:, 1])
    ill = [i for i in range(len(x) - HELD, len(x)) if labels[i]]
    asked = [Question(str(i), str(i), x[i : i + 1], lambda raw: raw[:, 1], lambda raw: raw.softmax(1)[:, 1], regions[i]) for i in ill]
    honest = {each: method_of(each) for each in maps if each != "attention-rollout" or "attention" in name or "vit" in name}
    row: dict[str, Any] = {"seed": seed, "network": name, "auc": round(float(auc), 3), "training_s": round(trained, 1), "maps": {}}
    for kind, method in (honest | planted(network, x[:1])).items():
        start = time.process_time()
        row["maps"][kind] = told(warrants_of(network, asked, {kind: method}, seed=seed, limit_s=1e6)[kind]) | {"s": round(time.process_time() - start, 1)}
    return row


def told(found: dict[str, Any]) -> dict[str, Any]:
    if "randomised" not in found:
        return {"shown": found["shown"], "why": found["why"], "n": found["n_cases"]}
    pointing, random = found["pointing"], found["randomised"]
    return {
        "shown": found["shown"], "why": found["why"], "n": found["n_cases"],
        "rank": round(random["rank"]["value"], 2), "ssim": round(random["ssim"]["value"], 2),
        "over_random": round(found["erased"]["over_random"]["value"], 2), "over_moved": round(found["erased"]["over_moved"]["value"], 2),
        "hits": [round(pointing["hits"]["value"] * pointing["hits"]["n"]), pointing["hits"]["n"]], "chance": round(pointing["chance"], 2),
        "random_hits": round(pointing["randomised"]["value"] * pointing["randomised"]["n"]),
    }


def share(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    return {"value": round(hits / n, 3), "low": round(low, 3), "high": round(high, 3), "n": n}


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def each(kind: str) -> list[dict[str, Any]]:
        return [row["maps"][kind] for row in rows if kind in row["maps"]]

    kinds = [kind for kind in HONEST if each(kind)]
    passes = {kind: share(sum(found["shown"] for found in each(kind)), len(each(kind))) for kind in kinds}
    every = [found for kind in kinds for found in each(kind)]
    caught = {kind: share(sum(not found["shown"] for found in each(kind)), len(each(kind))) for kind in ("edges", "elsewhere", "untrained")}
    played = {kind: [found for found in each(kind) if "hits" in found] for kind in kinds}
    pointing = {
        kind: {
            "trained": share(sum(f["hits"][0] for f in found), sum(f["hits"][1] for f in found)),
            "random": share(sum(f["random_hits"] for f in found), sum(f["hits"][1] for f in found)),
            "chance": round(float(np.mean([f["chance"] for f in found])), 3), "seconds": round(float(np.mean([f["s"] for f in found])), 1),
        }
        for kind, found in played.items() if found
    }
    return {"networks": len(rows), "specificity": passes | {"all of them": share(sum(found["shown"] for found in every), len(every))},
            "sensitivity": caught, "pointing": pointing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--n", type=int, default=360)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--networks", default="small-cnn,small-resnet,cnn-attention")
    parser.add_argument("--maps", default=",".join(HONEST))
    parser.add_argument("--all-cases", action="store_true")
    given = parser.parse_args()
    if given.all_cases:
        warrant.LOOKS = ()
    rows = []
    for seed in range(given.sets):
        for name in given.networks.split(","):
            rows.append(one(seed, name, given.n, given.steps, tuple(given.maps.split(","))))
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(summed(rows), indent=1))


if __name__ == "__main__":
    main()
