"""Masks and boxes whose annotation is far from what the model found in cases that it has not learnt from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vesalius.formats.cases import open_case, open_truth
from vesalius.stages.boxed.drawing import Drawn, View
from vesalius.stages.boxed.tables import Part, part_of
from vesalius.stages.doubtful.page import FOLDER, PAGE, Shown, data_uri, write_page
from vesalius.stages.tiled.explain import Case, judged, of_class
from vesalius.stages.trust.base import Trust, not_for, sentence

MOST_SHOWN = 24
OUTLIER = 3.5
"""Robust deviations below the median Dice from which a case is doubted (Iglewicz and Hoaglin 1993)."""
LOW_DICE = 0.5
SURE_SCORE, MISSED_SCORE = 0.8, 0.1
"""A false box with at least the one score, or a true box that no box of the other score meets, is a disagreement."""
OPTIONS = ("right", "redraw")


def doubt_marked(trust: Trust) -> dict[str, Any]:
    """Cases of validation, test and folds ranked by disagreement, and their page."""
    if not len(trust.predictions):
        return not_for("There are no judged cases.", "没有可评估的病例。")
    table = boxes_table(trust) if trust.target.kind == "boxes" else masks_table(trust)
    worst = table[table["doubted"]].head(MOST_SHOWN)
    drawn = _box_picture if trust.target.kind == "boxes" else _mask_picture
    rows = [{str(k): v for k, v in row.items()} for row in worst.to_dict("records") if row["id"] in trust.cases]
    shown = [Shown(row["id"], row["split"], "", OPTIONS, drawn(trust, row), None, None, None, False, (), row["en"], row["zh"]) for row in rows]
    n = int(table["doubted"].sum())
    said = [sentence(
        "doubtful", "info" if n else "ok",
        f"In {n} of {len(table)} cases the annotation is far from what the model found; the page {FOLDER}/{PAGE} shows them. Either may be wrong.",
        f"{len(table)} 个病例中有 {n} 个的标注与模型结果相差很大，见页面 {FOLDER}/{PAGE}；可能是标注有误，也可能是模型有误。",
    )]
    write_page(trust.run.path, shown, {"en": said[0]["en"], "zh": said[0]["zh"]}, marked=True)
    kept = [{name: row[name] for name in ("id", "split", "disagreement", "en", "zh")} for row in rows]
    return {"n_judged": len(table), "n_doubted": n, "page": f"{FOLDER}/{PAGE}", "cases": kept, "sentences": said}


def masks_table(trust: Trust) -> pd.DataFrame:
    """A row a case: its worst class by Dice, the surest first among equals."""
    rows = trust.predictions[trust.predictions["dice"].notna()].reset_index(names="at")
    worst = rows.loc[rows.groupby("id")["dice"].idxmin()].copy()
    dice = worst["dice"].to_numpy()
    middle = float(np.median(dice)) if len(dice) else 1.0
    spread = max(1.4826 * float(np.median(np.abs(dice - middle))), 0.02) if len(dice) else 1.0
    worst["doubted"] = ((middle - dice) / spread >= OUTLIER) & (dice < LOW_DICE)
    worst["disagreement"] = (1 - dice) * (1 - worst["uncertainty"].fillna(0).to_numpy())
    worst["en"] = [f"{name}: Dice {each:.2f} between annotation (blue) and model (orange)." for name, each in zip(worst["class"], dice, strict=True)]
    worst["zh"] = [f"{name}：标注（蓝）与模型（橙）的 Dice 为 {each:.2f}。" for name, each in zip(worst["class"], dice, strict=True)]
    return worst.sort_values("disagreement", ascending=False, kind="stable").reset_index(drop=True)


def boxes_table(trust: Trust) -> pd.DataFrame:
    """A row a case: boxes of high score without truth, and true boxes that nothing meets."""
    rule = json.loads(trust.run.metrics.read_text("utf-8"))["matching"]["rule"]
    rows = []
    for split in ("validation", "test"):
        part = part_of(trust.predictions, trust.target, matching=rule, split=split)
        rows += [] if part is None else [_disagreement(part, i) | {"split": split} for i in range(len(part.ids))]
    return pd.DataFrame(rows).sort_values("disagreement", ascending=False, kind="stable").reset_index(drop=True)


def _disagreement(part: Part, i: int) -> dict[str, Any]:
    found, ruled, truth = part.found[i], part.ruled[i], part.truths[i]
    extra = found.scores[(ruled.verdict[0] == 0) & (found.scores >= SURE_SCORE)]
    best = np.zeros(len(truth))
    met = ruled.truth[0] >= 0
    np.maximum.at(best, ruled.truth[0][met], found.scores[met])
    lost = int(((best < MISSED_SCORE) & ~truth.ignored).sum())
    return {
        "id": str(part.ids[i]), "disagreement": float(extra.sum() + lost), "doubted": bool(len(extra) + lost),
        "en": f"{len(extra)} boxes of high score without annotation, {lost} annotated boxes that the model does not see.",
        "zh": f"{len(extra)} 个高分框没有标注，{lost} 个标注框未被模型检出。",
    }


def _mask_picture(trust: Trust, row: dict[str, Any]) -> str:
    """Outlines of truth and prediction in the slice where they differ most."""
    case, target = trust.cases[row["id"]], trust.target
    study = open_case(case)
    truth, k = open_truth(case, target, study), target.classes.index(row["class"])
    labels = _kept(trust.run.path, row)
    known = judged(truth, target, k)
    mask = np.zeros(study.grid.shape, bool) if labels is None else of_class(labels, target, k)
    seen = Case.of(study, of_class(truth, target, k), mask & known, known, np.zeros(study.grid.shape, np.float32))
    return data_uri(seen.overlay(seen.wrong))


def _kept(run: Path, row: dict[str, Any]) -> np.ndarray | None:
    """The predicted mask of a case as the run keeps it (named by its id, see `stages.tiled.evaluate`); None where it does not."""
    path = run / "masks" / str(row["split"]) / f"{hashlib.sha256(row['id'].encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        return None
    with np.load(path) as held:
        return np.asarray(held["labels"])


def _box_picture(trust: Trust, row: dict[str, Any]) -> str:
    """All boxes of the whole image; of a volume in the slice of the first of them."""
    study = open_case(trust.cases[row["id"]])
    held = trust.predictions.set_index("id").loc[row["id"]]
    truth, found = (json.loads(held[name]) if isinstance(held[name], str) else held[name] for name in ("truth", "found"))
    boxes = [Drawn(tuple(map(float, each["box"])), "ignored" if each.get("ignored") else "truth") for each in truth]
    boxes += [Drawn(tuple(map(float, each["box"])), "found") for each in found if each["score"] >= SURE_SCORE]
    first = boxes[0].box if boxes else (0.0,) * study.ndim + tuple(map(float, study.grid.shape))
    return data_uri(View.whole(study, first).with_boxes(boxes))
