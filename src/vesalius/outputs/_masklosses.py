"""Losses of masks, one number per case, blind to samples that nobody judged."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from vesalius.core.target import IGNORED

SMOOTH = 1e-5
FN_WEIGHT = 0.7
"""Tversky: weight of what is missed against what is wrongly marked (Abraham and Khan 2019)."""
FOCUS = 0.75
"""Exponent of the focal Tversky loss: 1 / (4/3) of the same paper."""


def marks(truth: torch.Tensor, n_classes: int, exclusive: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth ``[B, L, …]`` uint8 as (classes ``[B, K, …]`` 0/1 float32, judged ``[B, 1 or K, …]`` bool)."""
    judged = truth != IGNORED
    if not exclusive:
        return (truth == 1).float(), judged
    classes = torch.arange(1, n_classes + 1, device=truth.device, dtype=truth.dtype).view(1, -1, *(1,) * (truth.ndim - 2))
    return (truth == classes).float(), judged


def shares(raw: torch.Tensor, exclusive: bool) -> torch.Tensor:
    """Probabilities ``[B, K, …]`` of the classes (without background) from raw values ``[B, n_out, …]``."""
    return raw.softmax(1)[:, 1:] if exclusive else raw.sigmoid()


def cross_entropy(raw: torch.Tensor, truth: torch.Tensor, exclusive: bool) -> torch.Tensor:
    """Mean cross-entropy of the judged samples of each case, ``[B]``; binary and summed over classes where they overlap."""
    if exclusive:
        each = F.cross_entropy(raw, truth[:, 0].long(), ignore_index=IGNORED, reduction="none").flatten(1)
        return each.sum(1) / (truth[:, 0] != IGNORED).flatten(1).sum(1).clamp(min=1)
    judged = truth != IGNORED
    each = F.binary_cross_entropy_with_logits(raw, (truth == 1).float(), reduction="none") * judged
    return (each.flatten(2).sum(2) / judged.flatten(2).sum(2).clamp(min=1)).mean(1)


def overlaps(p: torch.Tensor, held: torch.Tensor, judged: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Soft hits, size of the prediction and size of the truth, each ``[B, K]``, over judged samples."""
    p = p * judged
    return (p * held).flatten(2).sum(2), p.flatten(2).sum(2), (held * judged).flatten(2).sum(2)


def _mean_of_present(each: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Mean over the classes that a case holds; 0 for a case that holds none."""
    return (each * present).sum(1) / present.sum(1).clamp(min=1)


def dice_loss(p: torch.Tensor, held: torch.Tensor, judged: torch.Tensor, together: bool = False) -> torch.Tensor:
    """1 - soft Dice (Milletari et al. 2016), mean over the classes that are there, ``[B]``.

    ``together`` pools the batch first, so that a class that only some of its cases hold is judged by all of them; else a
    class that a case does not hold is left to the cross-entropy, since its Dice would jump from 0 to 1 with one sample.
    """
    hit, predicted, true = overlaps(p, held, judged)
    if together:
        hit, predicted, true = (part.sum(0, keepdim=True) for part in (hit, predicted, true))
    present = (true > 0).float()
    each = 1 - (2 * hit + SMOOTH) / (predicted + true + SMOOTH)
    return _mean_of_present(each, present).expand(p.shape[0])


def focal_tversky_loss(p: torch.Tensor, held: torch.Tensor, judged: torch.Tensor) -> torch.Tensor:
    """Focal Tversky loss (Abraham and Khan 2019): missing a small structure costs more than marking too much, ``[B]``."""
    hit, predicted, true = overlaps(p, held, judged)
    index = (hit + SMOOTH) / (hit + FN_WEIGHT * (true - hit) + (1 - FN_WEIGHT) * (predicted - hit) + SMOOTH)
    return _mean_of_present((1 - index).clamp(min=SMOOTH).pow(FOCUS), (true > 0).float())


def boundary_loss(p: torch.Tensor, held: torch.Tensor, judged: torch.Tensor) -> torch.Tensor:
    """Boundary loss (Kervadec et al. 2019): each sample's probability times its signed distance to the true border, ``[B]``.

    Distances are in samples and divided by the tile's largest side, so that the term is of the size of the others.
    """
    far = torch.from_numpy(np.stack([[_signed(plane) for plane in case] for case in held.cpu().numpy() > 0.5])).to(p)
    far = far / max(held.shape[2:])
    present = (held.flatten(2).sum(2) > 0).float()
    each = (p * far * judged).flatten(2).mean(2)
    return _mean_of_present(each, present)


def _signed(mask: np.ndarray) -> np.ndarray:
    """Distance to the border, negative inside; 0 where there is no mask."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    return (distance_transform_edt(~mask) - distance_transform_edt(mask)).astype(np.float32)
