"""A small training job on tiles with something to learn: bright discs beside dim ones of the same size, in noise."""

from pathlib import Path

import numpy as np

from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.seed import generator
from vesalius.stages.tiled.store import TileStore, places_of
from vesalius.stages.train import Job
from vesalius.transforms.tileaugment import TileAugment

TARGET = TargetSpec("mask", ("disc",), values=((1,),))
TRAIN = {
    "epochs": 4, "steps_per_epoch": 8, "batch": 8, "learning_rate": 1e-2, "weight_decay": 0.01, "warmup_steps": 2, "ema": 0.8, "precision": "32-true",
    "channels_last": True, "augment": TileAugment(rotate_deg=15, scale=0.1, flip_axes=(1,), brightness=0.1, noise=0.1).to_dict(), "sampling": "tiles",
    "clip_norm": 5.0, "patience": 99, "foreground": 0.5, "keep": "best",
}
MACHINE = {"accelerator": "cpu", "threads": 1, "devices": 1, "nodes": 1}
OPTIONS = {"width": 8, "depth": 3, "deep_supervision": True}


def picture(seed: int, shape: tuple[int, int] = (40, 44)) -> tuple[np.ndarray, np.ndarray]:
    """``[1, Y, X]`` float32 and its mask ``[1, Y, X]``."""
    rng = generator(seed, "disc")
    image, truth = rng.normal(0, 0.5, (1, *shape)), np.zeros((1, *shape), np.uint8)
    y, x = np.indices(shape)
    for bright in (True, False, False):
        centre = rng.uniform(8, np.array(shape) - 8)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < rng.uniform(4, 6) ** 2
        image[0][inside] += 2.5 if bright else -2.0
        truth[0][inside] = int(bright)
    return image.astype(np.float32), truth


def store_in(folder: Path, n: int, reads: TileReads) -> TileStore:
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(n):
        image, truth = picture(row)
        for name, array in (("image", image.astype(np.float16)), ("truth", truth), ("places", places_of(truth, TARGET, generator(row, "places")))):
            np.save(folder / f"{row}.{name}.npy", array)
    return TileStore(folder, tuple(map(str, range(n))), reads)


def plan_of(**train: object) -> Plan:
    plan = Plan().decide("network.name", "unet", "test").decide("network.options", OPTIONS, "test")
    for section, values in (("train", TRAIN | train), ("machine", MACHINE)):
        for name, value in values.items():
            plan = plan.decide(f"{section}.{name}", value, "test")
    return plan


def job_in(folder: Path, plan: Plan, n: int = 16, seed: int = 5) -> Job:
    reads, empty = TileReads((32, 32)), np.zeros(0, np.int64)
    store_in(folder / "store", n, reads)
    rows, cut = np.arange(n), n * 3 // 4
    return Job(folder / "store", reads, plan, output_for(TARGET).to_dict(), rows[:cut], empty, rows[cut:], empty, folder / "checkpoint", folder / "log", seed)
