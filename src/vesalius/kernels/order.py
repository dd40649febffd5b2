"""The order that numbers in names give: slices of a volume, frames of a film."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

NUMBERED_FROM = 3
CONSECUTIVE = 0.9
"""Part of the steps from one number to the next that must be 1: a few images may be absent."""


def numbered(names: Sequence[str]) -> list[int] | None:
    """Places of names in the order of their numbers; None unless all are one word with consecutive numbers in one folder.

    >>> numbered(["s/10.png", "s/8.png", "s/9.png"]), numbered(["a.png", "b.png", "c.png"])
    ([1, 2, 0], None)
    """
    found = [re.match(r"^(.*?)(\d+)(\D*)$", os.path.splitext(os.path.basename(name))[0]) for name in names]
    if len(names) < NUMBERED_FROM or not all(found):
        return None
    words = {(os.path.dirname(name), match[1], match[3]) for name, match in zip(names, found, strict=True) if match}
    numbers = [int(match[2]) for match in found if match]
    order = sorted(range(len(names)), key=lambda i: numbers[i])
    steps = [numbers[b] - numbers[a] for a, b in zip(order, order[1:], strict=False)]
    return order if len(words) == 1 and sum(step == 1 for step in steps) >= CONSECUTIVE * len(steps) else None
