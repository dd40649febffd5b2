"""The document of a finding: what the page, FHIR and the senders read (docs/clinic/objects.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vesalius import __version__
from vesalius.core.boxes import sizes_mm
from vesalius.core.finding import Boxes, Finding, Score
from vesalius.core.study import Study
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.mapping import Mapping as Model
from vesalius.stages.knowing import Knowing
from vesalius.stages.writing.codes import ABNORMAL

SCHEMA = 1
NOTE = "A doctor decides."
NORMAL = ("normal", "healthy", "negative", "no finding", "no_finding", "nofinding", "none", "benign", "absent", "control", "0", "正常", "阴性", "良性", "无")
"""Names of classes that mean that nothing is to be done."""
UNSURE = 0.5
"""A study that the model refuses or does not decide is looked at no later than one of even chances."""
CALIBRATED = {"en": "Probabilities were calibrated on patients that the model was not trained on.", "zh": "概率已在未参与训练的患者上校准。"}
UNCALIBRATED = {"en": "Probabilities were not calibrated; read them as an order, not as a frequency.", "zh": "概率未经校准；请仅作排序参考，勿视为发生频率。"}


def model_facts(name: str, mapping: Model) -> dict[str, Any]:
    """``name hash kind classes``, and ``risk`` where boxes have a second label."""
    target = mapping.output.target
    risk = {"risk": target.risk} if target.risk else {}
    return {"name": name, "hash": mapping.hash, "kind": target.kind, "classes": list(target.classes)} | risk


def answer_facts(finding: Finding, mapping: Model, knowing: Knowing | None) -> dict[str, Any]:
    """What the model says: label, probability, bounds, scores, set, boxes, measurements, urgency."""
    target = mapping.output.target
    marked = target.kind in ("mask", "boxes")
    scores = [] if marked else [item for item in finding.items if isinstance(item, Score)]
    held = _set(finding, target, knowing)
    bounds = scores[0] if scores and target.kind == "regression" else None
    calibrated = None if target.kind in ("mask", "regression") else CALIBRATED if mapping.output.calibrator else UNCALIBRATED
    made = {
        "label": finding.label, "probability": finding.probability, "low": bounds.low if bounds else None, "high": bounds.high if bounds else None,
        "calibration": calibrated, "scores": {item.name: item.value for item in scores}, "set": held, "abstain": held is not None and len(held) != 1,
        "boxes": boxes_facts(finding, knowing), "measurements": measurement_facts(finding) if marked else [],
    }
    return made | {"urgency": urgency_of(made, target)}


def refused_facts(target: TargetSpec) -> dict[str, Any]:
    """As `answer_facts`, of a study that was not read."""
    held: dict[str, Any] = {"label": "", "probability": None, "low": None, "high": None, "calibration": None, "scores": {}, "set": None}
    return held | {"abstain": True, "boxes": [], "measurements": [], "urgency": UNSURE}


def whole_document(job: str, header: Mapping[str, Any], model: Mapping[str, Any], answer: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """The document without what only the writer of the files knows (``files``, ``seconds``); ``header`` as `objects.header.facts_of` gives it."""
    grid = study.grid
    where = {"shape": list(grid.shape), "spacing_mm": [float(s) for s in grid.spacing_mm] if grid.spacing_known else None}
    return {"schema": SCHEMA, "id": job, **header, "model": dict(model), **answer, "refused": [], "forced": False, "notes": [], "grid": where,
            "software": {"vesalius": __version__}, "research_use": NOTE}


def boxes_facts(finding: Finding, knowing: Knowing | None = None) -> list[dict[str, Any]]:
    """A row a box: ``box`` (low..., high..., array order, samples), ``label score risk size_mm`` (None where no spacing is known); where the model
    promises how many boxes it misses, ``kept_at_risk``: whether the box reaches the score that the promise needs."""
    rows = []
    for item in finding.items:
        if isinstance(item, Boxes):
            sizes = sizes_mm(item.array, item.grid)
            promised = knowing is not None and knowing.kept_from is not None
            kept = [{"kept_at_risk": bool(each)} for each in knowing.keeps(np.array(item.scores))] if knowing and promised else [{}] * len(item.scores)
            rows += [{"box": [float(v) for v in box], "label": item.labels[i], "score": float(item.scores[i]), "risk": _risk(item, i),
                      "size_mm": [float(v) for v in sizes[i]] if item.grid.spacing_known else None} | kept[i] for i, box in enumerate(np.asarray(item.array))]
    return rows


def _risk(item: Boxes, i: int) -> float | None:
    return float(item.risk[i]) if i < len(item.risk) and not np.isnan(item.risk[i]) else None


def measurement_facts(finding: Finding) -> list[dict[str, Any]]:
    """``name class value unit`` of every score called ``class.measurement``."""
    named = [(*item.name.rpartition("."), item) for item in finding.items if isinstance(item, Score)]
    return [{"name": name, "class": each, "value": item.value, "unit": item.unit} for each, _, name, item in named if np.isfinite(item.value)]


def _set(finding: Finding, target: TargetSpec, knowing: Knowing | None) -> list[str] | None:
    """Answers that cannot be ruled out; None where the model has no bounds."""
    if knowing is None or target.kind in ("regression", "mask", "boxes"):
        return None
    return knowing.held_names(np.array([finding.scores[name] for name in target.classes]), finding.label, target)


def urgency_of(answer: Mapping[str, Any], target: TargetSpec) -> float:
    """How soon a doctor should look, 0 .. 1: the probability that there is something.

    Classes: one minus the probability of the classes that mean nothing (`NORMAL`; else the first). Several labels: the likeliest. A grade: its expected
    place. Boxes: the surest, weighed by its risk. Masks: 1 where an abnormal structure is marked. A number says nothing of it: one half. No less than one half
    where the model does not decide.
    """
    ways = {"boxes": _of_boxes, "mask": _of_masks, "regression": lambda *_: UNSURE, "multilabel": _of_labels, "ordinal": _of_grades}
    value = float(ways.get(target.kind, _of_classes)(answer, target))
    return round(min(max(value, UNSURE if answer["abstain"] else 0.0), 1.0), 6)


def _means_nothing(name: str) -> bool:
    return name.strip().lower().replace("-", " ") in NORMAL


def _of_classes(answer: Mapping[str, Any], target: TargetSpec) -> float:
    calm = [name for name in target.classes if _means_nothing(name)] or list(target.classes[:1])
    return 1.0 - sum(float(answer["scores"][name]) for name in calm)


def _of_labels(answer: Mapping[str, Any], target: TargetSpec) -> float:
    return max((float(answer["scores"][name]) for name in target.classes if not _means_nothing(name)), default=UNSURE)


def _of_grades(answer: Mapping[str, Any], target: TargetSpec) -> float:
    return sum(k * float(answer["scores"][name]) for k, name in enumerate(target.classes)) / max(len(target.classes) - 1, 1)


def _of_boxes(answer: Mapping[str, Any], target: TargetSpec) -> float:
    weighed = [float(box["score"]) * (1.0 if box["risk"] is None else (1 + float(box["risk"])) / 2) for box in answer["boxes"]]
    return max(weighed, default=0.0)


def _of_masks(answer: Mapping[str, Any], target: TargetSpec) -> float:
    found = [name for name in str(answer["label"]).split(SEPARATOR) if name]
    abnormal = any(word in name.lower() for name in found for word in ABNORMAL)
    organs_only = not any(word in name.lower() for name in target.classes for word in ABNORMAL)
    return 1.0 if abnormal else 0.3 if found and organs_only else 0.0


def notes_of(finding: Finding, knowing: Knowing | None) -> list[dict[str, str]]:
    """Notes in both languages; those of `Knowing` have a translation, others are as they came."""
    told = {"decided": "模型在该误差水平下给出单一结论。", "undecided": "模型不作判定：在该误差水平下无法排除多个答案，或患者过少无法给出界限。"}
    held = [note for note in finding.notes if note.code != "prediction-set"]
    level = "" if knowing is None else f"{1 - knowing.error:.0%}"
    told |= {"interval": f"{level} 区间见数值。"} if level else {}
    return [{"code": note.code, "en": note.text, "zh": note.zh or told.get(note.code, note.text)} for note in held]


def several(n: int) -> dict[str, str]:
    """The note on a series whose images were read one by one."""
    return {"code": "several-images", "en": f"{n} images of the series were read one by one; this is the most urgent one.",
            "zh": f"该序列的 {n} 幅影像已逐一读取；此为其中最紧急的一幅。"}


def sequence_notes(*parts: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """All notes, each once."""
    return list({(note["code"], note["en"]): note for part in parts for note in part}.values())
