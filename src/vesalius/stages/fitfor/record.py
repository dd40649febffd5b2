"""What a model remembers of its training images: ``fit_for.safetensors`` beside its weights. Nothing in it can execute, and nobody is named in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as tensors_to_bytes

from vesalius.errors import RunError
from vesalius.kernels.distance import Gaussian
from vesalius.storage import atomic_write, plain

RECORD = "fit_for.safetensors"
SCHEMA = 1


@dataclass(frozen=True)
class Bounds:
    """One measure of unlikeness: its usual value, and where it is unusual and refused. Larger is less alike."""

    usual: float
    warn: float
    refuse: float

    def strangeness(self, value: float) -> float:
        """0 for the usual value, 1 at the bound."""
        return (value - self.usual) / max(self.refuse - self.usual, 1e-9)


@dataclass(frozen=True)
class FitFor:
    """Statistics of the training images of one model.

    Parameters
    ----------
    header: see `header.summary_of`. gaussians: ``picture`` (image statistics) and, where there is one, ``network``; absent where there were too few images.
    project: ``[D, d]``, what the network's features are projected by. directions: of each alteration that can be told, in the whitened statistics of the
        picture; shifts: where it takes them, on average.
    bounds: of the gaussians and directions, by name. reference: ``{name: numbers or words}`` of the images that were held out, for `stages.monitor`.
    facts: counts and shares, for the reader.
    """

    header: dict[str, Any]
    gaussians: dict[str, Gaussian] = field(default_factory=dict)
    project: np.ndarray | None = None
    directions: dict[str, np.ndarray] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)
    bounds: dict[str, Bounds] = field(default_factory=dict)
    reference: dict[str, list[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, model: Path) -> None:
        """Write the record into a model folder."""
        arrays = {f"gaussian.{name}.{part}": getattr(each, part) for name, each in self.gaussians.items() for part in ("centre", "scale", "whiten")}
        arrays |= {f"direction.{name}": each for name, each in self.directions.items()} | {f"shift.{name}": each for name, each in self.shifts.items()}
        arrays |= ({} if self.project is None else {"project": self.project})
        facts = {"schema": SCHEMA, "header": self.header, "bounds": {name: vars(each) for name, each in self.bounds.items()}, "reference": self.reference,
                 "facts": self.facts}
        kept = {name: np.ascontiguousarray(each, np.float32) for name, each in arrays.items()} or {"none": np.zeros(1, np.float32)}
        atomic_write(model / RECORD, tensors_to_bytes(kept, {"vesalius": json.dumps(plain(facts))}))

    @classmethod
    def load(cls, folder: Path | str | None) -> FitFor | None:
        """What a model folder, or the run folder above it, holds; None where it holds no statistics. Read once while the file stays the same.

        Raises
        ------
        RunError: the file is damaged or of another schema.
        """
        path = record_path(folder)
        if path is None or not path.is_file():
            return None
        return _load(path, path.stat().st_mtime_ns)


def record_path(folder: Path | str | None) -> Path | None:
    """Where the record of a model folder, or of the run folder above it, lies."""
    if folder is None:
        return None
    folder = Path(folder)
    return (folder / "model" if (folder / "model").is_dir() else folder) / RECORD


@lru_cache(maxsize=8)
def _load(path: Path, _: int) -> FitFor:
    try:
        with safetensors.safe_open(path, "numpy") as opened:
            facts = json.loads((opened.metadata() or {})["vesalius"])
        arrays = load_file(path)
        if facts["schema"] != SCHEMA:
            raise RunError("the statistics of the model have another schema", where=path, expected=SCHEMA, got=facts["schema"], do="use its own version")
        names = sorted({name.split(".")[1] for name in arrays if name.startswith("gaussian.")})
        gaussians = {name: Gaussian(*(arrays[f"gaussian.{name}.{part}"].astype(np.float64) for part in ("centre", "scale", "whiten"))) for name in names}
        directions, shifts = ({name.partition(".")[2]: each.astype(np.float64) for name, each in arrays.items() if name.startswith(f"{kind}.")}
                              for kind in ("direction", "shift"))
        bounds = {name: Bounds(**each) for name, each in facts["bounds"].items()}
        return FitFor(facts["header"], gaussians, arrays.get("project"), directions, shifts, bounds, facts["reference"], facts["facts"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError("the statistics of the model are damaged", where=path, got=error, do="delete the file and run 'vesalius fit' again") from error
