"""A study as the rest of the package sees it: samples, where they lie, and what the file said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vesalius.core.geometry import Grid
from vesalius.errors import DataError


@dataclass(frozen=True)
class Study:
    """One image to read: a 2-D picture or a 3-D volume.

    Parameters
    ----------
    image: ``[C, (Z,) Y, X]``, in the file's own numbers after modality rescale (HU for CT);
        uint8 stays uint8, 16-bit stays 16-bit. MONOCHROME1 is already inverted.
    grid: where the samples lie; ``grid.shape == image.shape[1:]``.
    modality: DICOM Modality code where it is known (``"CT"``, ``"MR"``, ``"CR"`` ...), else None.
    bits: bits that the file states are used per sample (8 for PNG, 12 for much DICOM).
    window: (low, high) of the file's VOI window in the image's numbers, or None.
    source: path (and member) it was read from, for messages.
    meta: what else the file says (``patient_id``, ``sex``, ``age``, ``view``, ``photometric`` ...).
    """

    image: np.ndarray
    grid: Grid
    modality: str | None = None
    bits: int = 8
    window: tuple[float, float] | None = None
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.image.shape[1:]) != tuple(self.grid.shape):
            raise DataError("the samples do not lie on their grid", where=self.source, expected=f"shape {self.grid.shape}", got=self.image.shape[1:])

    @property
    def channels(self) -> int:
        return int(self.image.shape[0])

    @property
    def ndim(self) -> int:
        return self.grid.ndim
