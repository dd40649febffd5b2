"""A whole-study mapping made ready for a service: the fastest engine in float32 for a few batch sizes, and a batcher in front of it.

Its answers are those of the mapping it was made from within 1e-5 of a probability: sums of another order, and of another batch size, differ in
the last bits. bf16 engines are left out for that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import fields

import numpy as np
import torch
from torch import nn

from vesalius.mapping import Mapping
from vesalius.networks.backends import Backend, built, fastest
from vesalius.outputs import Output
from vesalius.stages.serve.work.batching import WINDOW_S, Batcher, Run

SIZES = (1, 4, 16)
"""Batch sizes that engines are built for."""
EXACT = ("openvino", "onnxruntime", "torch channels-last")
"""Engines that compute in float32, tried besides torch itself."""
TRY_S = 20.0
TORCH = "torch"


class Quickened(Mapping):
    """The same mapping, whose `raw` may be called by many threads at a time and gathers what comes together."""

    batcher: Batcher
    sentence: str

    @classmethod
    def of(cls, mapping: Mapping, *, engine: str | None = None, threads: int = 1, sizes: Sequence[int] = SIZES, window_s: float = WINDOW_S) -> Quickened:
        """Measure, build, and warm up.

        Parameters
        ----------
        engine: a name of `networks.backends` instead of measuring; ``"torch"`` needs no building.
        threads: for the engine. sizes: batch sizes. window_s: see `Batcher`.

        Raises
        ------
        OptionError: the engine is unknown or not installed.
        """
        made = cls(**{each.name: getattr(mapping, each.name) for each in fields(mapping)})
        run, made.sentence = run_of(made, engine, threads, sizes)
        made.batcher = Batcher(run, sizes, window_s=window_s, threads=threads)
        made.batcher.submit(torch.zeros(made.reads.shape)).result()
        return made

    def raw(self, x: torch.Tensor) -> np.ndarray:
        """Raw values ``[n_out]`` of one encoded study, computed with whatever else comes at the same time."""
        return self.batcher.submit(x).result()


class _Head(nn.Module):
    """A network as its output reads it: raw values, in the target's own unit for a regression."""

    def __init__(self, network: nn.Module, output: Output) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output.predict(self.network, x)


def run_of(mapping: Mapping, engine: str | None, threads: int, sizes: Sequence[int]) -> tuple[Run, str]:
    """What the batcher calls, and what was measured in words."""
    heads = [_Head(network, mapping.output).eval() for network in mapping.networks]
    torch.set_num_threads(threads)
    if engine == TORCH or mapping.device != "cpu":
        return _averaged([{max(sizes): head} for head in heads], mapping.mirror), "torch: as it was asked for"
    engines = [_engines(mapping, head, engine, threads, sizes) for head in heads]
    return _averaged(engines, mapping.mirror), engines[0][max(sizes)].sentence


def _engines(mapping: Mapping, head: nn.Module, engine: str | None, threads: int, sizes: Sequence[int]) -> dict[int, Backend]:
    """One engine in every batch size; the largest decides which."""
    facts = {"channels": mapping.reads.channels, "size": mapping.reads.size, "n_out": mapping.output.n_out, "threads": threads, "whole": True}
    most = max(sizes)
    first = built(engine, head, batch=most, **facts) if engine else fastest(head, batch=most, seconds=TRY_S, only=EXACT, **facts)  # type: ignore[arg-type]
    others = {size: built(first.name, head, batch=size, **facts) for size in sizes if size != most}  # type: ignore[arg-type]
    return others | {most: first}


def _averaged(members: Sequence[Table[int, Callable[[torch.Tensor], torch.Tensor]]], mirror: tuple[int, ...]) -> Run:
    """Mean over members and mirror images, as `Mapping.raw` has it."""

    def run(batch: torch.Tensor) -> np.ndarray:
        views = [batch] if not mirror else [batch, batch.flip([2 + axis for axis in mirror])]
        with torch.inference_mode():
            values = [member.get(len(batch), member[max(member)])(view) for member in members for view in views]
        return torch.stack(values).mean(0).cpu().numpy()

    return run
