"""What is to be found: the kind of target, its classes, and the numbers that stand for labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vesalius.errors import LabelError

Kind = Literal["binary", "multiclass", "multilabel", "ordinal", "regression", "mask", "boxes"]
KINDS: tuple[Kind, ...] = ("binary", "multiclass", "multilabel", "ordinal", "regression", "mask", "boxes")
IGNORED = 255
"""In a truth mask: a sample that nobody judged; it is neither learnt from nor scored."""
SEPARATOR = "|"
SEVERAL: tuple[Kind, ...] = ("multilabel", "mask", "boxes")
"""Kinds whose label may name several classes, or none."""
MARKED: tuple[Kind, ...] = ("mask", "boxes")
"""Kinds whose truth is marked in the image; an empty label means that it was marked and there is nothing."""


@dataclass(frozen=True)
class TargetSpec:
    """The target of a cohort.

    Parameters
    ----------
    kind: binary, multiclass, multilabel, ordinal, regression or mask.
    classes: names in the order of their numbers (empty for regression). In a binary target the
        second one is the positive class. In an ordinal target they go from low to high.
    name: what the target is called, e.g. the column it came from.
    reason: the evidence for the kind, in words.
    values: mask only: for each class the numbers in a label map that belong to it. Classes may share numbers
        (whole tumour = 1, 2 and 3). Empty where every class has a file of its own.
    ignore: mask only: the number in a label map of samples that nobody judged.
    exclusive: mask only: whether a sample belongs to one class at most.
    risk: boxes only: the name of a second label (0 or 1) that boxes carry, e.g. ``"malignant"``; ``""`` for none.

    The ``classes`` of a mask or of boxes are the structures, without the background. The label of a case is then the classes
    that its mask or boxes hold, joined by ``|``, as for a multilabel target (``""``: none, None: not marked).
    """

    kind: Kind
    classes: tuple[str, ...]
    name: str = "label"
    reason: str = ""
    values: tuple[tuple[int, ...], ...] = ()
    ignore: int | None = None
    exclusive: bool = True
    risk: str = ""

    @property
    def n_out(self) -> int:
        """Numbers that a network gives, for an image or for each sample of a mask: K classes (one more, the background
        first, for an exclusive mask; for each box one more for its risk), or 1 for a regression."""
        if self.kind == "boxes":
            return len(self.classes) + bool(self.risk)
        if self.kind == "mask":
            return len(self.classes) + int(self.exclusive)
        return 1 if self.kind == "regression" else len(self.classes)

    @property
    def positive(self) -> str | None:
        return self.classes[1] if self.kind == "binary" else None

    def encode(self, labels: Sequence[Any]) -> np.ndarray:
        """Labels to numbers: int64 ``[N]`` (class index), float32 ``[N, K]`` 0/1 (multilabel) or float32 ``[N]``.

        A label that is missing (None, NaN, "") is -1, or NaN for a regression and a row of NaN for multilabel.

        >>> TargetSpec("multilabel", ("a", "b")).encode(["a|b", "b"]).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
        """
        if self.kind == "regression":
            return np.array([_number(v) for v in labels], np.float32)
        if self.kind in SEVERAL:
            return np.stack([self._marks(v) for v in labels]) if len(labels) else np.zeros((0, len(self.classes)), np.float32)
        place = {name: i for i, name in enumerate(self.classes)}
        return np.array([-1 if missing(v) else self._place(place, v) for v in labels], np.int64)

    def _place(self, place: dict[str, int], label: Any) -> int:
        if text_of(label) not in place:
            raise LabelError(f"unknown label '{label}'", expected=f"one of {', '.join(self.classes)}", do="correct the label sheet")
        return place[text_of(label)]

    def _marks(self, label: Any) -> np.ndarray:
        if label is None or (isinstance(label, float) and np.isnan(label)):
            return np.full(len(self.classes), np.nan, np.float32)
        names = [part.strip() for part in str(label).split(SEPARATOR) if part.strip()]
        place = {name: i for i, name in enumerate(self.classes)}
        row = np.zeros(len(self.classes), np.float32)
        for name in names:
            row[self._place(place, name)] = 1
        return row

    def decode(self, row: Any) -> str:
        """A truth row back to its label."""
        if self.kind == "regression":
            return f"{float(row):g}"
        if self.kind in SEVERAL:
            return SEPARATOR.join(name for name, mark in zip(self.classes, row, strict=True) if mark > 0.5)
        return self.classes[int(row)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what concerns masks or boxes only for these."""
        facts = asdict(self) | {"classes": list(self.classes), "values": [list(each) for each in self.values]}
        own = {"mask": ("values", "ignore", "exclusive"), "boxes": ("values", "ignore", "exclusive", "risk")}.get(self.kind, ())
        return {name: facts[name] for name in ("kind", "classes", "name", "reason", *own)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> TargetSpec:
        values = tuple(tuple(int(v) for v in each) for each in facts.get("values", ()))
        mask = (values, facts.get("ignore"), bool(facts.get("exclusive", True)), str(facts.get("risk", "")))
        return cls(facts["kind"], tuple(facts["classes"]), facts.get("name", "label"), facts.get("reason", ""), *mask)


def missing(value: Any) -> bool:
    """Whether a table's cell holds nothing."""
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value).strip() == ""


def text_of(value: Any) -> str:
    """A label as text; ``1.0`` and ``1`` are the same label.

    >>> text_of(1.0), text_of(" ill ")
    ('1', 'ill')
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _number(value: Any) -> float:
    if missing(value):
        return float("nan")
    try:
        return float(value)
    except ValueError as error:
        raise LabelError(f"'{value}' is not a number", expected="a number for a regression target", do="correct the label sheet") from error
