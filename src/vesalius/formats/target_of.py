"""What kind of target labels are, with the evidence: binary, multiclass, multilabel, ordinal or regression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vesalius.core.target import KINDS, MARKED, SEPARATOR, Kind, TargetSpec, missing, text_of
from vesalius.errors import LabelError
from vesalius.registry import unknown

MAX_INTEGER_CLASSES = 20
"""More distinct whole numbers than these are a measurement."""
DISEASE_WORDS = (
    "pneumonia", "malignant", "malignancy", "positive", "pos", "abnormal", "yes", "true", "ill", "sick", "disease", "diseased", "tumor", "tumour", "cancer",
    "carcinoma", "melanoma", "covid", "covid19", "covid-19", "tb", "tuberculosis", "fracture", "fractured", "hemorrhage", "haemorrhage", "bleed", "bleeding",
    "lesion",
    "nodule", "glaucoma", "infected", "parasitized", "aneurysm", "hyperplasia", "metastasis", "pathological", "pathology", "patient", "case", "effusion",
    "stroke",
    "present", "event", "dead", "1", "阳性", "异常", "恶性", "肺炎", "病变", "患病", "肿瘤", "癌", "有", "是",
)
HEALTHY_WORDS = (
    "normal", "healthy", "benign", "negative", "neg", "no", "false", "none", "control", "controls", "absent", "clear", "uninfected", "notumor", "non",
    "without",
    "survived", "alive", "vessel", "0", "正常", "健康", "阴性", "良性", "对照", "无", "否",
)
ORDERED_NAMES = ("grade", "stage", "score", "severity", "birads", "bi-rads", "bi_rads", "kl", "kl_grade", "pirads", "pi-rads", "gleason", "isup", "lirads",
                 "level",
                 "分级", "分期", "评分", "等级")
NO_FINDING = ("no finding", "no findings", "normal", "none", "无异常")
GRADE = re.compile(r"^(?:grade|stage|score|level|class|kl|bi-?rads|pi-?rads|isup|g|t|n|分级|级|期)?[\s_-]*"
                   r"(\d{1,2}|iv|v|i{1,3})[\s_-]*(?:级|期|grade)?$", re.IGNORECASE)
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}
ASKED = "asked for by --target"
SEVERITIES = (("none", "no", "normal", "absent"), ("minimal", "doubtful", "trace"), ("mild", "low"), ("moderate", "medium", "intermediate"),
              ("severe", "high"), ("very severe", "proliferative", "critical"))
SIDES = re.compile(r"(?:^|[^a-z])(left|right|laterality|situs|dextrocardia|sinister|dexter)(?:[^a-z]|$)|左|右|镜面", re.IGNORECASE)


def target_of(labels: Sequence[Any], *, name: str = "label", kind: str | None = None, classes: Sequence[str] | None = None,
              from_folders: bool = False) -> TargetSpec:
    """The target that these labels are.

    Parameters
    ----------
    labels: as the data states them; missing ones are passed over.
    name: the column or key that they came from; ``grade`` or ``stage`` tells an order.
    kind: the user's word, which is final.
    classes: names in the data's own order, where it states them (they may be more than occur).
    from_folders: labels are names of folders, which are never measurements.

    Raises
    ------
    LabelError: there is no label at all; the labels cannot be of the kind that was asked for.
    OptionError: no kind of that name.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("target", kind, list(KINDS))
    if kind in MARKED:
        truth = "masks" if kind == "mask" else "boxes"
        raise LabelError(f"labels are no {truth}", expected=f"{truth} beside the images for --target {kind}", got=f"labels called '{name}'",
                         do="choose another --target")
    held = [label for label in labels if not missing(label)]
    if not held:
        raise LabelError("there is no label", expected="a label for each image", got=f"{len(labels)} images without one", do="name the column with --label")
    names = list(classes) if classes else in_order({text_of(label) for label in held})
    asked: tuple[Kind, str] = (kind, ASKED) if kind else _kind(held, names, name, from_folders, classes is not None)  # type: ignore[assignment]
    return _BUILDERS[asked[0]](held, names, name, asked[1], classes is not None)


def side_matters(names: Sequence[Any]) -> bool:
    """Whether names of classes or columns speak of left and right, so that an image may not be mirrored.

    >>> side_matters(["kidney-left", "liver"]), side_matters(["copyright"])
    (True, False)
    """
    return any(SIDES.search(str(name)) for name in names)


def _kind(held: list[Any], names: list[str], name: str, from_folders: bool, stated: bool) -> tuple[Kind, str]:
    if not stated and not from_folders and any(SEPARATOR in text_of(label) for label in held):
        return "multilabel", f"labels are joined by '{SEPARATOR}'"
    numbers = [_number(each) for each in names]
    if not from_folders and not stated and all(n is not None for n in numbers):
        return _kind_of_numbers([n for n in numbers if n is not None], name)
    if len(names) <= 2:
        return "binary", "two classes" if len(names) == 2 else "one class only"
    if _grades(names) or _severities(names):
        return "ordinal", "the classes are grades: " + ", ".join(_ordered(names))
    return "multiclass", f"{len(names)} classes without an order"


def _kind_of_numbers(numbers: list[float], name: str) -> tuple[Kind, str]:
    whole = all(n.is_integer() for n in numbers)
    if not whole:
        return "regression", "the labels are numbers with a fraction"
    if len(numbers) > MAX_INTEGER_CLASSES:
        return "regression", f"{len(numbers)} distinct whole numbers"
    if len(numbers) <= 2:
        return "binary", "two classes"
    if _speaks_of_order(name):
        return "ordinal", f"whole numbers in a column called '{name}'"
    return "multiclass", f"{len(numbers)} whole numbers in a column called '{name}', which tells no order (--target ordinal if there is one)"


def _speaks_of_order(name: str) -> bool:
    lower = name.lower()
    parts = re.split(r"[^a-z0-9一-鿿]+", lower)
    return lower in ORDERED_NAMES or any(part in ORDERED_NAMES for part in parts) or any(word in lower for word in ("分级", "分期", "评分"))


def _grades(names: list[str]) -> bool:
    """At least three classes that are a common word and a number, e.g. grade 0, grade 1, grade 2."""
    return len(names) >= 3 and all(GRADE.match(name) for name in names) and len({_rank(name) for name in names}) == len(names)


def _rank(name: str) -> int:
    found = GRADE.match(name)
    text = found[1].lower() if found else "0"
    return ROMAN.get(text) or int(text)


def _severities(names: list[str]) -> bool:
    return len(names) >= 3 and all(_severity(name) is not None for name in names) and len({_severity(name) for name in names}) == len(names)


def _severity(name: str) -> int | None:
    lower = name.lower().strip()
    return next((i for i, words in enumerate(SEVERITIES) if lower in words), None)


def _ordered(names: list[str]) -> list[str]:
    if _grades(names):
        return sorted(names, key=_rank)
    if _severities(names):
        return sorted(names, key=lambda name: _severity(name) or 0)
    return in_order(set(names))


def in_order(names: set[str]) -> list[str]:
    """Numbers by size, then text by letters."""
    return sorted(names, key=lambda text: (0, n, "") if (n := _number(text)) is not None else (1, 0.0, text))


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if abs(value) < float("inf") else None


def _binary(held: list[Any], names: list[str], name: str, why: str, stated: bool) -> TargetSpec:
    if len(names) > 2:
        raise LabelError("the labels are not binary", expected="two classes", got=f"{len(names)}: {', '.join(names[:6])}", do="choose another --target")
    if len(names) < 2:
        return TargetSpec("binary", tuple(names), name, why)
    positive, reason = positive_of(names)
    negative = names[1 - names.index(positive)]
    return TargetSpec("binary", (negative, positive), name, f"{why}; '{positive}' is the positive class: {reason}")


def positive_of(names: Sequence[str]) -> tuple[str, str]:
    """Which of two classes is the positive one, and why.

    >>> positive_of(["malignant", "normal, benign"])[0]
    'malignant'
    """
    ill, well = [_speaks(name, DISEASE_WORDS) for name in names], [_speaks(name, HEALTHY_WORDS) for name in names]
    marks = [int(a) - int(b) for a, b in zip(ill, well, strict=True)]
    if marks[0] != marks[1]:
        chosen = 0 if marks[0] > marks[1] else 1
        return names[chosen], "it names the disease" if ill[chosen] else f"'{names[1 - chosen]}' names the healthy"
    return names[1], "it comes second in order"


def _speaks(name: str, words: tuple[str, ...]) -> bool:
    """A negated disease ("no tumor", "non-covid") does not name one."""
    lower = name.lower().strip()
    parts = re.split(r"[^a-z0-9一-鿿]+", lower)
    negated = words is DISEASE_WORDS and any(part in ("no", "non", "not", "without") for part in parts)
    return not negated and (lower in words or any(part in words for part in parts))


def _several(held: list[Any], names: list[str], name: str, why: str, stated: bool) -> TargetSpec:
    return TargetSpec("multiclass", tuple(names), name, why)


def _ordinal(held: list[Any], names: list[str], name: str, why: str, stated: bool) -> TargetSpec:
    return TargetSpec("ordinal", tuple(names if stated else _ordered(names)), name, why)


def _multilabel(held: list[Any], names: list[str], name: str, why: str, stated: bool) -> TargetSpec:
    if not stated:
        names = in_order({part.strip() for label in held for part in text_of(label).split(SEPARATOR) if part.strip()})
    return TargetSpec("multilabel", tuple(names), name, why)


def _regression(held: list[Any], names: list[str], name: str, why: str, stated: bool) -> TargetSpec:
    wrong = next((label for label in held if _number(label) is None), None)
    if wrong is not None:
        raise LabelError("a label is not a number", expected="numbers for a regression", got=f"'{wrong}'", do="correct the table or choose another --target")
    return TargetSpec("regression", (), name, why)


_BUILDERS = {"binary": _binary, "multiclass": _several, "ordinal": _ordinal, "multilabel": _multilabel, "regression": _regression}
