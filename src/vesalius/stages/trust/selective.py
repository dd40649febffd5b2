"""Leaving doubtful cases to a doctor: how the error falls when fewer answers are kept, and a threshold with a guaranteed error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from vesalius.kernels.riskcoverage import RiskCoverage, curve
from vesalius.kernels.selective import SURE, Selection, certainty_of, decomposed, one_a_patient, select
from vesalius.kernels.stats import bootstrap
from vesalius.mapping import Mapping, single_thread
from vesalius.stages.evaluate import part_of, values_of
from vesalius.stages.trust._foldwords import of_folds
from vesalius.stages.trust._share import mean_of, share_of, told
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

ERRORS = {"mask": (0.1, 0.2, 0.3)}
"""Errors that are tried, by kind: wrong answers, or 1 - Dice."""
COMMON = (0.01, 0.02, 0.05, 0.1)
POINTS = 100
LEAST = 10
MEMBER_ROWS = 400


@dataclass(frozen=True)
class Answers:
    """Certainty, loss (0 .. 1) and patient of each case of one part."""

    certainty: np.ndarray
    loss: np.ndarray
    patients: np.ndarray


@trust_part("selective", order=65, share=0.5)
def selective(trust: Trust) -> dict[str, Any]:
    """The curve of error against coverage on the test, and thresholds to abstain chosen on validation.

    A threshold promises its error with a probability of 95 % (Geifman and El-Yaniv 2017), from one randomly drawn image of each validation patient.
    """
    kind = trust.target.kind
    if kind in ("regression", "multilabel", "boxes"):
        return not_for("Abstaining is asked of whole answers: one class an image, or a mask.", "弃答检验仅适用于每幅影像一个类别或分割任务。")
    learnt, asked = (_answers(trust, part_of(trust.predictions, split)) for split in ("validation", "test"))
    if min(len(np.unique(learnt.patients)), len(np.unique(asked.patients))) < LEAST:
        return not_for(f"Fewer than {LEAST} patients in validation or test.", f"验证集或测试集患者少于 {LEAST} 名。")
    rows = one_a_patient(learnt.patients, trust.seed)
    tried = [_promise(error, select(learnt.certainty[rows], learnt.loss[rows], error), asked, trust.seed) for error in ERRORS.get(kind, COMMON)]
    coverage, risk = curve(-asked.certainty, asked.loss)
    kept = np.unique(np.linspace(0, len(risk) - 1, POINTS).round().astype(int))
    facts: dict[str, Any] = {"aurc": _aurc(asked, -asked.certainty, trust.seed), "aurc_best": _aurc(asked, asked.loss, trust.seed)}
    facts["aurc_chance"] = float(asked.loss.mean())
    facts |= {"curve": {"coverage": coverage[kept].tolist(), "risk": risk[kept].tolist()}, "promises": tried, "sure": SURE, "n_calibrated": len(rows)}
    members = _members(trust) if kind != "mask" and trust.images is not None else None
    return facts | ({"members": members} if members else {}) | {"sentences": [*_said(facts, tried, kind, members), *of_folds(trust, "selective")]}


def _answers(trust: Trust, frame: pd.DataFrame) -> Answers:
    """Of a mask the mean Dice and doubt of each case, else the class that the model names."""
    if trust.target.kind == "mask":
        each = frame.groupby("id", sort=True).agg(dice=("dice", "mean"), doubt=("uncertainty", "first"), patient=("patient", "first")).dropna()
        return Answers(1 - each["doubt"].to_numpy(float), 1 - each["dice"].to_numpy(float), each["patient"].to_numpy(str))
    truth = values_of(frame, trust.target, "truth")
    p, threshold = values_of(frame, trust.target, "p")[truth >= 0], trust.mapping.output.threshold
    said = p.argmax(1) if threshold is None else (p[:, 1] >= threshold).astype(int)
    return Answers(certainty_of(p, threshold), (said != truth[truth >= 0]).astype(float), frame["patient"].to_numpy(str)[truth >= 0])


def _aurc(asked: Answers, doubt: np.ndarray, seed: int) -> dict[str, Any] | None:
    found = bootstrap(RiskCoverage(doubt, asked.loss), asked.patients, 500, seed)
    return None if found is None else found.to_dict()


def _promise(error: float, made: Selection | None, asked: Answers, seed: int) -> dict[str, Any]:
    """The threshold for one error and what it does in the test; without a threshold nothing can be promised."""
    if made is None:
        return {"error": error, "threshold": None}
    kept = asked.certainty >= made.threshold
    loss, graded = asked.loss[kept], not np.isin(asked.loss, (0.0, 1.0)).all()
    seen = (mean_of if graded else share_of)(loss, asked.patients[kept], seed) if kept.any() else None
    return {"error": error, **asdict(made), "test": {"coverage": share_of(kept, asked.patients, seed), "error": seen}}


def _members(trust: Trust) -> dict[str, Any] | None:
    """Where the doubt of several members comes from, on test images that the time allows; None for one member."""
    networks, frame = list(trust.mapping.networks), trust.frame
    if len(networks) < 2 or trust.images is None:
        return None
    rows = frame.index[(frame["split"] == "test") & frame["label"].notna()].to_numpy()[:MEMBER_ROWS]
    p = _each(trust.mapping, trust.images, rows, lambda done: trust.progress(done, len(rows), "members asked"), trust)
    total, data, model = decomposed(p)
    rows, truth = rows[: p.shape[1]], trust.target.encode(frame.loc[rows[: p.shape[1]], "label"].tolist())
    wrong = p.mean(0).argmax(1) != truth
    facts: dict[str, Any] = {"n": len(networks), "n_images": len(rows), "of_images": int((frame["split"] == "test").sum())}
    for name, each in (("total", total), ("aleatoric", data), ("epistemic", model)):
        apart = {"wrong": float(each[wrong].mean()), "right": float(each[~wrong].mean())} if 0 < wrong.sum() < len(wrong) else {}
        facts[name] = {"mean": float(each.mean())} | apart
    return facts


def _each(mapping: Mapping, images: np.ndarray, rows: np.ndarray, tell: Callable[[int], None], trust: Trust) -> np.ndarray:
    """Calibrated probabilities of each member ``[M, N, K]``, of as many rows as there is time for (at least one)."""
    made = []
    with single_thread(), torch.inference_mode():
        for done, row in enumerate(rows, 1):
            x = mapping.encode_array(np.asarray(images[row]))[None]
            raw = np.concatenate([mapping.output.predict(network, x).cpu().numpy() for network in mapping.networks])
            made.append(mapping.output.probabilities(raw))
            tell(done)
            if trust.left_s <= 0:
                break
    return np.stack(made, axis=1)


def _said(facts: dict[str, Any], tried: list[dict[str, Any]], kind: str, members: dict[str, Any] | None) -> list[dict[str, str]]:
    able = [each for each in tried if each["threshold"] is not None]
    what = ("mean loss (1 - Dice)", "平均损失（1 - Dice）") if kind == "mask" else ("share of wrong answers", "错误率")
    if not able:
        most, n = max(each["error"] for each in tried), facts["n_calibrated"]
        said = [sentence("selective", "info", f"No threshold can promise a {what[0]} of at most {most:.0%} from {n} patients.",
                         f"仅凭 {n} 名患者，没有阈值能保证{what[1]}不超过 {most:.0%}。")]
    else:
        best = able[0]
        test, seen = best["test"], best["test"]["error"]
        broken = seen is not None and seen["low"] > best["error"]
        said = [sentence(
            "selective", "warning" if broken else "ok",
            f"Keeping only answers with a certainty of at least {best['threshold']:.2f} promises a {what[0]} of at most {best['error']:.0%}; in the test "
            f"{told(test['coverage'])} of the answers were kept, at {told(seen)}.",
            f"仅保留确信度不低于 {best['threshold']:.2f} 的回答，可保证{what[1]}不超过 {best['error']:.0%}；"
            f"测试中保留 {told(test['coverage'])}，实际为 {told(seen)}。",
        )]
    if members and "wrong" in members["epistemic"]:
        part = members["epistemic"]["mean"] / max(members["total"]["mean"], 1e-12)
        said.append(sentence(
            "members", "info", f"{part:.0%} of the doubt is between the {members['n']} members (more data could lower it), the rest lies in the images.",
            f"{part:.0%} 的不确定度来自 {members['n']} 个成员之间的分歧（更多数据可减少），其余来自影像本身。",
        ))
    return said
