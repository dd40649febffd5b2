"""Make a mapping ready for much work: the fastest engine that decides alike, and reading within the memory that there is."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vesalius.kernels.tiling import places
from vesalius.mapping import TiledMapping
from vesalius.networks.backends import Backend
from vesalius.networks.cost import cost
from vesalius.stages.engines import engines_known, known_engines, measured_engines
from vesalius.stages.tiled.engine import read_volume

WORTH_S = 120.0
"""Other engines are tried when torch would take longer than this for everything: trying costs up to a minute."""
TRY_S = 45.0
PAYS_S = 15.0
"""An engine that is known from before is built when torch would take longer than this: that takes a few seconds."""


def within_memory(mapping: TiledMapping, folder: Path | None = None) -> None:
    """Let the mapping heed the memory: fewer tiles at once, then large arrays in ``folder``, else one clear error."""
    tile = (1, *mapping.reads.shape)
    needed = max(cost(network, tile).activation_bytes_per_image for network in mapping.networks)
    mapping.labels = functools.partial(read_volume, network_bytes=needed, folder=folder)


def quicken(mapping: TiledMapping, x: np.ndarray, n_studies: int) -> str:
    """Choose the engine by measuring, when there is enough to do; returns what was found, in words ("" when nothing was tried).

    Parameters
    ----------
    x: a prepared study ``[C, (Z,) Y, X]``, which tells the number of tiles and gives a real one to compare on.
    """
    if mapping.device != "cpu":
        return ""
    probe, known = _tile(x, mapping.reads.size), engines_known(mapping)
    seconds = sum(each.plain_seconds for each in known) or _seconds(mapping, probe)
    tiles = math.prod(len(starts) for starts in places(x.shape[1:], mapping.reads.size, mapping.reads.overlap)) * 2 ** len(mapping.mirror)
    if seconds * tiles * n_studies < (PAYS_S if known else WORTH_S):
        return ""
    decide = functools.partial(_decided, mapping)
    made = (known_engines(mapping, known, probe, decide) if known else []) or measured_engines(mapping, probe, TRY_S, decide)
    mapping.backend = functools.partial(_mean, made)
    return f"{tiles} tiles a study; {made[0].sentence}"


def _tile(x: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """A tile from the middle, padded with zeros where the study is smaller."""
    made = np.zeros((1, x.shape[0], *size), np.float32)
    start = [max(0, (n - side) // 2) for n, side in zip(x.shape[1:], size, strict=True)]
    box: tuple[slice, ...] = tuple(slice(s, s + side) for s, side in zip(start, size, strict=True))
    part = x[(slice(None), *box)]
    here: tuple[slice, ...] = tuple(slice(n) for n in part.shape[1:])
    made[0][(slice(None), *here)] = part
    return torch.from_numpy(made)


def _seconds(mapping: TiledMapping, probe: torch.Tensor) -> float:
    mapping.mean_raw(probe)
    start = time.perf_counter()
    mapping.mean_raw(probe)
    return time.perf_counter() - start


def _decided(mapping: TiledMapping, raw: torch.Tensor) -> torch.Tensor:
    return torch.stack([mapping.task.decide(each) for each in raw])


def _mean(engines: Sequence[Backend], x: torch.Tensor) -> torch.Tensor:
    values = [engine(x) for engine in engines]
    return values[0] if len(values) == 1 else torch.stack(values).mean(0)
