"""The fastest engine for a mapping that detects, by measuring, when there is enough to do."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from vesalius.kernels.tiling import places
from vesalius.mapping import BoxedMapping
from vesalius.mapping.boxed import tile_at
from vesalius.stages.engines import engines_known, known_engines, measured_engines

WORTH_S = 60.0
"""Other engines are tried when torch would take longer than this for everything: trying costs up to a minute."""
TRY_S = 45.0
PAYS_S = 15.0
"""An engine that is known from before is built when torch would take longer than this."""


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
    if mapping.device != "cpu":
        return ""
    known = engines_known(mapping)
    seconds = sum(each.plain_seconds for each in known) or _seconds(mapping, probe)
    if seconds * tiles * n_studies < (PAYS_S if known else WORTH_S):
        return ""
    made = (known_engines(mapping, known, probe) if known else []) or measured_engines(mapping, probe, TRY_S)
    mapping.backends, mapping.batch = made, 1
    return f"{tiles} tiles a study; {made[0].sentence}"


def _seconds(mapping: BoxedMapping, probe: torch.Tensor) -> float:
    with torch.inference_mode():
        mapping.candidates(probe)
        start = time.perf_counter()
        mapping.candidates(probe)
    return (time.perf_counter() - start) * len(mapping.networks)
