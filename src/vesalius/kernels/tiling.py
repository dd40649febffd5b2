"""Reading a large image through a small network: overlapping tiles, blended, slab by slab.

Tiles are spread evenly (as nnU-Net does, Isensee et al., Nature Methods 2021) and weighted by a Gaussian that falls
towards their border. The tiles lie on a grid of places, and the weights are a product over the axes, so the sum of
all weights at a sample is a product too: every tile's weights are divided by it beforehand, and what is added up is
the blended value itself. Only the slabs that a later tile still touches are held: the array of class x volume never exists.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vesalius.errors import DataError, OptionError

Predict = Callable[[Tensor], Tensor]
"""``[B, C, *size] -> [B, n_out, *size]``."""
Progress = Callable[[int, int, str], None]
SIGMA = 1 / 8
"""Width of the Gaussian as a part of the tile's side."""
AIR_RAW = -10.0
"""Raw value of every class but the first where a tile was not computed (the first has 0): a soft-max of 5e-5, a sigmoid too."""
PIECE_BYTES = 2**24
"""Slabs are handed out in pieces of about this size."""
TILE = "tile"


def quiet(done: int, total: int, what: str) -> None:
    """Say nothing."""


def places(shape: Sequence[int], size: Sequence[int], overlap: float = 0.5) -> list[list[int]]:
    """First sample of each tile along each axis: evenly spread, at most ``size * (1 - overlap)`` apart, covering everything.

    Along an axis that is shorter than the tile there is one tile, centred; its place is then 0 or negative and what
    lies outside is padding.

    Raises
    ------
    OptionError: another number of axes, a side below 1, or an overlap outside [0, 1).

    >>> places((10, 4), (6, 7), 0.5)
    [[0, 2, 4], [-1]]
    """
    if len(shape) != len(size) or min(*shape, *size) < 1:
        raise OptionError("tiles need one side of at least 1 for each axis of the image", expected=f"{len(shape)} sides for {tuple(shape)}", got=tuple(size))
    if not 0 <= overlap < 1:
        raise OptionError("neighbouring tiles overlap by a part of their side", expected="0 <= overlap < 1", got=overlap)
    return [_along(n, side, overlap) for n, side in zip(shape, size, strict=True)]


def places_by_step(shape: Sequence[int], size: Sequence[int], overlap: float) -> list[list[int]]:
    """First sample of each tile where tiles lie ``int(size * (1 - overlap))`` apart and the last is moved back to end with the image (MONAI).

    >>> places_by_step((10, 4), (6, 7), 0.5)
    [[0, 3, 4], [-1]]
    """
    found = places(shape, size, overlap)
    for axis, (n, side) in enumerate(zip(shape, size, strict=True)):
        if n > side:
            step = max(int(side * (1 - overlap)), 1)
            found[axis] = [min(i * step, n - side) for i in range(math.ceil((n - side) / step) + 1)]
    return found


def _along(n: int, side: int, overlap: float) -> list[int]:
    if n <= side:
        return [-((side - n) // 2)]
    tiles = math.ceil((n - side) / max(side * (1 - overlap), 1)) + 1
    return [round((n - side) * i / (tiles - 1)) for i in range(tiles)]


def profile(side: int) -> Tensor:
    """Weights along one axis of a tile, float64 ``[side]``: a Gaussian of sigma side / 8, never 0.

    Its middle is sample side // 2, as in nnU-Net (half a sample off the middle of an even side): where decisions are close
    that half sample changed one label in a hundred, and a model from there is to decide as it did.
    """
    place = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.exp(-0.5 * (place / (side * SIGMA)) ** 2)


def profiles(size: Sequence[int], blend: str = "gaussian") -> list[Tensor]:
    """Weights along each axis of a tile: ``"gaussian"`` (`profile`), ``"centred"`` (the same about the very middle, as MONAI has it), or
    ``"constant"``.

    Raises
    ------
    OptionError: another blend.
    """
    if blend == "gaussian":
        return [profile(side) for side in size]
    if blend == "constant":
        return [torch.ones(side, dtype=torch.float64) for side in size]
    if blend == "centred":
        return [torch.exp(-0.5 * ((torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (side * SIGMA)) ** 2) for side in size]
    raise OptionError(f"unknown blend '{blend}'", expected="gaussian, centred or constant")


def gaussian(size: Sequence[int]) -> Tensor:
    """Importance of each sample of a tile, float32 ``[*size]``: 1 near the middle, e^-8 an axis at the border."""
    return _product([profile(side) for side in size])


def mirrored(predict: Predict, axes: Sequence[int]) -> Predict:
    """Predict every mirroring along ``axes`` (spatial, 0 the first), turn back and average: 2**len(axes) times the work.

    >>> float(mirrored(lambda x: x, (0, 1))(torch.ones(1, 1, 2, 2)).mean())
    1.0
    """
    turns = [[2 + axis for axis in chosen] for n in range(len(axes) + 1) for chosen in itertools.combinations(axes, n)]

    def average(x: Tensor) -> Tensor:
        total = predict(x).float()
        for turn in turns[1:]:
            total = total + predict(x.flip(turn)).float().flip(turn)
        return total / len(turns)

    return average


@dataclass(frozen=True)
class _Layout:
    """Where tiles lie and what each counts: ``weights[axis][i]`` is the part of tile i along that axis, float64 ``[side]``.

    ``raised``: weights of a tile that are no product over the axes ``[*size]``, and their sum over all tiles ``[*shape]``.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    starts: list[list[int]]
    weights: list[list[Tensor]]
    raised: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, shape: tuple[int, ...], size: tuple[int, ...], overlap: float, profiles: Sequence[Tensor] | None, starts: list[list[int]] | None, least: float,
    ) -> _Layout:
        starts = places(shape, size, overlap) if starts is None else starts
        profiles = [profile(side) for side in size] if profiles is None else profiles
        if [tuple(each.shape) for each in profiles] != [(side,) for side in size] or any(float(each.min()) <= 0 for each in profiles):
            raise OptionError("the weights of a tile are one positive profile for each axis", expected=f"lengths {size}, all above 0")
        layout = cls(shape, size, starts, [_shares(n, each, row) for n, each, row in zip(shape, profiles, starts, strict=True)])
        whole = _product(profiles)
        return layout._raised(whole.clamp(min=least)) if float(whole.min()) < least else layout

    def _raised(self, weight: Tensor) -> _Layout:
        """The same tiles with these weights of a tile."""
        total = torch.zeros(self.shape)
        for tile in itertools.product(*(range(len(each)) for each in self.starts)):
            total[self.inside(tile)] += weight[self.within(tile)]
        return replace(self, raised=(weight, total))

    @property
    def total(self) -> int:
        return math.prod(map(len, self.starts))

    def row(self, k: int) -> list[tuple[int, ...]]:
        """Tiles (their number along each axis) that begin at the k-th place of the first axis."""
        return [(k, *rest) for rest in itertools.product(*(range(len(each)) for each in self.starts[1:]))]

    def inside(self, tile: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the image that a tile covers."""
        corner = [each[i] for each, i in zip(self.starts, tile, strict=True)]
        return tuple(slice(max(c, 0), min(c + side, n)) for c, side, n in zip(corner, self.size, self.shape, strict=True))

    def within(self, tile: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the tile that lies in the image."""
        corner = [each[i] for each, i in zip(self.starts, tile, strict=True)]
        return tuple(slice(part.start - c, part.stop - c) for part, c in zip(self.inside(tile), corner, strict=True))

    def weight(self, tile: tuple[int, ...]) -> Tensor:
        """What the tile's samples count, float32, of its part in the image."""
        if self.raised is not None:
            return self.raised[0][self.within(tile)] / self.raised[1][self.inside(tile)]
        return _product([each[i][part] for each, i, part in zip(self.weights, tile, self.within(tile), strict=True)])


def _shares(n: int, profile: Tensor, starts: list[int]) -> list[Tensor]:
    """The profile of each tile divided by the sum of all at every place."""
    total = torch.zeros(max(n, starts[-1] + len(profile)) - starts[0], dtype=torch.float64)
    spans = [slice(start - starts[0], start - starts[0] + len(profile)) for start in starts]
    for span in spans:
        total[span] += profile
    return [profile / total[span] for span in spans]


def _product(profiles: Sequence[Tensor]) -> Tensor:
    whole = torch.ones((), dtype=torch.float64)
    for each in profiles:
        whole = whole[..., None] * each.double()
    return whole.float()


class _Sums:
    """Blended values of the planes that tiles still touch: ``planes [depth, n_out, *rest]``, plane z in slot z modulo depth."""

    def __init__(self, layout: _Layout, n_out: int, device: torch.device, file: Path | None) -> None:
        self.depth = min(layout.size[0], layout.shape[0])
        shape = (self.depth, n_out, *layout.shape[1:])
        if file is None:
            self.planes = torch.zeros(shape, device=device)
        else:
            self.planes = torch.from_file(str(file), shared=True, size=math.prod(shape)).reshape(shape).zero_()

    def _slots(self, low: int, high: int) -> Iterator[tuple[slice, slice]]:
        """Slots of the planes low .. high, and which of these planes they are: in one part or two."""
        first = low % self.depth
        cut = min(high - low, self.depth - first)
        yield slice(first, first + cut), slice(0, cut)
        if cut < high - low:
            yield slice(0, high - low - cut), slice(cut, high - low)

    def add(self, where: tuple[slice, ...], raw: Tensor, weight: Tensor) -> None:
        """Add ``raw [n_out, *part]`` times ``weight [*part]``; raw may have one value a class."""
        by_plane, weight = raw.transpose(0, 1), weight[:, None]
        for slots, part in self._slots(where[0].start, where[0].stop):
            values = by_plane if by_plane.shape[0] == 1 else by_plane[part]
            held: tuple[slice, ...] = (slots, slice(None), *where[1:])
            self.planes[held].addcmul_(values, weight[part])

    def take(self, low: int, high: int) -> Iterator[tuple[slice, Tensor]]:
        """Hand out planes low .. high in pieces ``[n_out, n, *rest]`` and empty their slots."""
        step = max(1, PIECE_BYTES // (self.planes[0].numel() * 4))
        for start in range(low, high, step):
            stop = min(start + step, high)
            taken = torch.cat([self.planes[slots] for slots, _ in self._slots(start, stop)])
            for slots, _ in self._slots(start, stop):
                self.planes[slots] = 0
            yield slice(start, stop), taken.transpose(0, 1)


def stream(
    predict: Predict,
    x: Tensor | np.ndarray,
    *,
    size: Sequence[int],
    n_out: int,
    overlap: float = 0.5,
    batch: int = 1,
    skip: np.ndarray | None = None,
    weights: Sequence[Tensor] | None = None,
    background: Sequence[float] | None = None,
    starts: list[list[int]] | None = None,
    least: float = 0.0,
    progress: Progress = quiet,
    file: Path | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Blended raw values of a whole image, slab by slab along its first axis.

    Parameters
    ----------
    predict: see `Predict`; called without gradients. Where it gives its result (CPU or GPU), the sums are held.
    x: ``[C, (Z,) Y, X]``, a tensor or an array (a memmap is read tile by tile); beyond its border tiles hold 0.
    size, overlap: of the tiles, see `places`.
    batch: tiles for one call of ``predict``; the last call of a row may have fewer.
    skip: bool ``[(Z,) Y, X]``, True where nothing is to be found (air, outside of the body). A tile with nothing else is
        not computed and counts with the raw values ``background``; other samples are not affected.
    weights: one positive profile for each axis, whose product weighs a tile; None for Gaussians (`profile`).
    starts: first sample of each tile along each axis, rising; None for `places`.
    least: no weight is below this (MONAI: 0.001); the sum of all weights is then held, a number a sample.
    background: ``[n_out]``; None for 0 in the first class and `AIR_RAW` in the others (all `AIR_RAW` when ``n_out`` is 1).
    file: where to hold the sums when they do not fit in memory; a new file, which the caller removes.

    Yields
    ------
    ``(slice of the first axis, raw [n_out, n, ...] float32)`` in order, without gap, each as soon as no later tile
    touches it. At most ``n_out`` x (depth of a tile) planes are held.

    Raises
    ------
    OptionError: see `places`; or the weights do not fit the tile.
    DataError: ``skip`` has another shape; or the network gives another shape than stated, or a value that is no number.
    """
    layout = _Layout.of(tuple(x.shape[1:]), tuple(size), overlap, weights, starts, least)
    if skip is not None and skip.shape != layout.shape:
        raise DataError("the samples to skip do not lie on the image", expected=f"shape {layout.shape}", got=skip.shape)
    reader = _Reader(predict, x, layout, n_out, batch)
    air = torch.tensor(_air(n_out) if background is None else background, dtype=torch.float32).reshape(n_out, *[1] * len(layout.shape))
    sums, done = None, 0
    for k, start in enumerate(layout.starts[0]):
        tiles = layout.row(k)
        empty = [tile for tile in tiles if skip is not None and bool(skip[layout.inside(tile)].all())]
        for tile, raw in itertools.chain(reader.read([tile for tile in tiles if tile not in set(empty)]), ((tile, air) for tile in empty)):
            if sums is None:
                sums = _Sums(layout, n_out, raw.device, file)
            sums.add(layout.inside(tile), raw.to(sums.planes.device), layout.weight(tile).to(sums.planes.device))
            done += 1
            progress(done, layout.total, TILE)
        stop = layout.starts[0][k + 1] if k + 1 < len(layout.starts[0]) else layout.shape[0]
        if sums is not None:
            yield from sums.take(max(start, 0), stop)


def _air(n_out: int) -> list[float]:
    return [0.0 if n_out > 1 else AIR_RAW] + [AIR_RAW] * (n_out - 1)


@dataclass(frozen=True)
class _Reader:
    """Cuts tiles, runs the network on them and cuts its answers to the part in the image."""

    predict: Predict
    x: Tensor | np.ndarray
    layout: _Layout
    n_out: int
    batch: int

    def read(self, tiles: list[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        for first in range(0, len(tiles), self.batch):
            chosen = tiles[first : first + self.batch]
            with torch.no_grad():
                raw = self.predict(torch.stack([self._cut(tile) for tile in chosen])).float()
            self._check(raw, len(chosen))
            for one, tile in zip(raw, chosen, strict=True):
                inside: tuple[slice, ...] = (slice(None), *self.layout.within(tile))
                yield tile, one[inside]

    def _cut(self, tile: tuple[int, ...]) -> Tensor:
        part = self.x[(slice(None), *self.layout.inside(tile))]
        part = part.float() if isinstance(part, Tensor) else torch.from_numpy(np.array(part, np.float32))
        if tuple(part.shape[1:]) == self.layout.size:
            return part
        whole = part.new_zeros((part.shape[0], *self.layout.size))
        inside: tuple[slice, ...] = (slice(None), *self.layout.within(tile))
        whole[inside] = part
        return whole

    def _check(self, raw: Tensor, n: int) -> None:
        expected = (n, self.n_out, *self.layout.size)
        if tuple(raw.shape) != expected:
            raise DataError("the network gives another shape than stated", expected=f"{expected}", got=tuple(raw.shape))
        if not bool(torch.isfinite(raw.sum())):
            raise DataError("the network gives a value that is no number", do="check the image for NaN, and the number format of the network")
