"""The labels of a whole image from a network that sees a tile: tiles, blending, resampling and decision in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from vesalius.kernels.resample import Decide, decided
from vesalius.kernels.tiling import Predict, Progress, quiet, stream

Observe = Callable[[slice, Tensor], None]
"""Gets every slab of blended raw values ``[n_out, n, ...]`` with its place along the first axis, before it is resampled."""
Slabs = Iterator[tuple[slice, Tensor]]


def labels_of(
    predict: Predict,
    x: Tensor | np.ndarray,
    *,
    size: Sequence[int],
    n_out: int,
    overlap: float = 0.5,
    batch: int = 1,
    shape_out: Sequence[int],
    decide: Decide,
    planes: int = 1,
    skip: np.ndarray | None = None,
    background: Sequence[float] | None = None,
    weights: Sequence[Tensor] | None = None,
    starts: list[list[int]] | None = None,
    least: float = 0.0,
    activate: Callable[[Tensor], Tensor] | None = None,
    anisotropic: bool = False,
    steps: Sequence[float] | None = None,
    observe: Observe | None = None,
    progress: Progress = quiet,
    out: np.ndarray | None = None,
    file: Path | None = None,
) -> np.ndarray:
    """uint8 ``[planes, *shape_out]``: what is decided for each sample of the original image.

    ``x`` is the prepared image ``[C, (Z,) Y, X]``, ``shape_out`` the shape of the image that it was resampled from. See
    `tiling.stream` for ``predict, size, n_out, overlap, batch, skip, background, weights,
    starts, least, file`` and `resample.decided` for ``decide, planes, anisotropic, steps, out``; errors are theirs. ``activate`` is applied to
    blended raw values before they are resampled.
    """
    slabs: Slabs = stream(
        predict, x, size=size, n_out=n_out, overlap=overlap, batch=batch, skip=skip, weights=weights, starts=starts, least=least,
        background=background, progress=progress, file=file,
    )
    slabs = slabs if observe is None else _observed(slabs, observe)
    slabs = slabs if activate is None else ((where, activate(raw)) for where, raw in slabs)
    return decided(slabs, tuple(x.shape[1:]), shape_out, decide, planes, anisotropic=anisotropic, steps=steps, out=out)


def _observed(slabs: Slabs, observe: Observe) -> Slabs:
    for where, raw in slabs:
        observe(where, raw)
        yield where, raw
