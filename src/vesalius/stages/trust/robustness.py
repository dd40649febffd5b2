"""Would the model have said the same of the same picture, taken a little differently?

Validation images (never the test set) are shown again closer, turned, shifted, brighter, softer, noisier ..., and judged at the operating point of the
run. A change can cost the *order* of the answers (the primary figure falls), or the *threshold* alone: the ill still score higher than the healthy, but
all of them score higher than before (balanced accuracy falls, the primary figure does not). The second cannot be seen in an AUC.
Of masks and boxes the truth moves with the picture (`_robustmarked`), and a structure may be marked *worse*.

Hendrycks and Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019; that a change
of the picture which leaves its label alone tells more than a held-out set of the same kind: Ribeiro et al., *Beyond accuracy: behavioral testing*, ACL 2020.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from vesalius.core.target import MARKED
from vesalius.kernels.stats import Resampled, codes, estimate, resample
from vesalius.mapping import Mapping, single_thread
from vesalius.seed import generator
from vesalius.stages.evaluate import folds_in
from vesalius.stages.judged import judged_of
from vesalius.stages.predict import raw_frame, with_probabilities
from vesalius.stages.prepare import cores
from vesalius.stages.trust._changes import Change, changes_for
from vesalius.stages.trust._robustmarked import asked_marked, ways_of
from vesalius.stages.trust._robustwords import SAID, sentences_of
from vesalius.stages.trust._words import Words
from vesalius.stages.trust.base import Trust, not_for, trust_part
from vesalius.storage import plain
from vesalius.transforms.reading import standardise, unit

LEAST = 20
"""Patients without whom no figure is worth a word."""
LOST = {"order": 0.03, "worse": 0.05, "threshold": 0.1}
"""A fall of the primary figure (of images; of masks and boxes), or of a figure at the operating point, that is worth a warning (when its interval
excludes 0)."""
SHOWN = {
    "binary": ("sensitivity", "specificity", "balanced_accuracy"), "multiclass": ("balanced_accuracy",), "ordinal": ("balanced_accuracy",),
    "mask": ("sensitivity", "ppv"), "boxes": ("sensitivity", "precision"),
}
"""Figures beside the primary one."""
AT_POINT = {"boxes": SHOWN["boxes"], "mask": ()}
"""Figures whose fall says that the threshold is lost; else the balanced accuracy."""
DRAWS = 500
CHUNK, LEAST_IMAGES = 10, 40
"""Images between two looks at the clock, and those that are always asked."""
FEW = (f"Fewer than {LEAST} patients in validation, or one class only.", f"验证集患者少于 {LEAST} 名，或只有一个类别。")
MIXED = ("Each fold has several networks; who has not seen which image is not known here.", "每折有多个网络；此处无法区分哪个网络未见过哪幅影像。")


@dataclass(frozen=True)
class Asked:
    """Rows of the frame, and raw values of each change ``[changes, N, n_out]``; the first is the picture as it is."""

    rows: np.ndarray
    raw: np.ndarray
    of_all: int


@trust_part("robustness", order=45, share=3.0)
def robustness(trust: Trust) -> dict[str, Any]:
    """Figures on validation under each change, and what the change costs (paired by patient).

    Returns ``{"metric", "threshold" (of each class for boxes), "n_images", "of_images", "unasked" (changes that there was no time for, in words), "plain":
    {FIGURE: estimate}, "changes": {NAME: {"what" (in words, English and Chinese), "figures", "minus" (estimates by figure), "verdict": "holds" |
    "threshold" | "order" | "worse"}}, "sentences"}``.
    """
    folds = folds_in(trust.predictions)
    if folds and len(trust.mapping.networks) != folds:
        return not_for(*MIXED)
    asked = asked_marked(trust) if trust.target.kind in MARKED else _asked_whole(trust)
    if len(asked) == 2:
        return not_for(*asked)
    tables, changes, of_all = asked
    metrics = json.loads(trust.run.metrics.read_text("utf-8"))
    names = (metrics["primary"], *(name for name in SHOWN.get(trust.target.kind, ()) if name != metrics["primary"]))
    found = _compared(tables, changes, names, metrics, trust)
    operating = metrics.get("operating_point") or {}
    known = {"metric": metrics["primary"], "threshold": operating if trust.target.kind == "boxes" else operating.get("threshold"), "of_images": of_all}
    known["unasked"] = [SAID[name] for name in (ways_of(trust) if trust.target.kind in MARKED else ()) if name not in changes]
    return dict(plain(known | found | {"sentences": sentences_of(found, names)}))


def _asked_whole(trust: Trust) -> tuple[list[pd.DataFrame], list[str], int] | Words:
    """The same of whole images."""
    if trust.images is None:
        return FEW
    changes = changes_for(str(trust.mapping.plan.get("data.modality")) == "CT")
    asked = _ask(trust, trust.images, changes)
    return FEW if asked is None else ([_table(trust, asked.rows, raw) for raw in asked.raw], [*changes], asked.of_all)


def _ask(trust: Trust, images: np.ndarray, changes: dict[str, Change]) -> Asked | None:
    """Every change of as many images as there is time for, in an order that chance has made; None where they are too few."""
    held = trust.frame.index[_judged_rows(trust)].to_numpy()
    order = generator(trust.seed, "robustness").permutation(held)
    made: list[np.ndarray] = []
    with single_thread(), ThreadPoolExecutor(trust.jobs or cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for start in range(0, len(order), CHUNK):
            made += pool.map(_one(trust, images, changes), order[start : start + CHUNK].tolist())
            trust.progress(len(made), len(order), "images shown with changes")
            if trust.left_s <= 0 and len(made) >= LEAST_IMAGES:
                break
    rows = order[: len(made)]
    seen = trust.frame.loc[rows]
    if codes(seen["patient"].to_numpy(str))[1] < LEAST or (trust.target.classes and seen["label"].nunique() < 2):
        return None
    return Asked(rows, np.stack(made, axis=1), len(held))


def _judged_rows(trust: Trust) -> pd.Series:
    """Images with a truth that some network has not learnt from: validation, and with folds all but the test."""
    if folds_in(trust.predictions):
        return trust.frame["split"].isin(["train", "validation"]) & trust.frame["label"].notna()
    return (trust.frame["split"] == "validation") & trust.frame["label"].notna()


def _one(trust: Trust, images: np.ndarray, changes: dict[str, Change]) -> Callable[[int], np.ndarray]:
    """Raw values ``[changes + 1, n_out]`` of one image."""
    blind = _blind(trust)

    def ask(row: int) -> np.ndarray:
        mapping = blind(row)
        x = unit(images[row], mapping.reads)[None]
        shown = torch.cat([*_shown(x, changes, trust.seed, row)])
        together = len(shown) if mapping.reads.ndim == 2 else 1
        return np.concatenate([_raw(mapping, standardise(each, mapping.reads).to(mapping.device)) for each in shown.split(together)])

    return ask


def _raw(mapping: Mapping, x: torch.Tensor) -> np.ndarray:
    """Raw values ``[B, n_out]`` of a batch ``[B, C, …]``, as `Mapping.raw` gives them for each alone: mean over members and mirror images."""
    views = [x, *([x.flip([2 + axis for axis in mapping.mirror])] if mapping.mirror else [])]
    with torch.inference_mode():
        values = [mapping.output.predict(network, view) for network in mapping.networks for view in views]
    return torch.stack(values).mean(0).cpu().numpy()


def _shown(x: torch.Tensor, changes: dict[str, Change], seed: int, row: int) -> Iterator[torch.Tensor]:
    yield x
    for name, change in changes.items():
        drawn = generator(seed, "change", name, row)
        yield change(x, 1 if drawn.random() < 0.5 else -1, torch.Generator().manual_seed(int(drawn.integers(2**31)))).clamp(0, 1)


def _blind(trust: Trust) -> Callable[[int], Mapping]:
    """The networks that have not learnt from the image of a row."""
    if not folds_in(trust.predictions):
        return lambda row: trust.mapping
    alone = [replace(trust.mapping, networks=[network]) for network in trust.mapping.networks]
    fold = dict(zip(trust.predictions["id"].astype(str), trust.predictions["fold"].astype(int), strict=True))
    return lambda row: alone[fold[str(trust.frame["id"].loc[row])]]


def _table(trust: Trust, rows: np.ndarray, raw: np.ndarray) -> pd.DataFrame:
    held = trust.frame.loc[rows].assign(split="validation")
    return with_probabilities(trust.mapping, raw_frame(trust.mapping, held, raw))


def _compared(tables: list[pd.DataFrame], changes: list[str], names: tuple[str, ...], metrics: dict[str, Any], trust: Trust) -> dict[str, Any]:
    """All figures of all tables from the same draws of patients, so that differences are paired."""
    judged = [judged_of(table, metrics, trust.target, "validation") for table in tables]
    of = [judged[0].names.index(name) for name in names]
    patients, n = judged[0].patients, len(judged[0].ids)
    drawn = resample(lambda weights: np.concatenate([each.figures(weights)[of] for each in judged]), patients, DRAWS, trust.seed)
    people, k = codes(patients)[1], len(names)
    own = _estimates(drawn, range(k), names, people, n)
    rows = {name: {"what": SAID[name]} | _row(drawn, c * k, names, people, n) for c, name in enumerate(changes, 1)}
    for row in rows.values():
        row["verdict"] = _verdict(row["minus"], names[0], trust.target.kind)
    return {"n_images": n, "n_patients": people, "plain": own, "changes": rows}


def _estimates(drawn: Resampled, places: range, names: tuple[str, ...], people: int, n: int) -> dict[str, Any]:
    made = {name: estimate(drawn, m, "percentile", people, n) for name, m in zip(names, places, strict=True)}
    return {name: each.to_dict() for name, each in made.items() if each is not None}


def _row(drawn: Resampled, at: int, names: tuple[str, ...], people: int, n: int) -> dict[str, Any]:
    places = range(at, at + len(names))
    k = len(names)
    minus = Resampled(drawn.value[at : at + k] - drawn.value[:k], drawn.draws[at : at + k] - drawn.draws[:k],
                      drawn.left_out[at : at + k] - drawn.left_out[:k], people, n)
    differences = _estimates(minus, range(k), names, people, n)
    return {"figures": _estimates(drawn, places, names, people, n), "minus": differences}


def _verdict(minus: dict[str, Any], primary: str, kind: str = "binary") -> str:
    lost = "worse" if kind in MARKED else "order"
    if _fell(minus.get(primary), LOST[lost]):
        return lost
    return "threshold" if any(_fell(minus.get(name), LOST["threshold"]) for name in AT_POINT.get(kind, ("balanced_accuracy",))) else "holds"


def _fell(minus: dict[str, Any] | None, by: float) -> bool:
    return minus is not None and minus["value"] <= -by and minus["high"] < 0
