"""D-RISE (Petsiuk et al., *Black-box explanation of object detectors via saliency maps*, CVPR 2021), in two and three dimensions.

The image is shown again and again through random masks. A place speaks for a box when boxes like it are found where the place can be seen.
It asks the network only for answers, so it holds for any network, and for a box that was missed as well as for one that was found.
Two changes to the paper: what is hidden is blurred and not black, so that a mask is no new edge; and a place's weight is the correlation
of its visibility with the answer instead of the mean, so that a place which is seen often by chance does not look important.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from vesalius.errors import OptionError
from vesalius.stages.explain.occlusion import blurred
from vesalius.stages.explain.veils import correlated

Candidates = Callable[[torch.Tensor], torch.Tensor]
"""Tiles ``[B, C, *size]`` to candidates ``[B, M, 2 * ndim + n_out]``: corners in samples of the tile, then logits (docs/architecture.md)."""
MASKS = 400
CELLS_A_BOX = 2.5
"""Cells of a mask along each side of the box: its parts are told apart, and a few hundred masks suffice."""
MOST_CELLS = {2: 16, 3: 8}
"""Along each axis of the tile."""
DETAIL = 1 / 8
"""What is hidden keeps no detail smaller than this share of the tile."""


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
    size, sides = tuple(x.shape[2:]), (target[ndim:] - target[:ndim]).tolist()
    cells = [min(max(2, round(n * CELLS_A_BOX / side)), MOST_CELLS[ndim]) for n, side in zip(size, sides, strict=True)]
    with torch.no_grad():
        return correlated(lambda seen: similarity(candidates(seen), target, k), x, blurred(x, DETAIL), cells, masks=masks, seed=seed)


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
