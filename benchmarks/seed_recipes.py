"""The two recipes that the project started from, against `fit` with the same training time, side by side.

    python benchmarks/seed_recipes.py DATA.npz [--out FOLDER] [--seed 0]

1. Two convolution-pooling blocks at 64 px, a dense layer, Adam, batch 32, 10 epochs, no augmentation (a first Keras
   example, written in torch here so that both sides use one engine).
2. A two-layer network trained image by image (batch 1), SGD, one pass at a time for 3 passes.

The reference is trained first and timed; ours then gets that time as its budget. Both are judged on the same test
images; intervals are the bootstrap's over images.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import vesalius
from vesalius.core.target import TargetSpec
from vesalius.kernels.scores import scores


def blocks(size: int, dense: int) -> nn.Sequential:
    """conv-pool-conv-pool-dense, as in every first tutorial."""
    rest = (size // 4) ** 2 * 64
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(rest, dense), nn.ReLU(), nn.Linear(dense, 2),
    )


def pixels(images: np.ndarray, size: int) -> torch.Tensor:
    x = torch.from_numpy(images[:, None]).float() / 255
    return x if size == x.shape[-1] else F.interpolate(x, (size, size), mode="bilinear")


def train(network: nn.Module, x: torch.Tensor, y: torch.Tensor, optimizer: torch.optim.Optimizer, batch: int, epochs: int) -> float:
    """Seconds that the training took."""
    start = time.perf_counter()
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return time.perf_counter() - start


def judge(network: nn.Module, x: torch.Tensor, truth: np.ndarray) -> dict[str, float]:
    network.eval()
    with torch.inference_mode():
        p = torch.cat([network(part).softmax(1) for part in x.split(256)]).numpy()
    made = scores(TargetSpec("binary", ("normal", "pneumonia")), truth, p, np.arange(len(truth)), seed=0, n_boot=1000)
    return {name: made[name].to_dict() for name in ("auc", "accuracy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", default="bench-recipes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with np.load(options.data) as opened:
        data = {name: opened[name] for name in ("train_images", "train_labels", "test_images", "test_labels")}
    y, truth = torch.from_numpy(data["train_labels"][:, 0].astype(np.int64)), data["test_labels"][:, 0].astype(np.int64)
    for name, size, dense, batch, epochs in (("keras-blocks", 64, 128, 32, 10), ("image-by-image", 28, 64, 1, 3)):
        torch.manual_seed(options.seed)
        network = blocks(size, dense)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3) if batch > 1 else torch.optim.SGD(network.parameters(), 0.01)
        seconds = train(network, pixels(data["train_images"], size), y, optimizer, batch, epochs)
        reference = judge(network, pixels(data["test_images"], size), truth)
        run = vesalius.fit(options.data, Path(options.out) / name, seed=options.seed, budget_s=seconds)
        ours = json.loads((run / "metrics.json").read_text())["test"]
        trained = sum(member["seconds"] for member in json.loads((run / "log" / "training.json").read_text()))
        print(json.dumps({"recipe": name, "seconds": round(seconds, 1), "reference": reference, "ours_seconds": round(trained, 1), "ours": {
            k: ours[k] for k in ("auc", "accuracy")}}), flush=True)


if __name__ == "__main__":
    main()
