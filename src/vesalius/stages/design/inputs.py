"""How studies are brought to the network: size, channels, window."""

from __future__ import annotations

import math
from collections.abc import Callable

from vesalius.core.reads import Reads
from vesalius.plan import Plan
from vesalius.stages.design.facts import Facts
from vesalius.stages.request import Request

SIDES_2D = (224, 192, 160, 128, 96, 64)
SIDES_3D = (96, 80, 64, 48, 32)
SMALL_2D, SMALL_3D = 64, 32
"""Images up to this side are read as they are."""
SEEN_IMAGES = 60_000
"""A size is taken when so many training images can be seen within the budget (or `PASSES` of them, if that is less)."""
PASSES = 25

SecondsPerImage = Callable[[tuple[int, ...]], float]


def choose_input(plan: Plan, facts: Facts, request: Request, budget_s: float, cost: SecondsPerImage) -> Plan:
    """Decide the section ``[input]`` but for mean and deviation, which need the prepared images."""
    size, reason = _size(facts, request, budget_s, cost)
    plan = plan.decide("input.size", list(size), reason)
    channels = 3 if facts.colour else 1
    plan = plan.decide("input.channels", channels, "most sampled images are in colour" if facts.colour else "the sampled images are grey")
    square = len(set(size)) == 1 and len(set(facts.shape)) == 1
    why = "keeps the proportions (in mm where the spacing is known)" if not square else "the images have the proportions of the input"
    plan = plan.decide("input.letterbox", not square, why)
    return _numbers(plan, facts)


def _size(facts: Facts, request: Request, budget_s: float, cost: SecondsPerImage) -> tuple[tuple[int, ...], str]:
    longest = max(facts.shape)
    if request.size is not None:
        return (request.size,) * facts.ndim, "asked for with --size"
    if longest <= (SMALL_2D if facts.ndim == 2 else SMALL_3D):
        return (longest,) * facts.ndim, f"the images are {_times(facts.shape)}: read as they are"
    seen = min(PASSES * facts.n_train, SEEN_IMAGES)
    for side in (s for s in (SIDES_2D if facts.ndim == 2 else SIDES_3D) if s <= max(longest, SMALL_2D)):
        seconds = cost((side,) * facts.ndim) * seen
        if seconds <= budget_s:
            why = f"the largest size that sees {seen:,} images in the budget ({seconds:.0f} s of {budget_s:.0f} s)"
            return (side,) * facts.ndim, f"the images are {_times(facts.shape)} (median); {why}"
    side = (SIDES_2D if facts.ndim == 2 else SIDES_3D)[-1]
    return (side,) * facts.ndim, f"the images are {_times(facts.shape)} (median); the smallest size, since the budget is short"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _numbers(plan: Plan, facts: Facts) -> Plan:
    """Which numbers become 0 and 1, and how finely they are kept."""
    window, low, high, reason = _window(facts)
    for name, value in (("window", window), ("low", low), ("high", high)):
        plan = plan.decide(f"input.{name}", value, reason)
    levels = 255 if facts.bits <= 8 and facts.whole_numbers else 65535
    return plan.decide("input.levels", levels, f"the files use {facts.bits} bits: {'8' if levels == 255 else '16'} are kept")


def _window(facts: Facts) -> tuple[str, float, float, str]:
    if facts.modality == "CT":
        return "fixed", math.floor(facts.low), math.ceil(facts.high), "CT: the same HU range for all, 0.5 to 99.5 percentile of the training images"
    if facts.bits <= 8 and facts.whole_numbers:
        return "full", 0.0, 255.0, "8-bit pictures: the full range"
    if facts.window_share > 0.9:
        return "voi", 0.5, 99.5, "the files carry the window that the radiographer chose (VOI LUT)"
    return "percentile", 0.5, 99.5, "numbers without a fixed unit: each image from its own 0.5 to its own 99.5 percentile"


def reads_of(plan: Plan) -> Reads:
    """The input specification that the plan describes (mean .5 and deviation .25 until they are known)."""
    part = {name: decision.value for name, decision in plan.sections["input"].items()}
    channels = int(part["channels"])
    part.setdefault("mean", [0.5] * channels)
    part.setdefault("std", [0.25] * channels)
    return Reads.from_dict({k: v for k, v in part.items() if k in Reads.__dataclass_fields__})
