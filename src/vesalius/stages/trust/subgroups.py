"""Is it as good for everyone? Every figure by sex, age band, site, scanner and any further column, the worst group, and gaps tested together.

A group is compared with all others of its column (of two groups the first with the second) by permutation of patients within the same truth, corrected by
Holm over all comparisons of the run; see `kernels.contrast`. Only the test set is looked at: there the model was fitted to nobody.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vesalius.core.target import TargetSpec
from vesalius.formats.acquisition import acquisition
from vesalius.kernels.contrast import detectable, holm, permutation_p
from vesalius.kernels.stats import codes, estimate, resample
from vesalius.stages.judged import LOWER, Classes, Judged, judged_of
from vesalius.stages.trust._grouping import MISSING, Column, columns_of
from vesalius.stages.trust.base import Trust, not_for, sentence, trust_part
from vesalius.storage import plain

FEWEST = 10
"""A group of fewer patients says nothing of its own."""
FEWEST_OF_CLASS = 5
SURE = 0.05
MACHINE = ("manufacturer", "model", "institution", "station", "view", "modality", "kvp")
"""Facts of `formats.acquisition` that make groups."""
DRAWS, FEW_DRAWS = 2000, 400
A_TEST = 200
"""Permutations for each comparison of the run: the least p that they can give must survive the correction."""
NO_COLUMN = ("There is no column (sex, age, site, scanner) to make groups of.", "没有可用于分组的列（性别、年龄、中心、设备等）。")


@trust_part("subgroups", order=60, share=2)
def subgroups(trust: Trust) -> dict[str, Any]:
    """The figures of each group of the test set; see `groups_of`."""
    metrics = json.loads(trust.run.metrics.read_text("utf-8"))
    judged = judged_of(trust.predictions, metrics, trust.target)
    rows = trust.frame.set_index("id", drop=False).loc[list(judged.ids)].reset_index(drop=True)
    rows = rows.assign(**{name: cells for name, cells in _from_files(trust, rows["id"].tolist()).items() if name not in rows})
    return groups_of(judged, rows, trust.target, seed=trust.seed, limit_s=trust.left_s)


def _from_files(trust: Trust, ids: list[str]) -> dict[str, list[Any]]:
    """What DICOM files say of the machine that made them; only what differs between them."""
    sources = [trust.cases[name].source if name in trust.cases else None for name in ids]
    if not any(source is not None and source.format.startswith("dicom") for source in sources):
        return {}
    facts = [acquisition(source) if source is not None else {} for source in sources]
    cells = {name: [each.get(name) for each in facts] for name in MACHINE}
    return {name: values for name, values in cells.items() if len(set(values) - {None}) > 1}


def groups_of(
    judged: Judged, rows: pd.DataFrame, target: TargetSpec, *, columns: Sequence[str] | None = None, seed: int = 0, limit_s: float = 60.0, n: int = DRAWS,
) -> dict[str, Any]:
    """Figures by group, the gaps between groups, and what must be said of them.

    Parameters
    ----------
    judged: N cases. rows: their rows of ``cohort.parquet``, in the same order. columns: those to look at; all further ones when None.
    seed, n: of the draws and permutations; where ``limit_s`` seconds do not suffice there are fewer, and ``draws`` says how many.

    Returns ``{"metric", "n_patients", "draws", "columns": {COLUMN: {"groups": {GROUP: {"n_patients", "n_images", "figures", "why"}}, "missing", "why"}},
    "gaps": [{"column", "group", "against", "value", "low", "high", "p", "p_holm", "detectable"}], "worst", "sentences"}``; ``why`` only where a group is
    too small or a column makes no groups.

    Raises
    ------
    LabelError: see `columns_of`.
    """
    made = columns_of(rows, list(columns) if columns else None)
    if not any(column.why is None for column in made):
        return not_for(*NO_COLUMN) | {"columns": {column.name: {"why": _both(column.why)} for column in made}}
    start = time.perf_counter()
    found: dict[str, Any] = {"metric": judged.primary, "n_patients": codes(judged.patients)[1], "columns": {}, "draws": n}
    work = sum(len(column.groups) for column in made if column.why is None)
    tests = sum(1 if len(column.groups) == 2 else len(column.groups) for column in made if column.why is None)
    gaps = []
    for column in made:
        found["columns"][column.name] = _column(judged, column, target, seed, found["draws"])
        gaps += _gaps(judged, column, found["columns"][column.name], seed, found["draws"], max(found["draws"], A_TEST * tests))
        work -= len(column.groups) if column.why is None else 0
        spent = time.perf_counter() - start
        if work and spent > limit_s / 2:
            found["draws"] = FEW_DRAWS
    for gap, p in zip(gaps, holm([gap["p"] for gap in gaps]), strict=True):
        gap |= {"p_holm": p, "detectable": detectable(gap.pop("spread"), len(gaps))}
    found |= {"gaps": gaps, "worst": _worst(found, gaps)}
    return dict(plain(found | {"sentences": _sentences(found)}))


def _both(why: tuple[str, str] | None) -> dict[str, str]:
    return {"en": why[0], "zh": why[1]} if why else {}


def _column(judged: Judged, column: Column, target: TargetSpec, seed: int, n: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"groups": {}, "missing": int((column.group == MISSING).sum())}
    if column.why is not None:
        return facts | {"why": _both(column.why)}
    for name in column.groups:
        mine = column.group == name
        group = judged.kept(mine)
        small = too_small(group, target)
        row: dict[str, Any] = {"n_patients": codes(group.patients)[1], "n_images": int(mine.sum()), "figures": {}}
        facts["groups"][name] = row | ({"why": _both(small)} if small else {"figures": group.assess(seed, n)})
    return facts


def too_small(group: Judged, target: TargetSpec) -> tuple[str, str] | None:
    """Why nothing can be said of a group, in both languages; None where something can."""
    people = codes(group.patients)[1]
    if people < FEWEST:
        return f"{people} patients; at least {FEWEST} are needed", f"仅 {people} 名患者，至少需要 {FEWEST} 名"
    if isinstance(group, Classes) and target.kind in ("binary", "multiclass", "ordinal"):
        held = {name: codes(group.patients[group.truth == k])[1] if (group.truth == k).any() else 0 for k, name in enumerate(target.classes)}
        rare = min(held, key=lambda name: held[name])
        least = FEWEST_OF_CLASS if target.kind == "binary" else 1
        if held[rare] < least:
            return f"{held[rare]} patients of class '{rare}'", f"“{rare}”类仅 {held[rare]} 名患者"
    if not np.isfinite(group.one(group.primary)(np.ones((len(group.ids), 1)))).all():
        return f"{group.primary} is undefined", f"{group.primary} 无定义"
    return None


def _gaps(judged: Judged, column: Column, facts: dict[str, Any], seed: int, n: int, permutations: int) -> list[dict[str, Any]]:
    """The group less all others of the column that say something; of two groups the first less the second."""
    names = [name for name, row in facts["groups"].items() if "why" not in row]
    if len(names) < 2:
        return []
    within = judged.kept(np.isin(column.group, names))
    group = column.group[np.isin(column.group, names)]
    # A patient seen at two sites counts at each: what the parts share makes the test careful, not bold.
    units = np.array([f"{patient} {name}" for patient, name in zip(within.patients, group, strict=True)])
    figure, made = within.one(within.primary), []
    for name in names[:1] if len(names) == 2 else names:
        inside = group == name
        side = inside[:, None].astype(float)
        drawn = resample(lambda weights, side=side: figure(weights * side) - figure(weights * (1 - side)), within.patients, n, seed)  # type: ignore[misc]
        gap = estimate(drawn, 0, "bca", codes(within.patients)[1], len(group))
        if gap is None:
            continue
        p = permutation_p(figure, units, inside, strata=within.strata, n=permutations, seed=seed)
        facts_of = {"column": column.name, "group": name, "against": names[1] if len(names) == 2 else "", "value": gap.value, "low": gap.low, "high": gap.high}
        made.append(facts_of | {"p": p, "spread": float(np.nanstd(drawn.draws[0]))})
    return made


def _worst(found: dict[str, Any], gaps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The group with the poorest primary figure of those that say something."""
    metric = found["metric"]
    rows = [(row["figures"][metric]["value"], column, name) for column, facts in found["columns"].items() for name, row in facts["groups"].items()
            if metric in row["figures"]]
    if not rows:
        return None
    value, column, name = max(rows) if metric in LOWER else min(rows)
    figure = found["columns"][column]["groups"][name]["figures"][metric]
    return {"column": column, "group": name, "value": value, "low": figure["low"], "high": figure["high"], "n_patients": figure["n_patients"]}


def _sentences(found: dict[str, Any]) -> list[dict[str, str]]:
    told, gaps, metric = [], found["gaps"], found["metric"]
    shown = [gap for gap in gaps if gap["p_holm"] < SURE]
    for gap in shown:
        told.append(_of_gap(gap, metric))
    worst = found["worst"]
    if worst:
        text = f"{worst['value']:.3f} ({worst['low']:.3f}–{worst['high']:.3f}, n = {worst['n_patients']})"
        told.append(sentence("worst-group", "info", f"The poorest {metric} is that of {worst['column']} {worst['group']}: {text}.",
                             f"{metric} 最低的组是 {worst['column']}“{worst['group']}”：{text}。"))
    if gaps and not shown:
        least = np.median([gap["detectable"] for gap in gaps])
        told.append(sentence("no-gap", "ok", f"No gap between groups is shown ({len(gaps)} comparisons, corrected by Holm); gaps below about {least:.2f} "
                             "would not have been seen.", f"未显示组间差异（{len(gaps)} 次比较，Holm 校正）；小于约 {least:.2f} 的差异无法被发现。"))
    small = [f"{column} {name}" for column, facts in found["columns"].items() for name, row in facts["groups"].items() if "why" in row]
    if small:
        some, more = ", ".join(small[:6]), f" … ({len(small)})" if len(small) > 6 else ""
        told.append(sentence("small-groups", "warning", f"Too small to say anything of: {some}{more}.", f"样本太少、无法评价的组：{some}{more}。"))
    empty = [name for name, facts in found["columns"].items() if not facts["groups"] and "nothing" in facts["why"]["en"]]
    if empty:
        told.append(sentence("empty-column", "info", f"These columns hold nothing: {', '.join(empty)}.", f"这些列没有任何值：{'、'.join(empty)}。"))
    return told


def _of_gap(gap: dict[str, Any], metric: str) -> dict[str, str]:
    other = (gap["against"], gap["against"]) if gap["against"] else ("the others", "其他组")
    worse = (gap["value"] < 0) != (metric in LOWER)
    facts = f"{gap['value']:+.3f} (95 % {gap['low']:+.3f} … {gap['high']:+.3f}; p = {gap['p_holm']:.2g})"
    en = f"{'Worse' if worse else 'Better'} for {gap['column']} {gap['group']} than for {other[0]}: {metric} differs by {facts}, corrected by Holm."
    zh = f"{gap['column']}“{gap['group']}”的表现{'差' if worse else '好'}于{other[1]}：{metric} 相差 {facts}，经 Holm 校正。"
    return sentence("gap", "warning", en, zh)
