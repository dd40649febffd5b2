"""A finished run on a phantom as the tests of trust see it: the network's predictions are drawn, not learnt."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.formats import open_study, recognise
from vesalius.phantoms import Truth, make_phantom
from vesalius.seed import generator
from vesalius.stages.run import RunFolder
from vesalius.stages.trust.base import Trust


def predicted(frame: pd.DataFrame, target: TargetSpec, true: list[Any], sharpness: float, seed: int) -> pd.DataFrame:
    """``predictions.parquet`` of a network that sees what was drawn, not what the label says."""
    judged = frame["split"].isin(["validation", "test"]).to_numpy()
    rows, rng = frame.loc[judged, ["id", "path", "patient", "split", "label"]].reset_index(drop=True), generator(seed, "standin")
    seen, said = target.encode([t for t, j in zip(true, judged, strict=True) if j]), target.encode(rows["label"].tolist())
    if target.kind == "regression":
        return rows.assign(truth=said, value=seen + rng.normal(0, 0.02, len(rows)))
    if target.kind == "multilabel":
        p = 1 / (1 + np.exp(-(sharpness * (2 * seen - 1) + rng.normal(0, 1, seen.shape))))
        return rows.assign(**{f"truth_{c}": said[:, k] for k, c in enumerate(target.classes)}, **{f"p_{c}": p[:, k] for k, c in enumerate(target.classes)})
    raw = sharpness * np.eye(len(target.classes))[seen] + rng.normal(0, 1, (len(rows), len(target.classes)))
    p = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    return rows.assign(truth=said, **{f"p_{c}": p[:, k] for k, c in enumerate(target.classes)})


def trust_on(out: Path, kind: str, seed: int = 0, n: int = 240, sharpness: float = 4.0, **options: Any) -> tuple[Trust, Truth]:
    """A phantom in ``out/phantom`` and a run about it in ``out/run``: 60 % of the patients train, 20 % validate, 20 % test."""
    truth = make_phantom(kind, out / "phantom", seed=seed, n=n, **options)
    cohort = recognise(truth.data, label=truth.target if kind in ("regression", "ordinal") else None)
    people = list(dict.fromkeys(case.patient for case in cohort.cases))
    part = dict(zip(people, generator(seed, "parts").choice(["train", "validation", "test"], len(people), p=[0.6, 0.2, 0.2]), strict=True))
    frame = pd.DataFrame([
        {"id": c.id, "path": c.source.path, "patient": c.patient, "label": c.label, "split": part[c.patient]} for c in cohort.cases
    ])
    images = np.stack([open_study(case.source).image for case in cohort.cases])
    (out / "run" / "model").mkdir(parents=True, exist_ok=True)
    mapping: Any = SimpleNamespace(output=SimpleNamespace(threshold=None, target=cohort.target), networks=[None])
    drawn = [truth.true_label[case.id] for case in cohort.cases]
    if cohort.target.kind == "multilabel":
        drawn = ["|".join(name for name, mark in each.items() if mark) for each in drawn]
    table = predicted(frame, cohort.target, drawn, sharpness, seed)
    return Trust(RunFolder(out / "run"), mapping, frame, images, table, cohort.target, {case.id: case for case in cohort.cases}, seed, jobs=1), truth
