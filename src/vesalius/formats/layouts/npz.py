"""One ``.npz`` of the MedMNIST kind: ``train_images``, ``train_labels``, ``val_…``, ``test_…`` (or ``x_train``, ``y_train`` …).

Images are ``[N, Y, X]``, ``[N, Y, X, 3]`` or volumes ``[N, Z, Y, X]``; labels ``[N]``, ``[N, 1]`` or, for several
findings, ``[N, K]`` of 0/1 (Yang et al., MedMNIST v2, Scientific Data 10:41, 2023).
"""

from __future__ import annotations

import importlib.util
import runpy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.cohort import Cohort, Source
from vesalius.core.target import SEPARATOR, TargetSpec
from vesalius.errors import DataError, LabelError
from vesalius.formats.array import array_in, image_key, layout_of, shapes_in
from vesalius.formats.building import Row, cohort_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.opening import format_of
from vesalius.formats.patients import Patients, alone, by_facts, by_option
from vesalius.formats.target_of import ASKED, target_of

PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
WHOLE = ("images", "x", "X", "data", "imgs")
LABEL_KEYS = ("{}_labels", "{}_label", "y_{}", "Y_{}", "{}_y", "{}_Y", "{}_targets")
WHOLE_LABELS = ("labels", "label", "y", "Y", "targets", "target")
PATIENT_KEYS = ("{}_patients", "{}_patient", "{}_patient_ids", "{}_subjects", "{}_groups")
WHOLE_PATIENTS = ("patients", "patient", "patient_ids", "subjects", "groups")


@dataclass(frozen=True)
class Known:
    """What is known of the labels besides their numbers: names in order, the kind, and who says so."""

    names: tuple[str, ...]
    kind: str | None
    said_by: str


@LAYOUTS.register("npz")
class NpzLayout(Layout):
    """Images and labels in one npz."""

    name = "npz"

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.path.is_file() or format_of(given.path) != "npz":
            return None
        return f"an npz with {', '.join(parts_in(given.path)) or 'no images'}"

    @classmethod
    def read(cls, given: Given) -> Cohort:
        return read_npz(given, given.path, cls.name, medmnist_names(given.path))


def read_npz(given: Given, path: Path, layout: str, known: Known | None) -> Cohort:
    """The cohort of an npz file; see the module for its arrays.

    Raises
    ------
    DataError: no images. LabelError: no labels, or not one for each image.
    """
    parts = parts_in(path)
    if not parts:
        held = ", ".join(f"{name} {shape}" for name, (shape, _) in list(shapes_in(path).items())[:8]) or "no array"
        raise DataError("the npz has no images", where=path, expected="train_images and train_labels, or x_train and y_train", got=held, do="rename its arrays")
    labels = {part: _labels(path, part, n, given.options.label) for part, n in parts.items()}
    fits = known if known and _fits(known, labels) else None
    texts = {part: _texts(each, fits) for part, each in labels.items()}
    target = _target(given, labels, texts, fits)
    sources = [(part, Source("npz", str(path), f"{part}:{row}"), row) for part, n in parts.items() for row in range(n)]
    rows = [Row(f"{path.name}#{source.member}", source, texts[part][row], PARTS.get(part) if len(parts) > 1 else None) for part, source, row in sources]
    key = image_key(list(shapes_in(path)), next(iter(parts)))
    axes = layout_of(shapes_in(path)[str(key)][0][1:])
    return cohort_of(given, layout, rows, target, _patients(given, path, parts, [row.id for row in rows]), ndim=3 if "Z" in axes else 2)


def parts_in(path: Path) -> dict[str, int]:
    """The parts that hold images, with the number of images; ``{"images": n}`` when there is no split."""
    shapes = shapes_in(path)
    keys = {part: image_key(list(shapes), part) for part in (*PARTS, *WHOLE)}
    held = {part: shapes[key][0] for part, key in keys.items() if key and len(shapes[key][0]) >= 3 and layout_of(shapes[key][0][1:])}
    split = {part: shape[0] for part, shape in held.items() if part in PARTS}
    return split or {part: shape[0] for part, shape in list(held.items())[:1]}


def _key(path: Path, part: str, keys: tuple[str, ...], whole: tuple[str, ...]) -> str | None:
    names = shapes_in(path)
    wanted = whole if part in WHOLE else tuple(key.format(part) for key in keys)
    return next((key for key in wanted if key in names), None)


def _labels(path: Path, part: str, n: int, asked: str | None) -> np.ndarray:
    names = list(shapes_in(path))
    key = next((k for k in (f"{part}_{asked}", asked) if k in names), None) if asked else _key(path, part, LABEL_KEYS, WHOLE_LABELS)
    if key is None:
        raise LabelError("the npz has no labels", where=path, expected=f"{part}_{asked or 'labels'}", got=", ".join(names[:8]),
                         do="add the array, or name it with --label")
    labels = array_in(path, key)
    if labels.ndim not in (1, 2) or len(labels) != n:
        raise LabelError("the npz has not one label for each image", where=path, expected=f"{n} rows in {key}", got=f"shape {labels.shape}",
                         do="correct the arrays")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _fits(known: Known, labels: dict[str, np.ndarray]) -> bool:
    """Names by file name are believed only when the labels could be theirs."""
    for each in labels.values():
        if each.ndim == 2 and each.shape[1] != len(known.names):
            return False
        if each.ndim == 1 and (each.dtype.kind not in "iub" or int(each.max(initial=0)) >= len(known.names)):
            return False
    return True


def _texts(labels: np.ndarray, known: Known | None) -> list[Any]:
    if labels.ndim == 2:
        names = known.names if known else tuple(str(i) for i in range(labels.shape[1]))
        return [SEPARATOR.join(name for name, mark in zip(names, row, strict=True) if mark > 0) for row in labels]
    if known:
        return [known.names[int(label)] for label in labels]
    return labels.tolist()


def _target(given: Given, labels: dict[str, np.ndarray], texts: dict[str, list[Any]], known: Known | None) -> TargetSpec:
    name, first = given.options.label or "label", next(iter(labels.values()))
    flat = [text for each in texts.values() for text in each]
    if first.ndim == 2:
        names = known.names if known else tuple(str(i) for i in range(first.shape[1]))
        return TargetSpec("multilabel", names, name, f"{len(names)} labels of 0/1 for each image" + (f"; names by {known.said_by}" if known else ""))
    if known is None:
        return target_of(flat, name=name, kind=given.options.target)
    spec = target_of(flat, name=name, kind=given.options.target or known.kind, classes=known.names)
    reason = spec.reason if given.options.target else spec.reason.replace(ASKED, f"kind and names of the classes by {known.said_by}")
    return TargetSpec(spec.kind, spec.classes, spec.name, reason)


def _patients(given: Given, path: Path, parts: dict[str, int], names: list[str]) -> Patients:
    option = given.options.patient
    keys = {part: _key(path, part, PATIENT_KEYS, WHOLE_PATIENTS) for part in parts}
    if option is None and all(keys.values()):
        values = [str(value) for key in keys.values() for value in array_in(path, str(key)).ravel()]
        found = by_facts(names, dict(zip(names, values, strict=True)), f"the array {next(iter(keys.values()))}")
        if found:
            return found
    if option:
        return by_option(names, option)
    return alone(names, "the npz does not name the patients: each image counts as one")


def medmnist_names(path: Path) -> Known | None:
    """Class names for a file called as a MedMNIST set is (``pneumoniamnist.npz``, ``organmnist3d_64.npz``), by the medmnist package."""
    if "mnist" not in path.stem.lower():
        return None
    info = medmnist_info()
    flag = path.stem.lower().rsplit("_", 1)[0] if path.stem.rsplit("_", 1)[-1].isdigit() else path.stem.lower()
    return known_of(info[flag]) if flag in info else None


@cache
def medmnist_info() -> dict[str, dict[str, Any]]:
    """The medmnist package's own description of its sets; empty when it is not installed.

    Its ``info`` module is run alone: the package itself imports torch and scikit-learn, which takes seconds.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or package.origin is None:
        return {}
    return dict(runpy.run_path(str(Path(package.origin).with_name("info.py")))["INFO"])


TASKS = {"binary-class": "binary", "multi-class": "multiclass", "multi-label, binary-class": "multilabel", "ordinal-regression": "ordinal"}


def known_of(info: dict[str, Any]) -> Known:
    """An entry of medmnist's INFO."""
    labels = info["label"]
    return Known(tuple(str(labels[key]) for key in sorted(labels, key=int)), TASKS[info["task"]], "the medmnist package")
