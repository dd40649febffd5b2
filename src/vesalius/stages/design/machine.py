"""What this machine has."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from vesalius.errors import OptionError
from vesalius.plan import Plan
from vesalius.stages.prepare import cores
from vesalius.stages.request import Request


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


def decide_machine(plan: Plan, machine: Machine, request: Request) -> Plan:
    """The part of ``[machine]`` that does not depend on what is trained: accelerator, threads, devices, nodes."""
    what = f"{machine.cores} cores, {machine.ram_bytes / 2**30:.0f} GB memory, {machine.name}"
    plan = plan.decide("machine.accelerator", machine.accelerator, what)
    plan = plan.decide("machine.threads", machine.cores, "one thread a core; all processes together")
    plan = plan.decide("machine.devices", request.devices, "asked for with --devices" if request.devices > 1 else "one process")
    return plan.decide("machine.nodes", request.nodes, "asked for with --nodes" if request.nodes > 1 else "this machine")


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
