"""Is the hospital or the machine written in the image, and does it go with the label? Then a network can tell the one by the other.

A small model guesses each column that names a site or a machine (of the table, or a fact of the file) from the whole picture, crossed over folds by
patient, and is judged among cases of the same label: a site that has more of the ill is not "seen" through their disease. How much the label goes
with it is what the column alone tells of the label.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import missing, text_of
from vesalius.kernels.crossridge import products
from vesalius.stages.cohortfile import COLUMNS
from vesalius.stages.trust._chance import crossed_with_chance
from vesalius.stages.trust._filefacts import facts_of
from vesalius.stages.trust._small import Small, figure_of, folds_of, gram_of, plain_estimate, resampled, seconds_for, small_of, within
from vesalius.stages.trust._words import ALWAYS, FEW, interval
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part

WORDS = "sites?|hospitals?|cent(er|re)s?|scanners?|manufacturers?|vendors?|institutions?|devices?|machines?|stations?|clinics?|models?"
NAMED = re.compile(rf"(^|[^a-z])({WORDS})($|[^a-z])")
OF_FILE = ("manufacturer", "model", "institution", "station", "software")
LEAST_PATIENTS = 10
"""Patients of a site below which it is left out."""
MOST_SITES, MOST_COLUMNS = 8, 4
LEVEL = 0.05
PLAIN = 0.65
"""AUC from which a site is called written in the image ..."""
GOES = 0.55
"""... and from which the label goes with it."""
EACH_S = 4.0


@trust_part("sites", order=22, share=1.0)
def sites(trust: Trust) -> dict[str, Any]:
    """``columns``: for each its ``values`` (patients), ``from_image`` and ``label_from_it`` (AUC with interval and p) and ``verdict``: usable
    (written in the image and goes with the label), written, hidden, or inseparable (from the label)."""
    small = small_of(trust)
    if isinstance(small, str):
        return not_for(*(FEW if small == "few" else ALWAYS))
    some = within(small, trust.left_s, EACH_S * seconds_for(small), trust.seed)
    table = _table(trust, some)
    usable = {name: kept for name in table.columns if (kept := _groups(table[name], some.groups)) is not None}
    if not usable:
        return _none()
    gram = gram_of(some.pictures)
    found = {name: guessed(some, gram, values, trust.seed) for name, values in list(usable.items())[:MOST_COLUMNS]}
    told = [_sentence(name, row) for name, row in found.items()]
    return {"applies": True, "columns": found, "n_images": len(some), "of_images": small.n_all, "sentences": told}


def _none() -> dict[str, Any]:
    return not_for("No column and no fact of the files names several sites or machines (with 10 patients each).",
                   "没有列或文件信息记录多个机构或设备（每个至少 10 名患者）。")


def names_of(frame: pd.DataFrame) -> list[str]:
    """Columns of the table that name a site or a machine.

    >>> names_of(pd.DataFrame({"id": [1], "Scanner model": ["x"], "recentering": [1], "site": ["a"]}))
    ['Scanner model', 'site']
    """
    return [str(name) for name in frame.columns if name not in COLUMNS and NAMED.search(str(name).lower())]


def _table(trust: Trust, small: Small) -> pd.DataFrame:
    rows = trust.frame.iloc[small.rows].reset_index(drop=True)
    facts = facts_of([trust.cases[name].source for name in rows["id"]])
    return pd.concat([rows[names_of(rows)], facts[[name for name in OF_FILE if name in facts and name not in rows]]], axis=1)


def _groups(cells: pd.Series, groups: np.ndarray) -> np.ndarray | None:
    """The site of each case ("" where it is not known or too small); None when there are not two large enough."""
    text = np.array(["" if missing(value) else text_of(value) for value in cells])
    held = {value: len(np.unique(groups[text == value])) for value in np.unique(text[text != ""])}
    large = sorted((value for value, n in held.items() if n >= LEAST_PATIENTS), key=lambda value: -held[value])[:MOST_SITES]
    return np.where(np.isin(text, large), text, "") if len(large) >= 2 else None


def guessed(small: Small, gram: np.ndarray, site: np.ndarray, seed: int) -> dict[str, Any]:
    """How well the site is told from the image, and the label from the site."""
    kept = np.flatnonzero(site != "")
    names, place = np.unique(site[kept], return_inverse=True)
    own, marks = small.some(kept), (place[:, None] == np.arange(len(names))).astype(float)
    asked = replace(own, truth=marks[:, 1:] if len(names) == 2 else marks, metric="auc")
    fold = folds_of(asked, asked.groups, seed, "sites")
    image = _figure(asked, gram[np.ix_(kept, kept)], fold, seed, fold * 1000 + _stratum(own))
    label = _figure(own, products(marks), folds_of(own, own.groups, seed, "sites"), seed)
    counts = {str(name): len(np.unique(own.groups[place == k])) for k, name in enumerate(names)}
    written, goes = _holds(image, PLAIN, 0.5), _holds(label, GOES if own.metric == "auc" else 0.02, 0.5 if own.metric == "auc" else 0.0)
    verdict = "usable" if written and goes else "written" if written else "hidden" if image else "inseparable"
    return {"values": counts, "from_image": image, "label_from_it": label, "metric": own.metric, "verdict": verdict}


def _stratum(small: Small) -> np.ndarray:
    """A number for each case's label, that of its group's first case (of a value: which half it lies in)."""
    if small.metric == "r2":
        code = (small.truth[:, 0] > np.median(small.truth[:, 0])).astype(int)
    else:
        code = np.unique(small.truth, axis=0, return_inverse=True)[1].ravel()
    return np.asarray(code[np.unique(small.groups, return_index=True)[1]][small.groups])


def _figure(small: Small, gram: np.ndarray, fold: np.ndarray, seed: int, within: np.ndarray | None = None) -> dict[str, Any] | None:
    said, p = crossed_with_chance(gram, small, fold, seed, within=within)
    owner = small.groups.astype(str)
    made = plain_estimate(resampled([figure_of(small, said, fold if within is None else within)], owner, seed), 0, owner)
    return None if made is None else made.to_dict() | {"p": p}


def _holds(figure: dict[str, Any] | None, least: float, chance: float) -> bool:
    return figure is not None and figure["p"] < LEVEL and figure["low"] > chance and figure["value"] >= least


def _sentence(name: str, row: dict[str, Any]) -> dict[str, str]:
    (image, image_zh), (label, label_zh) = (interval(row[key]) if row[key] else ("–", "–") for key in ("from_image", "label_from_it"))
    of = "AUC" if row["metric"] == "auc" else "R²"
    if row["verdict"] == "usable":
        en = (f"'{name}' is written in the image (a small model tells it with an AUC of {image}) and goes with the label ({of} {label} from '{name}' alone): "
              "the network may tell the one by the other. Look at the figures of each value, or balance them.")
        zh = (f"影像中可看出“{name}”（小模型 AUC {image_zh}），且其与标签相关（仅凭“{name}”，{of} 为 {label_zh}）："
              "网络可能以此代彼。请分别查看各取值的指标，或加以平衡。")
        return sentence("site-usable", "warning", en, zh)
    if row["verdict"] == "written":
        en = f"'{name}' is written in the image (AUC {image}), but hardly goes with the label ({of} {label}): another one may still be read worse."
        zh = f"影像中可看出“{name}”（AUC {image_zh}），但与标签关系不大（{of} {label_zh}）：对其他机构或设备的影像，性能仍可能下降。"
        return sentence("site-written", "info", en, zh)
    if row["verdict"] == "inseparable":
        en = f"'{name}' and the label cannot be told apart: hardly any value of '{name}' holds cases of several labels ({of} {label} from '{name}' alone)."
        zh = f"“{name}”与标签无法区分：几乎没有取值同时包含多种标签的病例（仅凭“{name}”，{of} 为 {label_zh}）。"
        return sentence("site-inseparable", "error", en, zh)
    return sentence("site-hidden", "ok", f"'{name}' is not told from the image (AUC {image}).", f"从影像看不出“{name}”（AUC {image_zh}）。")
