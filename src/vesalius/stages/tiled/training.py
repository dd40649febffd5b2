"""Loss and augmentation of a run with masks, from how small the structures are and what the images show."""

from __future__ import annotations

from vesalius.plan import Plan
from vesalius.stages.tiled.facts import TileFacts
from vesalius.transforms.tileaugment import TileAugment

SMALL, TINY = 5e-4, 5e-5
"""Share of a study that its smallest structure holds: below SMALL missing it costs more than marking too much; below TINY its border counts too."""
SEEN_OFTEN = 60
"""Passes after which a network begins to know its volumes (docs/decisions/0015)."""


def choose_loss(plan: Plan, facts: TileFacts) -> Plan:
    """Dice and cross-entropy; other weights where a structure is small."""
    held = {name: share for name, share in facts.shares.items() if share > 0}
    name = min(held, key=lambda each: held[each]) if held else ""
    share = held.get(name, 1.0)
    if share < TINY:
        loss, why = "dice+ce+boundary", f"'{name}' holds {share:.1e} of a study: the distance to its border counts too (Kervadec 2019)"
    elif share < SMALL:
        loss, why = "focal-tversky+ce", f"'{name}' holds {share:.1e} of a study: missing it costs more than marking too much (Abraham 2019)"
    else:
        loss, why = "dice+ce", "Dice and cross-entropy: no structure is very small"
    plan = plan.decide("train.loss", loss, why)
    pooled = facts.ndim == 2
    why = "the tiles of a step are pooled: a picture's tile may hold little of a structure" if pooled else "each tile by itself"
    return plan.decide("train.together", pooled, why)


def choose_tile_augmentation(plan: Plan, facts: TileFacts, seen: float = 0.0) -> Plan:
    """Moderate: what the same structure could look like in the next patient and on the next scanner.

    A network that sees each part of its volumes more than `SEEN_OFTEN` times (``seen``) learns them by heart, and is shown more of them turned.
    """
    axes, why = mirror_axes(facts)
    plan = plan.decide("train.mirror", list(axes), why)
    spacing = list(plan["input.spacing_mm"]) or [1.0] * facts.ndim
    flat = facts.ndim == 3 and spacing[0] > 3 * min(spacing)
    free = facts.ndim == 2 and facts.colour
    ct = facts.modality == "CT"
    often = facts.ndim == 3 and seen > SEEN_OFTEN
    degrees, share = (180.0, 0.6) if free else (20.0, 0.7) if often else (15.0, 0.4)
    augment = TileAugment(
        rotate_deg=degrees, flat=flat, scale=0.2, bend=0.0 if flat else 2.0, spatial_share=share, flip_axes=axes,
        brightness=0.1 if ct else 0.2, contrast=0.15 if ct else 0.3, gamma=0.1 if ct else 0.25, noise=0.1, blur=0.8, coarse=1.5, tone_share=0.2,
    )
    some = "each part is seen often, so most are moved: turns up to 20 degrees" if often else "turns up to 15 degrees"
    turn = "any turn: such pictures have no up" if free else some + (" within the slices, which are far apart" if flat else "")
    return plan.decide("train.augment", augment.to_dict(), f"{turn}, scale 20 %, brightness, contrast, gamma, noise and sharpness a little")


def mirror_axes(facts: TileFacts) -> tuple[tuple[int, ...], str]:
    """Spatial axes that may be mirrored, in training and at prediction."""
    if facts.side_matters:
        return (), "no mirroring: the classes speak of left and right"
    if facts.ndim == 2 and facts.colour:
        return (0, 1), "both axes are mirrored, also at prediction: colour pictures (retina, cells, skin) have no up and no side"
    return (facts.ndim - 1,), "left and right are mirrored, also at prediction: no class speaks of a side"
