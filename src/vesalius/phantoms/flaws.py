"""What can be wrong with a mask, dealt out over the cases of a phantom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesalius.errors import OptionError
from vesalius.seed import generator

UNKNOWN_LABEL = 9
"""A number that no class has."""


@dataclass(frozen=True)
class Flaws:
    """Cases by number; each case has one flaw at most.

    Parameters
    ----------
    empty: nothing is there to be found, and the mask says so.
    other_grid: the mask has other samples than the image.
    unknown_label: a few samples of the mask hold `UNKNOWN_LABEL`.
    swapped: case to the case whose structures its mask shows (on the grid of its own image).
    """

    empty: frozenset[int]
    other_grid: frozenset[int]
    unknown_label: frozenset[int]
    swapped: dict[int, int]

    def shown(self, number: int) -> int:
        """The case whose structures the mask of this one shows: its own, unless it was swapped."""
        return self.swapped.get(number, number)


def deal_flaws(seed: int, patients: list[str], *, empty: int, other_grid: int, unknown_label: int, swapped: int, shuffle: bool) -> Flaws:
    """Draw which cases are flawed.

    Parameters
    ----------
    patients: the patient of each case. empty, other_grid, unknown_label, swapped: how many cases of each.
    shuffle: every mask shows another patient's structures, so that nothing can be learnt.

    Raises
    ------
    OptionError: more flaws than cases, or a swap where there is only one patient.
    """
    wanted = empty + other_grid + unknown_label + swapped
    if wanted > len(patients) or min(empty, other_grid, unknown_label, swapped) < 0:
        raise OptionError("a phantom cannot have more flawed masks than cases", expected=f"0 to {len(patients)} in all", got=wanted)
    if (swapped or shuffle) and len(set(patients)) < 2:
        raise OptionError("masks can only be swapped between patients", expected="two patients or more", got=len(set(patients)), do="ask for more images")
    order = [int(i) for i in generator(seed, "flaws").permutation(len(patients))]
    ends = np.cumsum([empty, other_grid, unknown_label, swapped])
    parts = [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    moved = order if shuffle else parts[3]
    return Flaws(frozenset(parts[0]), frozenset(parts[1]), frozenset(parts[2]), {i: _other(i, order, patients) for i in moved})


def _other(number: int, order: list[int], patients: list[str]) -> int:
    """The next case in a drawn order that belongs to another patient."""
    place = order.index(number)
    return next(i for i in order[place + 1 :] + order[:place] if patients[i] != patients[number])
