"""Images a second of our training against the loop that the field writes, side by side; and our overhead.

    python benchmarks/training_speed.py DATA.npz [--epochs 2] [--rounds 3]

Same images, network, batch, optimiser, kinds of augmentation and epochs; the sides take turns, each in a process of
its own. "Plain" is a DataLoader over PIL images with torchvision transforms in float32 (the faster of no worker and
two workers counts). Ours includes preparing, augmenting, the moving average, validation on a few images, the log and
checkpoints. Each side builds its kernels in three steps before the clock starts.

"Bare" is forward, loss, backward and optimiser step of one prepared batch again and again, in the precision, memory
layout and allocator settings of ours: what no framework can avoid. Blocks of bare steps and of our steps (reading,
augmentation, clipping, moving average included) take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import vesalius.stages.train.loop as loop
from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.design.probe import probe
from vesalius.stages.train import Job, train_here_or_spread
from vesalius.stages.train.launch import make_fabric
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
    warm(network, images.shape[1:])
    start = time.perf_counter()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
    return epochs * len(labels) / (time.perf_counter() - start)


def warm(network: torch.nn.Module, size: tuple[int, ...]) -> None:
    for _ in range(3):
        network(torch.rand(BATCH, 1, *size)).float().sum().backward()
    network.zero_grad()


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
        probe(NETWORK, {}, channels=1, n_out=2, size=images.shape[1:], batch=BATCH, accelerator="cpu", precision="bf16-mixed")
        start = time.perf_counter()
        train_here_or_spread(job, lambda *_: None)
        return epochs * int(job.plan["train.steps_per_epoch"]) * BATCH / (time.perf_counter() - start)


def overhead(images: np.ndarray, labels: np.ndarray, blocks: int = 12, steps: int = 8) -> float:
    """Time of our steps over bare ones, minus 1: median over blocks that take turns."""
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(images, labels, 2 * blocks, Path(folder))
        fabric = make_fabric(job)
        fabric.launch()
        held = loop._set_up(job, fabric, lambda *_: None)
        batch, network, optimizer = held.feed.batch(0), held.parts.network, held.parts.optimizer

        def bare() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                raw = network(batch.x)
            F.cross_entropy(raw.float(), batch.truth).backward()
            optimizer.step()
            optimizer.zero_grad()

        ours_s, bare_s = [], []
        for _ in range(blocks):
            for taken, step in ((bare_s, bare), (ours_s, lambda: loop._step(held))):
                start = time.perf_counter()
                for _ in range(steps):
                    step()
                taken.append(time.perf_counter() - start)
    return statistics.median(a / b for a, b in zip(ours_s[1:], bare_s[1:], strict=True)) - 1


SIDES = {
    "plain, no worker": lambda images, labels, epochs: plain(images, labels, epochs, 0),
    "plain, 2 workers": lambda images, labels, epochs: plain(images, labels, epochs, 2),
    "ours": ours,
    "overhead": lambda images, labels, epochs: overhead(images, labels),
}


def measured(side: str, data: str, epochs: int) -> float:
    """Images a second of one side in a process of its own."""
    told = subprocess.run([sys.executable, __file__, data, "--epochs", str(epochs), "--side", side], capture_output=True, text=True, check=True)
    return float(told.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a MedMNIST-kind npz")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help="measure one side only")
    options = parser.parse_args()
    with np.load(options.data) as opened:
        images, labels = opened["train_images"], opened["train_labels"][:, 0].astype(np.int64)
    if options.side:
        print(SIDES[options.side](images, labels, options.epochs))
        return
    rounds = []
    for _ in range(options.rounds):
        rounds.append({side: measured(side, options.data, options.epochs) for side in SIDES})
        print({k: round(v, 3) for k, v in rounds[-1].items()}, flush=True)
    faster = [r["ours"] / max(r["plain, no worker"], r["plain, 2 workers"]) for r in rounds]
    middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
    print(json.dumps({
        "images_per_second": {k: round(v) for k, v in middle.items() if k != "overhead"}, "ours_over_plain": round(statistics.median(faster), 2),
        "overhead_over_bare": round(middle["overhead"], 3), "n": len(labels), "epochs": options.epochs, "rounds": options.rounds,
    }))


if __name__ == "__main__":
    main()
