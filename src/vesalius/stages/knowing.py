"""What a model may still not rule out: its conformal bounds, kept beside its weights as ``conformal.json`` and read by `predict`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.finding import Finding, Score, Text
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.errors import RunError
from vesalius.kernels.conformal import prediction_sets
from vesalius.storage import atomic_json

RECORD = "conformal.json"
SCHEMA = 1
SAME = 2e-6
"""Scores are kept with six digits and as float32: a box must not fall below its own."""
KEPT = "kept-at-risk"


@dataclass(frozen=True)
class Knowing:
    """Conformal bounds of one model.

    Parameters
    ----------
    kind: of the target. error: the stated one, e.g. 0.1.
    bounds: of each class (LAC scores); multilabel: of absent and present, sign by sign; regression: one, of the normalised residual;
        mask: one, of 1 - Dice by doubt; boxes: the score from which on at most ``error`` of a patient's boxes are expected to be missed.
        Infinite where too few patients were there, or no score can promise it.
    knots, levels: regression: expected absolute error by predicted value.
    spread: mask: what is added to the doubt before it divides.
    """

    kind: str
    error: float
    bounds: tuple[float, ...]
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    spread: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, model: Path) -> None:
        """Write ``conformal.json`` into a model folder; infinite bounds are null."""
        plain = asdict(self) | {"schema": SCHEMA, "bounds": [None if math.isinf(each) else each for each in self.bounds]}
        atomic_json(model / RECORD, plain)

    @classmethod
    def load(cls, folder: Path | str) -> Knowing | None:
        """What a model folder, or the run folder above it, holds; None where it holds no bounds.

        Raises
        ------
        RunError: the file is damaged or of another schema.
        """
        folder = Path(folder)
        path = (folder / "model" if (folder / "model").is_dir() else folder) / RECORD
        if not path.is_file():
            return None
        try:
            facts = json.loads(path.read_text("utf-8"))
            bounds = tuple(math.inf if each is None else float(each) for each in facts["bounds"])
            made = cls(facts["kind"], facts["error"], bounds, tuple(facts["knots"]), tuple(facts["levels"]), facts["spread"], facts["facts"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError("the bounds of the model are damaged", where=path, got=error, do="delete the file and run 'vesalius fit' again") from error
        if facts.get("schema") != SCHEMA:
            raise RunError("the bounds of the model have another schema", where=path, expected=SCHEMA, got=facts.get("schema"), do="use its own version")
        return made

    def half_width(self, value: np.ndarray) -> np.ndarray:
        """Half the width of the interval about predicted values (regression)."""
        return np.asarray(self.bounds[0] * np.interp(value, self.knots, self.levels))

    def least_dice(self, doubt: np.ndarray) -> np.ndarray:
        """What the mean Dice of a case does not fall short of, given its doubt (mask); 0 where nothing can be promised."""
        return np.clip(1 - self.bounds[0] * (np.nan_to_num(np.asarray(doubt, float), nan=1.0) + self.spread), 0.0, 1.0)

    def cells_of_doubt(self, doubt: float) -> dict[str, Any]:
        """What a row of ``findings.csv`` of masks says: ``least_dice`` at the stated error."""
        return {"least_dice": round(float(self.least_dice(np.array([doubt]))[0]), 3)}

    @property
    def kept_from(self) -> float | None:
        """The promised score of boxes (see ``bounds``); None of other kinds, and where nothing can be promised."""
        return self.bounds[0] if self.kind == "boxes" and math.isfinite(self.bounds[0]) else None

    def keeps(self, scores: np.ndarray) -> np.ndarray:
        """Whether boxes of these scores reach the promised one; none does where nothing is promised."""
        return np.asarray(scores, np.float64) >= (math.inf if self.kept_from is None else self.kept_from - SAME)

    def note_of_boxes(self, n: int, hidden: int, reported: int) -> Text:
        """The promise in words, with what it means for one study: ``n`` boxes reach the score, ``hidden`` of them are not among the ``reported``."""
        if self.kept_from is None:
            return Text("no-promise",
                        f"No score promises to miss at most {self.error:.0%} of a new patient's boxes: too few patients, or boxes that nothing met.",
                        f"没有分数能保证新患者的漏检不超过 {self.error:.0%}：患者过少，或有目标未被任何框命中。")
        en = (f"At a score of {self.kept_from:.3g} or more, at most {self.error:.0%} of a new patient's boxes are expected to be missed. "
              f"Boxes that reach it: {n}")
        zh = f"分数不低于 {self.kept_from:.3g} 时，预计新患者的漏检不超过 {self.error:.0%}。达到该分数的框：{n} 个"
        if not hidden:
            return Text(KEPT, f"{en} ({reported} are reported).", f"{zh}（已报告 {reported} 个）。")
        return Text(KEPT, f"{en} ({reported} are reported); {hidden} of them lie below the operating point and are not reported: look at these too.",
                    f"{zh}（已报告 {reported} 个），其中 {hidden} 个低于工作点、未列入报告，请一并查看。")

    def told(self, finding: Finding, target: TargetSpec) -> Finding:
        """The finding with the set of answers that cannot be ruled out, and whether the model decides."""
        if self.kind == "regression":
            return self._with_interval(finding)
        held = self.held_names(np.array([finding.scores[name] for name in target.classes]), finding.label, target)
        code = "decided" if len(held) == 1 else "undecided"
        said = f"At an error of {self.error:.0%} the answer is {held[0] or 'none'}." if len(held) == 1 else (
            f"The model does not decide: at an error of {self.error:.0%} it cannot rule out {', '.join(each or 'none' for each in held)}."
        )
        notes = (Text("prediction-set", " / ".join(each or "none" for each in held)), Text(code, said))
        return replace(finding, notes=(*finding.notes, *notes))

    def held_names(self, p: np.ndarray, label: str, target: TargetSpec) -> list[str]:
        """Labels that cannot be ruled out, the model's own first; of a multilabel target the labels that differ from it in one open sign."""
        if self.kind != "multilabel":
            held = prediction_sets(p[None], np.array(self.bounds), np.array([target.classes.index(label)]))[0]
            return [label, *(name for name, kept in zip(target.classes, held, strict=True) if kept and name != label)]
        own = [name for name in label.split(SEPARATOR) if name]
        bounds = np.array(self.bounds).reshape(-1, 2)
        marks = np.array([int(name in own) for name in target.classes])
        both = [prediction_sets(np.array([[1 - p[k], p[k]]]), bounds[k], marks[k : k + 1])[0].all() for k in range(len(p))]
        asked = [name for name, unsure in zip(target.classes, both, strict=True) if unsure]
        return [label, *(SEPARATOR.join(n for n in target.classes if (n in own) != (n == name)) for name in asked)]

    def _with_interval(self, finding: Finding) -> Finding:
        value = next(item for item in finding.items if isinstance(item, Score))
        half = float(self.half_width(np.array([value.value]))[0])
        if math.isinf(half):
            return replace(finding, notes=(*finding.notes, Text("undecided", "Too few patients to bound the error of this value.")))
        low, high = value.value - half, value.value + half
        items = tuple(replace(item, low=low, high=high) if item is value else item for item in finding.items)
        return replace(finding, items=items, notes=(*finding.notes, Text("interval", f"{1 - self.error:.0%} interval {low:.4g} to {high:.4g}")))


def cells_of(finding: Finding) -> dict[str, Any]:
    """What a row of ``findings.csv`` says of the set: ``set`` and ``decided``, or ``low`` and ``high`` of a value; nothing without bounds."""
    notes = {note.code: note.text for note in finding.notes}
    made: dict[str, Any] = {"set": notes["prediction-set"], "decided": "yes" if "decided" in notes else "no"} if "prediction-set" in notes else {}
    bounds = [item for item in finding.items if isinstance(item, Score) and item.low is not None]
    return made | ({"low": bounds[0].low, "high": bounds[0].high} if bounds and not made else {})
