"""Random masks through which an image is shown, and how the visibility of each place goes with the answer (RISE, Petsiuk et al., BMVC 2018)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from vesalius.seed import stream_seed
from vesalius.stages.explain.base import to_unit

VISIBLE = 0.5
"""Share of a mask's cells that are seen."""
NOISE = 2.0
"""Correlations below so many standard errors of chance are 0."""
BATCH_SAMPLES = 2_000_000


def correlated(
    answer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, hidden: torch.Tensor, cells: Sequence[int], *, masks: int, seed: int,
) -> torch.Tensor:
    """``[(Z,) Y, X]`` float32 in [0, 1]: by how much each place's visibility goes with the answer, relative to the maximum.

    Parameters
    ----------
    answer: images ``[B, C, (Z,) Y, X]`` to numbers ``[B]``; called without gradients.
    x: the image ``[1, C, (Z,) Y, X]``; hidden: what is shown of it where a mask hides it. cells: of a mask along each axis.
    masks: how many; the map's noise falls with their square root.
    """
    sums = _Sums(tuple(x.shape[2:]))
    with torch.no_grad():
        for veils in _veils(tuple(x.shape[2:]), cells, masks, seed):
            seen = torch.lerp(hidden, x, veils[:, None].to(x))
            sums.add(veils, answer(seen).cpu())
    return to_unit(sums.correlation() - NOISE / masks**0.5)


def _veils(size: tuple[int, ...], cells: Sequence[int], masks: int, seed: int) -> Iterator[torch.Tensor]:
    """Batches of masks ``[B, *size]`` in [0, 1], 1 where the image is seen: random cells, enlarged linearly and shifted."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "drise"))
    ndim, samples = len(size), int(torch.tensor(size).prod())
    steps = [-(-n // c) for n, c in zip(size, cells, strict=True)]
    mode, batch = "bilinear" if ndim == 2 else "trilinear", min(32, max(1, BATCH_SAMPLES // samples))
    for start in range(0, masks, batch):
        count = min(batch, masks - start)
        coarse = (torch.rand(count, 1, *(c + 1 for c in cells), generator=generator) < VISIBLE).float()
        fine = F.interpolate(coarse, [(c + 1) * step for c, step in zip(cells, steps, strict=True)], mode=mode, align_corners=False)[:, 0]
        shifts = torch.stack([torch.randint(0, step, (count,), generator=generator) for step in steps], 1).tolist()
        yield torch.stack([each[tuple(slice(s, s + n) for s, n in zip(shift, size, strict=True))] for each, shift in zip(fine, shifts, strict=True)])


class _Sums:
    """Sums over masks from which the correlation of every place with the answer follows."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.n, self.w, self.ww = 0, 0.0, 0.0
        self.m, self.mm, self.wm = (torch.zeros(size, dtype=torch.float64) for _ in range(3))

    def add(self, veils: torch.Tensor, answers: torch.Tensor) -> None:
        veils, answers = veils.double(), answers.double()
        self.n += len(answers)
        self.w, self.ww = self.w + float(answers.sum()), self.ww + float((answers**2).sum())
        self.m += veils.sum(0)
        self.mm += (veils**2).sum(0)
        self.wm += torch.einsum("b,b...->...", answers, veils)

    def correlation(self) -> torch.Tensor:
        """0 where a place or the answer never changes."""
        spread = (self.mm - self.m**2 / self.n).clamp(min=0) * max(self.ww - self.w**2 / self.n, 0.0)
        together = self.wm - self.w * self.m / self.n
        return torch.where(spread > 1e-18, together / spread.clamp(min=1e-18).sqrt(), 0.0)
