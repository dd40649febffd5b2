"""What was planted in a phantom, as a record beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TRUTH = "truth.json"
DATA = "data"


@dataclass(frozen=True)
class Truth:
    """The answer to every question that a check, a fit or an explanation may be asked about a phantom.

    Parameters
    ----------
    kind, seed, n, options: how it was made; the same four make the same files.
    data: what to give to ``vesalius check`` or ``fit`` (a folder).
    target: name of the label column or ``"folder"``; ``target_kind`` is the kind of `TargetSpec`.
    classes: names of the classes, empty for a regression.
    true_label: image id (path relative to ``data``) to what was drawn.
    given_label: image id to what the folder or table says; differs where a label was planted wrong.
    patient: image id to patient.
    planted: everything else, by name: ``exact_duplicates`` and ``near_duplicates`` (lists of ``{"ids", "how"}``),
        ``mislabelled``, ``marker``, ``site``, ``regions`` (where the finding lies), ``volumes_mm3``, ``files`` ...
        With masks also ``masks`` and ``views`` (image id to file), and the flawed ones: ``empty``, ``other_grid``, ``unknown_label``, ``swapped``.
        With boxes also ``boxes``: image id to ``[{"class", "box": [low..., high...]}]`` in samples of the image, as drawn.
    """

    kind: str
    seed: int
    n: int
    options: Mapping[str, Any]
    data: str
    target: str
    target_kind: str
    classes: tuple[str, ...]
    true_label: Mapping[str, Any] = field(default_factory=dict)
    given_label: Mapping[str, Any] = field(default_factory=dict)
    patient: Mapping[str, str] = field(default_factory=dict)
    planted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The data as a path."""
        return Path(self.data)

    def save(self, out: Path) -> None:
        """Write ``OUT/truth.json``; the place of the data is stored relative to it, so that the folder can be moved."""
        facts = asdict(self) | {"data": DATA, "classes": list(self.classes)}
        (out / TRUTH).write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, out: str | Path) -> Truth:
        """Read the record of a phantom from its folder."""
        facts = json.loads((Path(out) / TRUTH).read_text(encoding="utf-8"))
        return cls(**facts | {"data": str(Path(out) / facts["data"]), "classes": tuple(facts["classes"])})
