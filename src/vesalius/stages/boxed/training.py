"""Optimiser and augmentation of a run with boxes."""

from __future__ import annotations

from vesalius.networks import describe
from vesalius.plan import Plan
from vesalius.stages.boxed.facts import BoxFacts
from vesalius.stages.request import Request
from vesalius.stages.tiled.training import mirror_axes
from vesalius.transforms.tileaugment import TileAugment

PEAK = 2e-3
TWO_STAGES = 4e-4
"""Networks with anchors and pretrained habits want smaller steps."""
MOSAIC = 0.3


def choose_optimiser(plan: Plan, request: Request) -> Plan:
    """AdamW with a moving average; small steps for networks of other libraries."""
    own = describe(plan["network.name"]).library == "vesalius"
    peak, why = (PEAK if own else TWO_STAGES), f"AdamW, {plan['network.name']}"
    if request.learning_rate is not None:
        peak, why = request.learning_rate, "asked for with --learning-rate"
    total = int(plan["train.epochs"]) * int(plan["train.steps_per_epoch"])
    plan = plan.decide("train.learning_rate", float(f"{peak:.3g}"), why)
    plan = plan.decide("train.warmup_steps", max(1, min(total // 10, 300)), "a tenth of the steps, at most 300; then half a cosine")
    plan = plan.decide("train.weight_decay", 0.03, "decoupled (AdamW), not for biases and norms")
    plan = plan.decide("train.clip_norm", 10.0, "a rare large gradient must not undo an epoch")
    plan = plan.decide("train.ema", round(1 - 1 / max(10.0, min(1000.0, total / 20)), 5), "moving average of the weights over about a twentieth of the steps")
    return plan.decide("train.sampling", "tiles", "see train.foreground")


def choose_box_augmentation(plan: Plan, facts: BoxFacts) -> Plan:
    """What the same objects could look like in the next patient and on the next scanner; colour pictures have no up."""
    tiles = facts.tiles
    axes, why = mirror_axes(tiles)
    if tiles.ndim == 3 and axes:
        axes, why = (0, 1, 2), "all axes are mirrored: a lesion looks alike any way round, and no class speaks of a side"
    plan = plan.decide("train.flips", list(axes), why)
    plan = plan.decide("train.mirror", [], "no mirror images at prediction: speed counts; members and folds are fused")
    spacing = list(plan["input.spacing_mm"]) or [1.0] * tiles.ndim
    free, flat = tiles.ndim == 2 and tiles.colour, tiles.ndim == 3 and spacing[0] > 3 * min(spacing)
    ct = tiles.modality == "CT"
    augment = TileAugment(
        rotate_deg=180.0 if free else 15.0, flat=flat, scale=0.25, spatial_share=0.8 if free else 0.5, flip_axes=axes,
        brightness=0.1 if ct else 0.3, contrast=0.15 if ct else 0.3, gamma=0.1 if ct else 0.25, noise=0.1, blur=1.0 if free else 0.8, coarse=1.5,
        tone_share=0.4 if free else 0.3,
    )
    turn = "any turn: such pictures have no up" if free else "turns up to 15 degrees"
    plan = plan.decide("train.augment", augment.to_dict(), f"{turn}, scale 25 %, brightness, contrast, gamma, noise and sharpness a little")
    mosaic = MOSAIC if tiles.ndim == 2 else 0.0
    return plan.decide("train.mosaic", mosaic, "share of the tiles that are put together of four" if mosaic else "volumes are varied enough by their tiles")
