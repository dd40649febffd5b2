"""D-RISE (Petsiuk et al., *Black-box explanation of object detectors via saliency maps*, CVPR 2021), in two and three dimensions.

The image is shown again and again through random masks. A place speaks for a box when boxes like it are found where the place can be seen.
It asks the network only for answers, so it holds for any network, and for a box that was missed as well as for one that was found.
Two changes to the paper: what is hidden is blurred and not black, so that a mask is no new edge; and a place's weight is the correlation
of its visibility with the answer instead of the mean, so that a place which is seen often by chance does not look important.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F

from vesalius.errors import OptionError
from vesalius.seed import stream_seed
from vesalius.stages.explain.base import to_unit
from vesalius.stages.explain.occlusion import blurred

Candidates = Callable[[torch.Tensor], torch.Tensor]
"""Tiles ``[B, C, *size]`` to candidates ``[B, M, 2 * ndim + n_out]``: corners in samples of the tile, then logits (docs/architecture.md)."""
MASKS = 400
VISIBLE = 0.5
"""Share of a mask's cells that are seen."""
CELLS_A_BOX = 2.5
"""Cells of a mask along each side of the box: its parts are told apart, and a few hundred masks suffice."""
MOST_CELLS = {2: 16, 3: 8}
"""Along each axis of the tile."""
DETAIL = 1 / 8
"""What is hidden keeps no detail smaller than this share of the tile."""
NOISE = 2.0
"""Correlations below so many standard errors of chance are 0."""
BATCH_SAMPLES = 2_000_000


def drise(candidates: Candidates, x: torch.Tensor, box: Sequence[float], k: int, *, masks: int = MASKS, seed: int = 0) -> torch.Tensor:
    """What a box rests on: ``[(Z,) Y, X]`` float32 in [0, 1], relative to its own maximum; 0 everywhere when nothing speaks for it.

    Parameters
    ----------
    candidates: what answers; called without gradients.
    x: one tile ``[1, C, (Z,) Y, X]``.
    box: ``low..., high...`` in samples of the tile. k: number of its class among the logits.
    masks: how many; the map's noise falls with their square root.

    Raises
    ------
    OptionError: fewer than two masks, or a box without an extent.
    """
    ndim = x.ndim - 2
    target = torch.as_tensor(box, dtype=torch.float32, device=x.device)
    if masks < 2 or not bool((target[ndim:] > target[:ndim]).all()):
        wanted = "two masks or more, and a box whose high corner lies above its low one"
        raise OptionError("this box cannot be explained", expected=wanted, got=f"{masks} masks, box {list(box)}")
    sums = _Sums(tuple(x.shape[2:]))
    with torch.no_grad():
        hidden = blurred(x, DETAIL)
        for veils in _veils(tuple(x.shape[2:]), target.cpu(), masks, seed):
            seen = torch.lerp(hidden, x, veils[:, None].to(x))
            sums.add(veils, similarity(candidates(seen), target, k).cpu())
    return to_unit(sums.correlation() - NOISE / masks**0.5)


def similarity(found: torch.Tensor, box: torch.Tensor, k: int) -> torch.Tensor:
    """The best product of overlap (IoU) with ``box`` and probability of class ``k`` among candidates ``[B, M, …]``: ``[B]``."""
    ndim = len(box) // 2
    overlap = ious(found[..., : 2 * ndim].float(), box)
    return (overlap * found[..., 2 * ndim + k].float().sigmoid()).amax(-1)


def ious(boxes: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """IoU of boxes ``[..., 2 * ndim]`` with one box.

    >>> ious(torch.tensor([[0.0, 0, 2, 2], [4, 4, 5, 5]]), torch.tensor([0.0, 0, 2, 1])).tolist()
    [0.5, 0.0]
    """
    n = len(box) // 2
    inner = (torch.minimum(boxes[..., n:], box[n:]) - torch.maximum(boxes[..., :n], box[:n])).clamp(min=0).prod(-1)
    union = (boxes[..., n:] - boxes[..., :n]).clamp(min=0).prod(-1) + (box[n:] - box[:n]).prod() - inner
    return inner / union.clamp(min=1e-9)


def _veils(size: tuple[int, ...], box: torch.Tensor, masks: int, seed: int) -> Iterator[torch.Tensor]:
    """Batches of masks ``[B, *size]`` in [0, 1], 1 where the image is seen: random cells, enlarged linearly and shifted (RISE, Petsiuk 2018)."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "drise"))
    ndim, samples = len(size), int(torch.tensor(size).prod())
    sides = (box[ndim:] - box[:ndim]).tolist()
    cells = [min(max(2, round(n * CELLS_A_BOX / side)), MOST_CELLS[ndim]) for n, side in zip(size, sides, strict=True)]
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
