"""The nearest training case of each class beside the cases of the report; see `explain.nearest`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from vesalius.core.target import missing
from vesalius.errors import OptionError
from vesalius.formats import open_study
from vesalius.mapping import Mapping
from vesalius.seed import generator
from vesalius.stages.evaluate import folds_in
from vesalius.stages.explain.cases import INDEX
from vesalius.stages.explain.nearest import Space, features_of
from vesalius.stages.explain.pictures import png, sheet, views
from vesalius.stages.trust.base import Trust
from vesalius.storage import atomic_json, atomic_write

KINDS = ("binary", "multiclass", "ordinal")
MOST_TRAINING, LATE = 600, 100
"""Training images that are compared with; drawn where there are more. The second when the time of the test is over."""
BATCH = 16
MOST_CLASSES = 4
"""Classes of which a neighbour is shown: the answer's, the truth's and the nearest of the others."""
METHOD = "nearest"


def add_nearest(trust: Trust) -> dict[str, Any] | None:
    """Add ``{"method": "nearest", "file", "cases": [{"id", "class", "distance"}]}`` to the maps of each case in ``explain/cases.json``.

    The picture has the case, then its neighbours in that order. Returns how many training images were compared with; None where the target has no
    classes, the run no explained cases or the network no features.
    """
    index = trust.run.explain / INDEX
    if trust.target.kind not in KINDS or trust.images is None or not index.is_file():
        return None
    rows = _training(trust)
    try:
        space = Space.of(_features(trust.mapping, trust.images, rows), trust.frame["label"].iloc[rows].astype(str).tolist())
    except OptionError:
        return None
    cases, place = json.loads(index.read_text("utf-8")), {name: row for row, name in enumerate(trust.frame["id"])}
    for case in cases:
        if case["id"] in place:
            _add(trust, case, space, rows, place[case["id"]])
    atomic_json(index, cases)
    return {"n_training": len(rows), "of_training": int(_learnt(trust).sum())}


def _learnt(trust: Trust) -> np.ndarray:
    """Which rows the model learnt from: the training split, with folds validation too."""
    return trust.frame["split"].isin(["train", "validation"] if folds_in(trust.predictions) else ["train"]).to_numpy()


def _training(trust: Trust) -> np.ndarray:
    known = np.array([not missing(label) for label in trust.frame["label"]]) & _learnt(trust)
    rows = np.flatnonzero(known)
    return np.sort(generator(trust.seed, "nearest").permutation(rows)[: MOST_TRAINING if trust.left_s > 0 else LATE])


def _features(mapping: Mapping, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    return np.concatenate([features_of(mapping.network, torch.stack([mapping.encode_array(np.asarray(images[row])) for row in part])) for part in parts])


def _add(trust: Trust, case: dict[str, Any], space: Space, rows: np.ndarray, own: int) -> None:
    found = space.nearest(_features(trust.mapping, trust.images, np.array([own]))[0], map(str, trust.target.classes))  # type: ignore[arg-type]
    first = [case.get("predicted"), case.get("label")]
    chosen = sorted(found, key=lambda near: (near.name not in first, near.distance))[:MOST_CLASSES]
    chosen.sort(key=lambda near: near.distance)
    names = [str(trust.frame["id"].iloc[rows[near.row]]) for near in chosen]
    studies = [open_study(trust.cases[name].source) for name in (case["id"], *names)]
    file = f"{case['image'].removesuffix('.png')}_{METHOD}.png"
    atomic_write(trust.run.explain / file, png(sheet([views(study, [])[0] for study in studies], columns=1 + MOST_CLASSES)))
    facts = [{"id": name, "class": near.name, "distance": round(near.distance, 3)} for name, near in zip(names, chosen, strict=True)]
    case["maps"] = [each for each in case["maps"] if each["method"] != METHOD] + [{"method": METHOD, "file": file, "cases": facts}]
