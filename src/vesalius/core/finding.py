"""What a mapping says of a study. The kinds of geometry are closed; tasks are open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vesalius.core.geometry import Grid


@dataclass(frozen=True)
class Score:
    """A number with a name: a class's probability, a regressed value. ``low``/``high`` bound it (95 %) where known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "probability"


@dataclass(frozen=True)
class Mask:
    """Labelled samples on the study's own grid; ``array`` is ``[(Z,) Y, X]`` of integers."""

    array: np.ndarray
    grid: Grid
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boxes:
    """Boxes on the study's own grid, ``[N, 2*ndim]`` as (low..., high...) in array order with continuous edges (see `core.boxes`).

    ``labels`` and ``scores`` (0 .. 1) of each; ``risk`` the probability of the second label of each, empty where the model gives none; ``ids``
    numbers that stay with one object over the frames of a stream, else empty.
    """

    array: np.ndarray
    grid: Grid
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    risk: tuple[float, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Points:
    """Points in LPS mm, ``[N, 3]``."""

    world_mm: np.ndarray
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A real-valued map on the study's own grid, e.g. a heat map in [0, 1]; ``[(Z,) Y, X]`` float32."""

    name: str
    array: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class Text:
    """A sentence for the reader, with its code for the machine; ``zh`` is the same in Chinese where the sentence has numbers of its own."""

    code: str
    text: str
    zh: str = ""


Geometry = Score | Mask | Boxes | Points | Picture | Text


@dataclass(frozen=True)
class Finding:
    """The answer for one study, on the study's own grid.

    ``label`` is the answer in one word (a class, several joined by ``|``, or the value of a regression);
    ``probability`` belongs to it (None for a regression). ``items`` hold the details.
    """

    source: str
    label: str
    probability: float | None
    grid: Grid
    items: tuple[Geometry, ...] = ()
    notes: tuple[Text, ...] = field(default_factory=tuple)

    @property
    def scores(self) -> dict[str, float]:
        """All scores by name, e.g. every class's probability."""
        return {item.name: item.value for item in self.items if isinstance(item, Score)}

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(item for item in self.items if isinstance(item, Picture))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON (pictures and masks are written as files, not here)."""
        scores = [vars(item) for item in self.items if isinstance(item, Score)]
        notes = [{name: value for name, value in vars(note).items() if name != "zh" or value} for note in self.notes]
        return {"source": self.source, "label": self.label, "probability": self.probability, "scores": scores, "notes": notes}
