"""By what one study is compared with the training images: simple statistics of the picture, and what the network makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.kernels.imagestats import Statistics, noise_of, small_view, statistics_of
from vesalius.kernels.tiling import places
from vesalius.mapping import Mapping, single_thread
from vesalius.mapping.boxed import tile_at
from vesalius.transforms.reading import PERCENTILE_SAMPLES, canonical, limits

TILES = {2: 4, 3: 1}
"""Tiles of a study that the network looks at for this; all of them would take as long as reading it."""
OVERSHOOT = 0.5
"""Numbers beyond the range in which images are read are kept so far."""
NOISE, BLUR = 0.1, 2.0
"""Of the planted alterations: the deviation of the noise as a share of the range; the blur in samples of the view."""


@dataclass(frozen=True)
class View:
    """A study made small, in canonical axes, its numbers near 0 .. 1: ``array`` [C, (Z,) Y, X] float32; ``noise`` at the study's own samples, of which it
    has ``shape``."""

    array: np.ndarray
    noise: float
    shape: tuple[int, ...]

    @cached_property
    def statistics(self) -> Statistics:
        """See `kernels.imagestats.statistics_of`."""
        return statistics_of(self.array, self.noise)

    @property
    def values(self) -> np.ndarray:
        """Its statistics ``[D]``."""
        return self.statistics.values

    @property
    def colour(self) -> float:
        """Mean difference of the channels, as a share of the range; 0 unless there are three."""
        return float(np.abs(self.array - self.array.mean(0)).mean()) if len(self.array) == 3 else 0.0


def view_of(study: Study, reads: Reads | TileReads) -> View:
    """The small view of a study.

    Raises
    ------
    DataError: the image has no finite number.
    """
    order, flips = canonical(study.grid)
    image = study.image.transpose(0, *(1 + axis for axis in order))
    image = np.flip(image, tuple(1 + axis for axis in flips)) if flips else image
    low, high = _range(study, reads)
    width = max(high - low, 1e-6)
    small = np.clip((small_view(image) - low) / width, -OVERSHOOT, 1 + OVERSHOOT)
    return View(small.astype(np.float32), noise_of(image) / width, tuple(image.shape[1:]))


def _range(study: Study, reads: Reads | TileReads) -> tuple[float, float]:
    """The numbers that become 0 and 1: those of the reading where it has a range, else the study's own percentiles."""
    if isinstance(reads, Reads):
        return limits(study.image, study, reads)
    if reads.schemes[0] == "ct":
        return reads.low[0], reads.high[0]
    if reads.schemes[0] == "full":
        return 0.0, float(2**study.bits - 1)
    values = study.image.reshape(-1)[:: max(1, study.image.size // PERCENTILE_SAMPLES)]
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not len(values):
        raise DataError("the image has no finite number", where=study.source, do="export it again or leave it out")
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high)


Alter = Callable[[View, np.random.Generator], View]


@dataclass(frozen=True)
class Alteration:
    """What may have happened to an image: how it is planted, and how it is taken back (None: it cannot be)."""

    plant: Alter
    undo: Alter | None = None


def _moved(change: Callable[[np.ndarray], np.ndarray]) -> Alter:
    return lambda view, _: View(np.ascontiguousarray(change(view.array)), view.noise, view.shape)


def _noisy(view: View, rng: np.random.Generator) -> View:
    """White noise of the image's own samples, as it is left in the view, which averages over them."""
    shape = tuple(min(n, 2 * side) for n, side in zip(view.shape, view.array.shape[1:], strict=True))
    left = NOISE * float(np.sqrt(np.prod(np.divide(shape, view.shape))))
    noise = small_view(rng.normal(0, left, (len(view.array), *shape)).astype(np.float32))
    return View(view.array + noise, float(np.hypot(view.noise, NOISE)), view.shape)


def _blurred(view: View, _: np.random.Generator) -> View:
    return View(gaussian_filter(view.array, (0, *(BLUR,) * (view.array.ndim - 1))), view.noise / 4, view.shape)


def _flipped(axis: int) -> Alteration:
    return Alteration(_moved(lambda x: np.flip(x, axis)), _moved(lambda x: np.flip(x, axis)))


def _turned(quarters: int) -> Alteration:
    return Alteration(_moved(lambda x: np.rot90(x, quarters, (-2, -1))), _moved(lambda x: np.rot90(x, -quarters, (-2, -1))))


_INVERTED = Alteration(_moved(lambda x: 1 - x), _moved(lambda x: 1 - x))
_GREY = {"inverted": _INVERTED, "noisy": Alteration(_noisy), "blurred": Alteration(_blurred)}
ALTERATIONS: dict[int, dict[str, Alteration]] = {
    2: {"quarter-turn": _turned(1), "quarter-turn-back": _turned(-1), "half-turn": _turned(2), "upside-down": _flipped(-2), "mirrored": _flipped(-1)} | _GREY,
    3: {"reversed-first": _flipped(-3), "reversed-middle": _flipped(-2), "mirrored": _flipped(-1)} | _GREY,
}
"""By the axes of a study. Each is planted in training images, and watched for only where it can be told from them (see `learn`)."""
TURNS = ("quarter-turn", "quarter-turn-back", "half-turn", "upside-down", "mirrored")
"""Those of pictures that say nothing where the network was trained on pictures turned all ways."""
WORD = {"quarter-turn-back": "quarter-turn"}
"""The reason that an alteration is told by, where it is not its own name."""


def any_way_up(mapping: Mapping) -> bool:
    """Whether the plan turned or stood pictures on their heads in training (cells, vessels): a turned one is then as fit as another. Volumes have axes that
    their files state, so that a reversed one is told of in any case."""
    augment = mapping.plan.get("train.augment") or {}
    spatial = augment.get("affine", augment)
    return mapping.reads.ndim == 2 and (0 in spatial.get("flip_axes", ()) or float(spatial.get("rotate_deg", 0.0)) >= 90)


def network_features(mapping: Mapping, study: Study) -> np.ndarray | None:
    """What the first network makes of a study, ``[D]``: means over the places of its last features before the answer (whole), or of its coarsest maps (tiles).

    None where the network shows no such layer.
    """
    x, _ = mapping.encode(study)
    with single_thread(), torch.inference_mode():
        rows = [_features(mapping, batch) for batch in _batches(mapping, x)]
    held = [row for row in rows if row is not None]
    return np.mean(held, 0) if held and len(held) == len(rows) else None


def _batches(mapping: Mapping, x: Any) -> Iterator[torch.Tensor]:
    """The encoded study, or some of its tiles evenly spread, each ``[1, C, *size]``."""
    if isinstance(mapping.reads, Reads):
        yield x[None]
        return
    size = mapping.reads.size
    starts = list(product(*places(x.shape[1:], size, 0.0)))
    most = TILES[len(size)]
    chosen = starts if len(starts) <= most else [starts[int((i + 0.5) * len(starts) / most)] for i in range(most)]
    for start in chosen:
        yield tile_at(np.asarray(x), start, size).to(mapping.device)[None]


def _features(mapping: Mapping, batch: torch.Tensor) -> np.ndarray | None:
    with watched(mapping.network) as seen:
        mapping.output.predict(mapping.network, batch)
    if isinstance(mapping.reads, Reads):
        found = seen["before"][-1] if seen["before"] else None
    else:
        maps = [each for each in seen["after"] if each.ndim == batch.ndim and min(each.shape[2:]) >= 1]
        found = min(reversed(maps), key=lambda each: each[0, 0].numel()) if maps else None
    return None if found is None else pooled_features(found)


def pooled_features(tensor: torch.Tensor) -> np.ndarray:
    """``[1, D]``, ``[1, tokens, D]`` or ``[1, D, *grid]`` to ``[D]``: the mean over the places."""
    first = tensor[0].float()
    if first.ndim == 2:
        first = first.mean(0)
    elif first.ndim > 2:
        first = first.flatten(1).mean(1)
    return np.asarray(first.cpu().numpy(), np.float64)


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[str, list[torch.Tensor]]]:
    """What goes into the linear and convolutional layers (``before``) and what comes out (``after``), in order; every hook is taken away, also on errors."""
    seen: dict[str, list[torch.Tensor]] = {"before": [], "after": []}

    def keep(_: nn.Module, given: Any, made: Any) -> None:
        if given and isinstance(given[0], torch.Tensor) and isinstance(made, torch.Tensor):
            seen["before"].append(given[0])
            seen["after"].append(made)

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    hooks = [module.register_forward_hook(keep) for module in network.modules() if isinstance(module, kinds)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
