"""A small training job with something to learn: bright squares against bright crosses, in noise."""

from pathlib import Path

import numpy as np

from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.train import Job
from vesalius.transforms.augment import Augment
from vesalius.transforms.intensity import Noise, Tone
from vesalius.transforms.spatial import Affine

TRAIN = {
    "epochs": 3, "steps_per_epoch": 4, "batch": 16, "learning_rate": 3e-3, "weight_decay": 0.01, "warmup_steps": 2, "ema": 0.8, "precision": "32-true",
    "channels_last": True, "augment": Augment(Affine(10, 0.1, 0.0, 0.05, (1,)), Tone(0.1, 0.1), noise=Noise(0.05)).to_dict(), "sampling": "even",
    "clip_norm": 5.0, "patience": 99,
}
MACHINE = {"accelerator": "cpu", "threads": 1, "devices": 1, "nodes": 1}


def pictures(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``[n, 1, 16, 16]`` uint8 and their class."""
    source = np.random.default_rng(seed)
    truth = source.integers(0, 2, n)
    images = source.normal(60, 25, (n, 1, 16, 16))
    for image, kind in zip(images, truth, strict=True):
        y, x = source.integers(3, 10, 2)
        if kind:
            image[0, y : y + 4, x : x + 4] += 70
        else:
            image[0, y + 2, x - 2 : x + 6] += 110
            image[0, y - 2 : y + 6, x + 2] += 110
    return images.clip(0, 255).astype(np.uint8), truth.astype(np.int64)


def plan_of(network: str = "small-cnn", *, machine: dict | None = None, options: dict | None = None, **train: object) -> Plan:
    plan = Plan().decide("network.name", network, "test").decide("network.options", options or {}, "test")
    for name, value in (TRAIN | train).items():
        plan = plan.decide(f"train.{name}", value, "test")
    for name, value in (MACHINE | (machine or {})).items():
        plan = plan.decide(f"machine.{name}", value, "test")
    return plan


def job_in(folder: Path, plan: Plan, n: int = 96, seed: int = 5) -> Job:
    images, truth = pictures(n)
    folder.mkdir(parents=True, exist_ok=True)
    cache = folder / "cache.npy"
    np.save(cache, images)
    cut = n * 2 // 3
    rows = np.arange(n)
    output = output_for(TargetSpec("binary", ("cross", "square")))
    reads = Reads((16, 16), mean=(0.3,), std=(0.2,))
    return Job(cache, reads, plan, output.to_dict(), rows[:cut], truth[:cut], rows[cut:], truth[cut:], folder / "checkpoint", folder / "log", seed)
