"""A small training job on tiles with boxes: bright discs of two sizes in noise, some pictures without any."""

from pathlib import Path

import numpy as np

from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.seed import generator
from vesalius.stages.boxed.store import BoxStore
from vesalius.stages.train import Job
from vesalius.transforms.boxaugment import rows_of
from vesalius.transforms.tileaugment import TileAugment

TARGET = TargetSpec("boxes", ("large", "small"))
TRAIN = {
    "epochs": 4, "steps_per_epoch": 8, "batch": 8, "learning_rate": 5e-3, "weight_decay": 0.01, "warmup_steps": 2, "ema": 0.8, "precision": "32-true",
    "channels_last": True, "augment": TileAugment(rotate_deg=15, scale=0.1, flip_axes=(1,), brightness=0.1, noise=0.1).to_dict(), "sampling": "tiles",
    "clip_norm": 5.0, "patience": 99, "foreground": 0.7, "mosaic": 0.3, "keep": "last",
}
MACHINE = {"accelerator": "cpu", "threads": 1, "devices": 1, "nodes": 1}
OPTIONS = {"width": 8, "finest": 4, "levels": 2}
RADII = ((6.0, 8.0), (3.0, 4.0))


def picture(seed: int, shape: tuple[int, ...] = (56, 60)) -> tuple[np.ndarray, np.ndarray]:
    """``[1, …]`` float32 and its rows; every fifth is empty."""
    rng, d = generator(seed, "discs"), len(shape)
    image, boxes, labels = rng.normal(0, 0.3, (1, *shape)), [], []
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    for label in [] if seed % 5 == 4 else (0, 1, 1):
        radius, centre = rng.uniform(*RADII[label]), rng.uniform(9, np.array(shape) - 10)
        image[0] += 1.5 * (((places - centre) ** 2).sum(-1) < radius**2)
        boxes.append([*(centre + 0.5 - radius), *(centre + 0.5 + radius)])
        labels.append(label)
    n = len(boxes)
    rows = rows_of(np.array(boxes, np.float32).reshape(n, 2 * d), np.array(labels), np.zeros(n), np.full(n, np.nan))
    return image.astype(np.float32), rows


def store_in(folder: Path, n: int, reads: TileReads, shape: tuple[int, ...] = (56, 60)) -> BoxStore:
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(n):
        image, rows = picture(row, shape)
        np.save(folder / f"{row}.image.npy", image.astype(np.float16))
        np.save(folder / f"{row}.rows.npy", rows)
    return BoxStore(folder, tuple(map(str, range(n))), reads)


def plan_of(**train: object) -> Plan:
    plan = Plan().decide("network.name", "yolo-like", "test").decide("network.options", OPTIONS, "test")
    for section, values in (("train", TRAIN | train), ("machine", MACHINE)):
        for name, value in values.items():
            plan = plan.decide(f"{section}.{name}", value, "test")
    return plan


def job_in(folder: Path, plan: Plan, n: int = 16, seed: int = 5, shape: tuple[int, ...] = (56, 60), size: tuple[int, ...] = (48, 48)) -> Job:
    reads, empty = TileReads(size), np.zeros(0, np.int64)
    store_in(folder / "store", n, reads, shape)
    rows, cut = np.arange(n), n * 3 // 4
    return Job(folder / "store", reads, plan, output_for(TARGET).to_dict(), rows[:cut], empty, rows[cut:], empty, folder / "checkpoint", folder / "log", seed)
