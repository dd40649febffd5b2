"""A small model on disk, pictures to send, and ways of reading for a model's process: one that writes a file, one that kills it, one that hangs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vesalius.core.reads import Reads
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError
from vesalius.kernels.calibrate import Calibrator
from vesalius.mapping import Mapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan

TESTS = str(Path(__file__).parent)
CLASSES = ("healthy", "ill", "unclear")


def model_in(folder: Path, *, kind: str = "multiclass", size: int = 32, members: int = 1, mirror: tuple[int, ...] = ()) -> Mapping:
    """A mapping with random weights, saved as the model of a run folder."""
    torch.manual_seed(3)
    plan = Plan().decide("network.name", "small-resnet", "test").decide("network.options", {"width": 8}, "test")
    target = TargetSpec(kind, CLASSES if kind != "regression" else ())
    output = output_for(target)
    output.facts = {"centre": 50.0, "scale": 10.0} if kind == "regression" else {}
    networks = [build("small-resnet", channels=1, n_out=output.n_out, size=(size, size), width=8) for _ in range(members)]
    for network in networks:
        for p in network.parameters():
            torch.nn.init.normal_(p, 0, 0.2)
    if kind == "multiclass":
        output.calibrator = Calibrator("multiclass", "temperature", {"temperature": [2.7] * 3, "bias": [0.0, 0.1, 0.0]})
    mapping = Mapping(Reads((size, size), mean=(0.4,), std=(0.2,)), networks, output, plan, mirror)
    mapping.save(folder / "model")
    return mapping


def pictures_in(folder: Path, n: int, seed: int = 0) -> list[Path]:
    """PNG files with noise of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    source, made = np.random.default_rng(seed), []
    for i in range(n):
        made.append(folder / f"{i}.png")
        Image.fromarray(source.integers(0, 256, (30 + i % 7, 40), np.uint8)).save(made[-1])
    return made


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become true")
        time.sleep(0.01)


def asked(folder: Path, text: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.txt"
    path.write_text(text)
    return [path]


def writing(mapping: Any, files: list[Path], out: Path, *, name: str, objects: tuple[str, ...], force: bool, ids: Any) -> dict[str, Any]:
    """Reads what a text file says: ``kill`` kills the process, ``sleep N`` waits, ``refuse`` refuses; else a finding with a file."""
    text = files[0].read_text()
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("sleep"):
        time.sleep(float(text.split()[1]))
    if text == "refuse":
        raise DataError("no study of this kind", expected="a chest film", got="a dog", do="send another", where="0.txt")
    if text == "break":
        raise ZeroDivisionError("Patient^Name in a library's words")
    out.mkdir(parents=True)
    (out / "finding.json").write_text(json.dumps({"label": text}))
    return {"id": out.name, "label": text, "model": name, "objects": list(objects), "force": force, "pid": os.getpid()}
