"""What this machine has."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from vesalius.errors import OptionError
from vesalius.stages.prepare import cores


@dataclass(frozen=True)
class Machine:
    """Cores and memory that may be used, and the accelerator if there is one."""

    cores: int
    ram_bytes: int
    free_ram_bytes: int
    free_disk_bytes: int
    accelerator: str
    devices: int
    name: str
    device_ram_bytes: int = 0


def this_machine(folder: Path, accelerator: str = "auto") -> Machine:
    """Look at the machine; ``accelerator`` is auto, cpu, cuda or mps.

    Raises
    ------
    OptionError: an accelerator was asked for that is not there.
    """
    kind = _accelerator(accelerator)
    memory = psutil.virtual_memory()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    name = torch.cuda.get_device_name(0) if kind == "cuda" else platform.processor() or platform.machine()
    own = torch.cuda.get_device_properties(0).total_memory if kind == "cuda" else 0
    devices = torch.cuda.device_count() if kind == "cuda" else 1
    return Machine(cores(), memory.total, memory.available, shutil.disk_usage(there).free, kind, devices, name, own)


def _accelerator(asked: str) -> str:
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
    wanted = {"gpu": "cuda"}.get(asked, asked)
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise OptionError("this accelerator is not here", expected=f"auto or one of {', '.join(there)}", got=asked)
    return wanted
