"""A bundle's chain of transforms as `TileReads`: those in common use; any other is named and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vesalius.core.reads import Blend, Scheme, TileReads
from vesalius.errors import FormatError

NOTHING = frozenset({
    "LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "EnsureType", "ToTensor", "CastToType", "ToDevice", "SqueezeDim", "Identity",
})
"""Transforms that change no number and no place."""
DO = "only bundles with transforms in common use can be imported; use MONAI for this one"
UNBOUNDED = 1e30
PAIRS = {"L": "R", "P": "A", "I": "S"}
"""Letters of one axis."""
OVERLAP = 0.25
"""MONAI's own, where a bundle states none."""


class Reading:
    """Collects what the transforms of a chain do, one after the other.

    MONAI's arrays have x first, ours z: without an orientation the stored axes are taken in reverse.
    """

    def __init__(self, ndim: int, channels: int, where: str) -> None:
        self.ndim, self.channels, self.where = ndim, channels, where
        self.orient: str | None = None
        self.spacing: tuple[float, ...] | None = None
        self.scheme: Scheme = "none"
        self.low, self.high, self.mean, self.std = 0.0, 255.0, 0.0, 1.0
        self.nonzero = False

    def take(self, stated: dict[str, Any]) -> None:
        """Add one transform.

        Raises
        ------
        FormatError: it is not known, its arguments are expressions, or it cannot follow those before it.
        """
        name = str(stated["_target_"]).rpartition(".")[2].removesuffix("d").removesuffix("D").removesuffix("ict")
        known: dict[str, Callable[[dict[str, Any]], None]] = {
            "Orientation": self._orientation, "Spacing": self._spacing, "ScaleIntensityRange": self._range, "ScaleIntensity": self._unit,
            "NormalizeIntensity": self._standard,
        }
        if name in NOTHING:
            return
        if name not in known:
            expected = ", ".join(f"{each}d" for each in known)
            raise FormatError(f"the transform {stated['_target_']} cannot be imported", where=self.where, expected=expected, got=stated["_target_"], do=DO)
        code = [f"{key}: {value}" for key, value in stated.items() if isinstance(value, str) and value.startswith("$") and key != "keys"]
        if code:
            raise FormatError(f"{stated['_target_']} has an expression, which is not evaluated", where=self.where, got=code[0], do="write its value instead")
        known[name](stated)

    def _cannot(self, stated: dict[str, Any], why: str) -> FormatError:
        return FormatError(f"the transform {stated['_target_']} cannot be imported as it is used here", where=self.where, got=why, do=DO)

    def _orientation(self, stated: dict[str, Any]) -> None:
        code = str(stated.get("axcodes"))
        if sorted(PAIRS.get(letter, letter) for letter in code) != ["A", "R", "S"]:
            raise self._cannot(stated, f"axcodes {stated.get('axcodes')}")
        if self.spacing and len(set(self.spacing)) > 1:
            raise self._cannot(stated, "an orientation after a spacing")
        self.orient = code

    def _spacing(self, stated: dict[str, Any]) -> None:
        given, mode = stated.get("pixdim"), stated.get("mode", "bilinear")
        values = [float(v) for v in given] if isinstance(given, list) else [float(given)] * self.ndim if isinstance(given, (int, float)) else []
        mode = mode[0] if isinstance(mode, list) else mode
        if len(values) != self.ndim or mode != "bilinear" or stated.get("scale_extent") or stated.get("diagonal"):
            raise self._cannot(stated, f"pixdim {given}, mode {mode}")
        if self.scheme != "none":
            raise self._cannot(stated, "a spacing after the intensities")
        self.spacing = tuple(max(v, 0.0) for v in values)

    def _first(self, stated: dict[str, Any]) -> None:
        if self.scheme != "none":
            raise self._cannot(stated, "a second scaling of intensities")

    def _range(self, stated: dict[str, Any]) -> None:
        self._first(stated)
        a, b, low, high = (stated.get(key) for key in ("a_min", "a_max", "b_min", "b_max"))
        if a is None or b is None or a == b:
            raise self._cannot(stated, f"a_min {a}, a_max {b}")
        least, most = (0.0, 1.0) if low is None or high is None else (float(low), float(high))
        self.scheme, self.std = "ct", (b - a) / (most - least)
        self.mean = a - least * self.std
        self.low, self.high = (float(a), float(b)) if stated.get("clip") else (-UNBOUNDED, UNBOUNDED)

    def _unit(self, stated: dict[str, Any]) -> None:
        low, high = stated.get("minv", 0.0), stated.get("maxv", 1.0)
        apart = self.channels == 1 or stated.get("channel_wise")
        if self.scheme not in ("none", "zscore") or low is None or high is None or stated.get("factor") or not apart:
            raise self._cannot(stated, f"minv {low}, maxv {high}, channel_wise {stated.get('channel_wise', False)}")
        self.scheme = "unit" if self.scheme == "none" else "zscore+unit"
        self.std = 1 / (float(high) - float(low))
        self.mean = -float(low) * self.std

    def _standard(self, stated: dict[str, Any]) -> None:
        self._first(stated)
        given: dict[str, Any] = {key: stated.get(key) for key in ("subtrahend", "divisor") if stated.get(key) is not None}
        if given and (set(given) != {"subtrahend", "divisor"} or stated.get("nonzero") or any(isinstance(v, list) for v in given.values())):
            raise self._cannot(stated, f"{given}")
        if not given and self.channels > 1 and not stated.get("channel_wise"):
            raise self._cannot(stated, "channel_wise false for several channels")
        if given:
            self.scheme, self.mean, self.std, self.low, self.high = "ct", given["subtrahend"], given["divisor"], -UNBOUNDED, UNBOUNDED
        else:
            self.scheme, self.nonzero = "zscore", bool(stated.get("nonzero"))

    def reads(self, inferer: Any) -> TileReads:
        """The whole reading, with the tiles of the inferer.

        Raises
        ------
        FormatError: another inferer than MONAI's sliding windows, or its size is not stated plainly.
        """
        if not isinstance(inferer, dict) or str(inferer.get("_target_")).rpartition(".")[2] != "SlidingWindowInferer":
            got = inferer.get("_target_") if isinstance(inferer, dict) else inferer
            raise FormatError("the inferer cannot be imported", where=self.where, expected="SlidingWindowInferer", got=got, do=DO)
        size, overlap, mode = inferer.get("roi_size"), inferer.get("overlap", OVERLAP), str(inferer.get("mode", "constant"))
        size = [size] * self.ndim if isinstance(size, int) else size
        plain = isinstance(size, list) and len(size) == self.ndim and all(isinstance(n, int) and n > 0 for n in size)
        if not plain or not isinstance(overlap, (int, float)) or mode not in ("constant", "gaussian"):
            expected = f"{self.ndim} sides, an overlap, mode constant or gaussian"
            raise FormatError("the inferer's tiles are not stated plainly", where=self.where, expected=expected, got=f"{size}, {overlap}, {mode}", do=DO)
        n = self.channels
        blend: Blend = "centred" if mode == "gaussian" else "constant"
        return TileReads(
            size=tuple(int(side) for side in size or ()), channels=n, spacing_mm=self.spacing, schemes=(self.scheme,) * n, low=(float(self.low),) * n,
            high=(float(self.high),) * n, mean=(float(self.mean),) * n, std=(float(self.std),) * n, overlap=float(overlap),
            orient=self.orient or "stored", axes=() if self.orient else tuple(reversed(range(self.ndim))), inside=(self.nonzero,) * n, order=1,
            blend=blend, manner="monai",
        )
