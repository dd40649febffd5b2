"""Made-up boxes: true ones, and what a model might say of them."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vesalius.core.boxes import BoxTruth, Detected
from vesalius.core.target import TargetSpec
from vesalius.kernels.boxscores import Responses, match

CLASSES = 3


def truth_of(boxes, labels=None, ignored=None):
    boxes = np.asarray(boxes, np.float32)
    n = len(boxes)
    spared = np.asarray(np.zeros(n) if ignored is None else ignored, bool)
    return BoxTruth(boxes, np.zeros(n, int) if labels is None else np.asarray(labels), spared, np.zeros(n))


def found_of(boxes, scores, labels=None):
    boxes = np.asarray(boxes, np.float32)
    return Detected(boxes, np.zeros(len(boxes), int) if labels is None else np.asarray(labels), np.asarray(scores, np.float32), np.full(len(boxes), np.nan))


def drawn(rng, n):
    low = rng.integers(0, 200, (n, 2)) / 2
    return np.concatenate([low, low + rng.integers(4, 60, (n, 2)) / 2], 1)


def cases(seed, n=20, extra=30, ignored=0.15):
    """Predictions near the truth, doubled, of the wrong class and out of nowhere; scores with ties."""
    rng, found, truths = np.random.default_rng(seed), [], []
    for _ in range(n):
        boxes, labels = drawn(rng, g := int(rng.integers(0, 12))), rng.integers(0, CLASSES, g)
        truths.append(truth_of(boxes.reshape(-1, 4), labels, rng.random(g) < ignored))
        times = rng.integers(0, 3, g)
        near, own = np.repeat(boxes, times, 0), np.repeat(labels, times)
        near = near + rng.integers(-4, 5, near.shape) / 2
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        own = np.where(rng.random(len(own)) < 0.1, rng.integers(0, CLASSES, len(own)), own)
        more = drawn(rng, m := int(rng.integers(0, extra)))
        scores = np.round(rng.random(len(near) + m), 2)
        order = np.argsort(-scores, kind="stable")
        whole, kinds = np.concatenate([near, more]), np.concatenate([own, rng.integers(0, CLASSES, m)])
        found.append(found_of(whole[order], scores[order], kinds[order]))
    return found, truths


def of(found, truths, label=None, thresholds=None):
    matched = [match(*pair, *([thresholds] if thresholds else [])) for pair in zip(found, truths, strict=True)]
    return Responses.of(found, truths, matched, label)


def coco(found, truths):
    """pycocotools on the same boxes: AP ``[T, K]``, NaN where it has none, and its summary."""
    shapes, marks = [], []
    for i, (guess, truth) in enumerate(zip(found, truths, strict=True), 1):
        for box, label, ignored in zip(truth.boxes.tolist(), truth.labels, truth.ignored, strict=True):
            sides = [box[1], box[0], box[3] - box[1], box[2] - box[0]]
            place = {"id": len(marks) + 1, "image_id": i, "category_id": int(label) + 1}
            marks.append(place | {"bbox": sides, "area": sides[2] * sides[3], "iscrowd": int(ignored)})
        for box, label, score in zip(guess.boxes.tolist(), guess.labels, guess.scores, strict=True):
            sides = [box[1], box[0], box[3] - box[1], box[2] - box[0]]
            shapes.append({"image_id": i, "category_id": int(label) + 1, "bbox": sides, "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        base = COCO()
        base.dataset = {"images": [{"id": i + 1} for i in range(len(found))], "annotations": marks, "categories": [{"id": k + 1} for k in range(CLASSES)]}
        base.createIndex()
        judge = COCOeval(base, base.loadRes(shapes), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, 2]
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(1)), judge.stats


def coco_like(part):
    """The summary of pycocotools for the cases of a part: mAP, mAP50 ..."""
    return coco(part.found, part.truths)[1]


CELLS = TargetSpec("boxes", ("RBC", "WBC", "Platelet"), "kind")
USUAL = {"RBC": 8, "WBC": 1, "Platelet": 1}


def table(n=40, *, split="test", seed=0, ndim=2, miss=0.1, noise=1.0, extra=15, images=1, classes=CELLS.classes, ignored=0.05, spacing=None):
    """``cases.parquet`` of a model that misses some boxes, places the others inexactly and makes some up."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(n):
        true, found = [], []
        for name in classes:
            for _ in range(rng.poisson(USUAL.get(name, 2))):
                low = rng.uniform(0, 400, ndim)
                box = np.concatenate([low, low + rng.uniform(20, 60, ndim)])
                true.append({"box": box.tolist(), "class": name, "ignored": bool(rng.random() < ignored), "risk": int(rng.random() < 0.5)})
                if rng.random() > miss:
                    risk = np.clip(true[-1]["risk"] * 0.4 + 0.6 * rng.random(), 0, 1)
                    found.append({"box": (box + rng.normal(0, noise, 2 * ndim)).tolist(), "class": name, "score": rng.beta(5, 2), "risk": float(risk)})
        for _ in range(rng.poisson(extra)):
            low = rng.uniform(0, 400, ndim)
            name = classes[int(rng.integers(len(classes)))]
            found.append({"box": [*low, *(low + rng.uniform(20, 60, ndim))], "class": name, "score": rng.beta(1, 6), "risk": None})
        facts = {"id": f"{split}{i}", "path": f"{i}.png", "patient": f"{split}-p{i // images}", "split": split}
        rows.append(facts | {"shape": json.dumps([480] * ndim), "spacing_mm": json.dumps(spacing), "truth": json.dumps(true), "found": json.dumps(found)})
    return pd.DataFrame(rows)
