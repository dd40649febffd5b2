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
from vesalius.stages.serve.work.batching import WINDOW_S, Batcher, Run
from vesalius.stages.serve.work.heads import Head, last_layer

SIZES = (1, 4, 16)
"""Batch sizes that engines are built for."""
EXACT = ("openvino", "onnxruntime", "torch channels-last")
"""Engines that compute in float32, tried besides torch itself."""
TRY_S = 20.0
TORCH = "torch"


class Quickened(Mapping):
    """The same mapping, whose `raw` may be called by many threads at a time and gathers what comes together.

    Its batcher gives rows ``[n_out + D]``: raw values, and the features by which fitness is judged (D = 0 where the network shows none).
    """

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
        return self.parts(self.batcher.submit(x).result())[0]

    def parts(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """A row of the batcher as raw values and features (None where there are none)."""
        n = self.output.n_out
        return row[:n], row[n:].astype(np.float64) if len(row) > n else None


def run_of(mapping: Mapping, engine: str | None, threads: int, sizes: Sequence[int]) -> tuple[Run, str]:
    """What the batcher calls, and what was measured in words."""
    torch.set_num_threads(threads)
    layer, n_features = last_layer(mapping.networks[0], mapping.output, torch.zeros(1, *mapping.reads.shape, device=mapping.device))
    heads = [Head(network, mapping.output, None if i else layer) for i, network in enumerate(mapping.networks)]
    n = mapping.output.n_out
    if engine == TORCH or mapping.device != "cpu":
        return _averaged([{max(sizes): head} for head in heads], mapping.mirror, n), "torch: as it was asked for"
    engines = [_engines(mapping, head, n if i else n + n_features, engine, threads, sizes) for i, head in enumerate(heads)]
    return _averaged(engines, mapping.mirror, n), engines[0][max(sizes)].sentence


def _engines(mapping: Mapping, head: nn.Module, n_out: int, engine: str | None, threads: int, sizes: Sequence[int]) -> dict[int, Backend]:
    """One engine in every batch size; the largest decides which."""
    facts = {"channels": mapping.reads.channels, "size": mapping.reads.size, "n_out": n_out, "threads": threads, "whole": True}
    most = max(sizes)
    first = built(engine, head, batch=most, **facts) if engine else fastest(head, batch=most, seconds=TRY_S, only=EXACT, **facts)  # type: ignore[arg-type]
    others = {size: built(first.name, head, batch=size, **facts) for size in sizes if size != most}  # type: ignore[arg-type]
    return others | {most: first}


def _averaged(members: Sequence[Table[int, Callable[[torch.Tensor], torch.Tensor]]], mirror: tuple[int, ...], n_out: int) -> Run:
    """Raw values, the mean over members and mirror images as `Mapping.raw` has it; then the features of the first member for the image as it is."""

    def run(batch: torch.Tensor) -> np.ndarray:
        views = [batch] if not mirror else [batch, batch.flip([2 + axis for axis in mirror])]
        with torch.inference_mode():
            rows = [member.get(len(batch), member[max(member)])(view.contiguous()) for member in members for view in views]
        raw = torch.stack([row[:, :n_out] for row in rows]).mean(0)
        return torch.cat([raw, rows[0][:, n_out:]], 1).cpu().numpy()

    return run
