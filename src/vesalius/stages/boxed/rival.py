"""The classic rival of a run with boxes: what a detector of blobs without a network finds in the same cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.boxes import BoxTruth
from vesalius.core.reads import TileReads
from vesalius.stages.boxed.baseline import blob_baseline
from vesalius.stages.boxed.evaluate import BoxJudge, case_row
from vesalius.transforms.boxtiles import boxes_in, boxes_out
from vesalius.transforms.tiles import prepare_tiles

Progress = Callable[[int, int, str], None]
MOST_TRAINING = 120
"""Training cases that the classic detector learns from: it has few numbers to learn."""


def blob_cases(used: pd.DataFrame, judge: BoxJudge, reads: TileReads, *, seed: int, progress: Progress) -> pd.DataFrame:
    """``cases.parquet`` of validation and test by `stages.boxed.baseline.blob_baseline`, trained on at most `MOST_TRAINING` training cases."""
    train = used[used["split"] == "train"]
    chosen = train["id"].iloc[np.unique(np.linspace(0, len(train) - 1, MOST_TRAINING).astype(int))]
    examples = []
    for done, name in enumerate(chosen, 1):
        image, truth, _ = _read(judge, name, reads)
        examples.append((image, truth))
        progress(done, len(chosen), "training cases for the classic detector")
    judged = used[used["split"].isin(["validation", "test"])].to_dict("records")
    read = [_read(judge, str(facts["id"]), reads) for facts in judged]
    found = blob_baseline(examples, [image for image, _, _ in read], len(judge.target.classes), seed)
    rows: list[dict[str, Any]] = []
    for facts, each, (_, _, trace) in zip(judged, found, read, strict=True):
        study, truth = judge.opened(str(facts["id"]))
        each = type(each)(boxes_out(each.boxes, trace), each.labels, each.scores, each.risk)
        rows.append(case_row({str(k): v for k, v in facts.items()}, study, truth, each, judge.target) | {"fold": -1})
    return pd.DataFrame(rows)


def _read(judge: BoxJudge, name: str, reads: TileReads) -> tuple[np.ndarray, BoxTruth, Any]:
    study, truth = judge.opened(name)
    image, trace = prepare_tiles(study, reads)
    moved = BoxTruth(boxes_in(truth.boxes, trace), truth.labels, truth.ignored, truth.risk)
    return image.astype(np.float16), moved, trace
