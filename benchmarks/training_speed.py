"""Images a second of our training against the loop that the field writes, side by side; and our overhead.

    python benchmarks/training_speed.py DATA.npz [--epochs 2] [--rounds 3]

Same images, network, batch, optimiser, kinds of augmentation and epochs; the two sides take turns within one
process. "Plain" is a DataLoader over PIL images with torchvision transforms in float32 (the faster of no worker
and two workers is taken). "Bare" is forward, loss, backward and optimiser step of one prepared batch, in the
precision and memory layout of ours: what no framework can avoid.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.train import Job, train_here_or_spread
from vesalius.transforms.augment import Augment
from vesalius.transforms.intensity import Tone
from vesalius.transforms.spatial import Affine

BATCH = 128
NETWORK = "small-resnet"


class Pictures(Dataset):
    """What a tutorial writes: decode to PIL, transform, give a tensor."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([
            transforms.RandomHorizontalFlip(), transforms.RandomAffine(15, (0.08, 0.08), (0.85, 1.15), 6),
            transforms.ColorJitter(0.1, 0.25), transforms.ToTensor(), transforms.Normalize([0.57], [0.17]),
        ])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), int(self.labels[i])


def plain(images: np.ndarray, labels: np.ndarray, epochs: int, workers: int) -> float:
    """Images a second of the plain loop."""
    network = build(NETWORK, channels=1, n_out=2, size=images.shape[1:])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loader = DataLoader(Pictures(images, labels), BATCH, shuffle=True, num_workers=workers)
    network.train()
    start = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
    return epochs * len(labels) / (time.perf_counter() - start)


def job_of(images: np.ndarray, labels: np.ndarray, epochs: int, folder: Path) -> Job:
    cache = folder / "cache.npy"
    np.save(cache, images[:, None])
    n = len(labels)
    plan = Plan().decide("network.name", NETWORK, "").decide("network.options", {}, "")
    augment = Augment(Affine(15, 0.15, 0.1, 0.08, (1,)), Tone(0.1, 0.25)).to_dict()
    train = {
        "epochs": epochs, "steps_per_epoch": -(-n // BATCH), "batch": BATCH, "learning_rate": 1e-3, "weight_decay": 0.05, "warmup_steps": 10, "ema": 0.99,
        "precision": "bf16-mixed", "channels_last": True, "augment": augment, "sampling": "even", "clip_norm": 5.0, "patience": 999,
    }
    machine = {"accelerator": "cpu", "threads": torch.get_num_threads(), "devices": 1, "nodes": 1}
    for section, part in {"train": train, "machine": machine}.items():
        for name, value in part.items():
            plan = plan.decide(f"{section}.{name}", value, "")
    output = output_for(TargetSpec("binary", ("normal", "pneumonia"))).to_dict()
    rows, look = np.arange(n), np.arange(min(n, 64))
    return Job(cache, Reads(images.shape[1:], mean=(0.57,), std=(0.17,)), plan, output, rows, labels, look, labels[look], folder / "ck", folder / "log")


def ours(images: np.ndarray, labels: np.ndarray, epochs: int) -> float:
    """Images a second of our training, with checkpoints, moving average and validation."""
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(images, labels, epochs, Path(folder))
        start = time.perf_counter()
        train_here_or_spread(job, lambda *_: None)
        return epochs * int(job.plan["train.steps_per_epoch"]) * BATCH / (time.perf_counter() - start)


def bare(images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Images a second of nothing but the arithmetic, in bf16 and channels_last."""
    network = build(NETWORK, channels=1, n_out=2, size=images.shape[1:]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    x = torch.from_numpy(images[:BATCH, None]).float().div(255).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels[:BATCH])
    network.train()
    start = time.perf_counter()
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            raw = network(x)
        F.cross_entropy(raw.float(), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a MedMNIST-kind npz")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with np.load(options.data) as opened:
        images, labels = opened["train_images"], opened["train_labels"][:, 0].astype(np.int64)
    steps = options.epochs * -(-len(labels) // BATCH)
    bare(images, labels, 10)
    rounds = []
    for _ in range(options.rounds):
        each = {"plain": max(plain(images, labels, options.epochs, workers) for workers in (0, 2))}
        each |= {"ours": ours(images, labels, options.epochs), "bare": bare(images, labels, steps)}
        rounds.append(each)
        print({k: round(v) for k, v in each.items()}, flush=True)
    faster = [r["ours"] / r["plain"] for r in rounds]
    overhead = [r["bare"] / r["ours"] - 1 for r in rounds]
    print(json.dumps({
        "images_per_second": {k: round(statistics.median(r[k] for r in rounds)) for k in rounds[0]}, "ours_over_plain": round(statistics.median(faster), 2),
        "overhead_over_bare": round(statistics.median(overhead), 3), "n": len(labels), "epochs": options.epochs, "rounds": options.rounds,
    }))


if __name__ == "__main__":
    main()
