"""Measure, do not guess: how long a training step takes here, in which number format and memory layout."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vesalius.networks import build
from vesalius.stages.train.loop import FUSED
from vesalius.stages.train.memory import keep_freed_memory

WARM, TIMED = 2, 4
"""The first steps build kernels and fill caches; the shortest of the timed ones counts, since other programs disturb the rest."""
PRECISION_GAIN = 1.1
"""A shorter number format must be at least this much faster to be kept."""
LONG_STEP_S = 4.0
"""When one step takes this long no alternatives are tried: probing would cost more than it gives."""


@dataclass(frozen=True)
class Speed:
    """Seconds for a training step of a batch, in one precision and layout; ``tried`` lists all that were measured."""

    seconds: float
    precision: str
    channels_last: bool
    tried: tuple[tuple[str, bool, float], ...] = ()

    @property
    def sentence(self) -> str:
        """What was measured, in words."""
        each = [f"{name}{' channels_last' if last else ''} {1000 * s:.0f} ms" for name, last, s in self.tried]
        return "measured per step: " + ", ".join(each)


def choices(accelerator: str, asked: str | None) -> list[tuple[str, bool]]:
    """Precisions and layouts worth trying on an accelerator, the likeliest first."""
    if accelerator == "mps":
        return [(asked or "32-true", False)]
    if asked is not None:
        return [(asked, True), (asked, False)]
    return [("bf16-mixed", True), ("32-true", True), ("32-true", False)] if has_bf16(accelerator) else [("32-true", True), ("32-true", False)]


def has_bf16(accelerator: str) -> bool:
    """Whether the processor computes bf16 itself; emulated it is slower than float32."""
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def probe(
    name: str, options: dict[str, Any], *, channels: int, n_out: int, size: tuple[int, ...], batch: int, accelerator: str, precision: str | None = None,
    truth: torch.Tensor | None = None,
) -> Speed:
    """Time forward, backward and update of random batches for each choice; the fastest wins. A network that detects is given ``truth``.

    A shorter number format is taken only when it is clearly faster (`PRECISION_GAIN`).
    """
    keep_freed_memory()
    tried: list[tuple[str, bool, float]] = []
    for each, last in choices(accelerator, precision):
        network = build(name, channels=channels, n_out=n_out, size=size, **options)
        seconds = _time(network, (batch, channels, *size), accelerator, each, last, truth)
        tried.append((each, last, seconds))
        if seconds > LONG_STEP_S:
            break
    best, last, seconds = min(tried, key=lambda row: row[2] * (1.0 if row[0] == "32-true" else PRECISION_GAIN))
    return Speed(seconds, best, last, tuple(tried))


def _time(network: nn.Module, shape: tuple[int, ...], accelerator: str, precision: str, last: bool, truth: torch.Tensor | None = None) -> float:
    import lightning_fabric as lf  # takes seconds, which verbs that train nothing need not wait

    fabric = lf.Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    if last:
        network = network.to(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fabric.device.type in FUSED)
    forward, optimizer = fabric.setup(network, optimizer)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(fabric.device)
    times = []
    for _ in range(WARM + TIMED):
        start = time.perf_counter()
        made = forward(x) if truth is None else forward(x, truth.to(fabric.device))
        maps = made if isinstance(made, (list, tuple)) else [made]
        fabric.backward(torch.stack([each.float().square().mean() for each in maps]).sum())
        optimizer.step()
        optimizer.zero_grad()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if sum(times) > LONG_STEP_S * (WARM + 1):
            break
    return min(times[WARM:] or times[-1:])
