"""The fastest engine for a mapping that detects, by measuring, when there is enough to do."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from vesalius.kernels.tiling import places
from vesalius.mapping import BoxedMapping
from vesalius.mapping.boxed import tile_at
from vesalius.networks.backends import Backend, fastest

WORTH_S = 60.0
"""Other engines are tried when torch would take longer than this for everything: trying costs up to a minute."""
TRY_S = 45.0


def quicken_boxes(mapping: BoxedMapping, x: np.ndarray, n_studies: float) -> str:
    """Choose the engine by measuring; returns what was found, in words ("" when nothing was tried).

    Parameters
    ----------
    x: a prepared study ``[C, (Z,) Y, X]``. n_studies: how many there are; ``math.inf`` for a stream.

    Tiles are then read one at a time, for which engines are built.
    """
    starts = places(x.shape[1:], mapping.reads.size, mapping.reads.overlap)
    tiles = math.prod(len(each) for each in starts) * 2 ** len(mapping.mirror)
    probe = tile_at(x, [each[len(each) // 2] for each in starts], mapping.reads.size)[None]
    if mapping.device != "cpu" or _seconds(mapping, probe) * tiles * n_studies < WORTH_S:
        return ""
    made = [_engine(mapping, network, probe) for network in mapping.networks]
    mapping.backends, mapping.batch = made, 1
    return f"{tiles} tiles a study; {made[0].sentence}"


def _seconds(mapping: BoxedMapping, probe: torch.Tensor) -> float:
    with torch.inference_mode():
        mapping.candidates(probe)
        start = time.perf_counter()
        mapping.candidates(probe)
    return (time.perf_counter() - start) * len(mapping.networks)


def _engine(mapping: BoxedMapping, network: torch.nn.Module, probe: torch.Tensor) -> Backend:
    return fastest(network, channels=mapping.reads.channels, size=mapping.reads.size, n_out=mapping.output.n_out, seconds=TRY_S, probe=probe, detects=True)
