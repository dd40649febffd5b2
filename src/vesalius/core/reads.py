"""What a mapping reads: the size, channels and numbers that every study is brought to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Reads:
    """Input specification of a mapping.

    Parameters
    ----------
    size: samples in array order ``(Y, X)`` or ``(Z, Y, X)`` that the network sees.
    channels: 1 or 3 (colour).
    window: how numbers become [0, 1]: ``"full"`` (0 .. 2**bits-1), ``"fixed"`` (``low``/``high`` for all
        studies, e.g. HU), ``"percentile"`` (each study's own ``low``/``high`` percentile) or
        ``"voi"`` (the file's own VOI window, else percentile).
    low, high: see ``window``.
    levels: 255 or 65535: prepared studies are stored as uint8 or uint16 in 0 .. levels.
    mean, std: of the prepared training images in [0, 1], per channel; the network gets ``(x - mean) / std``.
    letterbox: keep the aspect ratio and pad with the lowest value (True), or stretch.
    """

    size: tuple[int, ...]
    channels: int = 1
    window: Literal["full", "fixed", "percentile", "voi"] = "full"
    low: float = 0.0
    high: float = 255.0
    levels: int = 255
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    letterbox: bool = True

    @property
    def ndim(self) -> int:
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, (Z,) Y, X)`` of one prepared study."""
        return (self.channels, *self.size)

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Reads:
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
        return cls(**plain)


Blend = Literal["gaussian", "centred", "constant"]
Scheme = Literal["ct", "zscore", "full", "unit", "zscore+unit", "none"]


@dataclass(frozen=True)
class TileReads:
    """Input specification of a mapping that reads a study in tiles, at its own extent.

    Parameters
    ----------
    size: samples of one tile in array order ``(Y, X)`` or ``(Z, Y, X)``.
    channels: of a study.
    spacing_mm: every study is resampled to this; None keeps its own samples (files that state no spacing); foreign models
        may have 0 for an axis that keeps its own.
    schemes: for each channel how numbers are brought near 0 and 1: ``"ct"`` clips to ``low .. high`` and uses ``mean`` and
        ``std`` of all training studies, ``"zscore"`` uses the study's own, ``"full"`` divides by ``2**bits - 1`` and uses
        ``mean`` and ``std`` of all, ``"unit"`` takes the study's own least and largest number to 0 and 1 and
        then uses ``mean`` and ``std``, ``"zscore+unit"`` does one after the other, ``"none"`` changes nothing.
    low, high, mean, std: for each channel.
    longest: boxes: where no spacing is used, a study's longest side is brought to so many samples (the others in proportion); 0 keeps its own.
    overlap: part of a tile that its neighbour covers too.
    orient: foreign: where the axes of a volume point after it is turned, the first axis first (``"RAS"``: to the right, to the front,
        upwards), or ``"stored"`` for as they lie in the file. None for our own order: then no field marked foreign counts.
    axes: foreign: the axes in the order in which they are then taken; empty for as they are.
    crop: foreign: cut to the box outside of which every channel is 0.
    inside: foreign: for each channel, whether ``"zscore"`` looks at and changes only the samples where not every channel is 0.
    order: foreign: of the spline that resamples the image.
    blend: how tiles are weighted, see `kernels.tiling.profiles`.
    manner: ``"own"``, or ``"monai"``: tiles a fixed step apart, samples are points when they are resampled, numbers are scaled after that,
        and probabilities are resampled instead of raw values.
    """

    size: tuple[int, ...]
    channels: int = 1
    spacing_mm: tuple[float, ...] | None = None
    schemes: tuple[Scheme, ...] = ("zscore",)
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    overlap: float = 0.5
    orient: str | None = None
    axes: tuple[int, ...] = ()
    crop: bool = False
    inside: tuple[bool, ...] = ()
    order: int = 3
    blend: Blend = "gaussian"
    manner: Literal["own", "monai"] = "own"
    longest: int = 0

    @property
    def foreign(self) -> bool:
        """Whether a study is brought to these reads as a foreign model wants it (`transforms.foreign`)."""
        return self.orient is not None

    @property
    def ndim(self) -> int:
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, (Z,) Y, X)`` of one tile."""
        return (self.channels, *self.size)

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()} | {"kind": "tiles"}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> TileReads:
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items() if k != "kind"}
        return cls(**plain)
