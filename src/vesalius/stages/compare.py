"""Is one run better than the other? The same test cases, paired by patient, with what another seed would have given.

The primary figure decides: DeLong (by patient, Obuchowski 1997) for the AUC of two classes, else the paired patient bootstrap. The other figures are shown
beside it and decide nothing. Where a run knows its noise (`stages.trust.noise`), a difference counts only when it is larger than that too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, RunError, TooFewError
from vesalius.kernels.contrast import detectable, needed
from vesalius.kernels.delong import delong_paired
from vesalius.kernels.stats import LEVEL, codes, estimate, resample
from vesalius.plan import Plan
from vesalius.stages.judged import LOWER, Classes, Judged, judged_of, table_of
from vesalius.stages.repeat import RECORD as REPEATS
from vesalius.stages.trust.run import RECORD as TRUST
from vesalius.storage import atomic_json, plain

Sentence = dict[str, str]
WIDTH = 2 * 1.959964


@dataclass(frozen=True)
class Side:
    """One of the two runs: its name, what it keeps of its test, and its noise (deviation of one training and number of trainings)."""

    name: str
    judged: Judged
    metrics: dict[str, Any]
    seal: str
    noise: tuple[float, int] | None
    network: str


def compare(first: str | Path, second: str | Path, *, out: str | Path | None = None, seed: int = 0, n_boot: int = 2000) -> dict[str, Any]:
    """The first run beside the second on the test cases of both.

    Parameters
    ----------
    first, second: run folders. out: a folder for ``compare.json``; nothing is written when it is None (`stages.report.brief` makes the page).
    seed, n_boot: of the bootstrap.

    Returns ``{"schema", "runs": [{"name", "network", "noise"}], "metric", "n_patients", "n_images", "figures": {NAME: {"first", "second", "value", "low",
    "high", "p", "method"}}, "with_noise": {"value", "low", "high"} or None, "verdict": "first" | "second" | "none" | "noise", "detectable", "needed",
    "sentences"}``; differences are first less second.

    Raises
    ------
    DataError: the runs were tested on different cases, or have other classes. RunError: one of them is not a finished run.
    """
    sides = (read_side(Path(first)), read_side(Path(second)))
    _same(sides)
    pair = _common(sides[0].judged, sides[1].judged)
    figures = differences(pair, seed, n_boot)
    metric = sides[0].judged.primary
    if metric not in figures:
        raise TooFewError(f"{metric} is undefined on the common test cases", where=f"{first}, {second}", expected="cases of every class",
                          got=f"{len(pair[0].ids)} cases")
    people = codes(pair[0].patients)[1]
    facts: dict[str, Any] = {"metric": metric, "n_patients": people, "n_images": len(pair[0].ids), "figures": figures}
    runs = [{"name": side.name, "network": side.network, "noise": side.noise} for side in sides]
    record = {"schema": 1, "runs": runs, **facts, **judgement(figures[metric], metric, people, [side.noise for side in sides])}
    record = dict(plain(record | {"sentences": sentences(record)}))
    if out is not None:
        atomic_json(Path(out) / "compare.json", record)
    return record


def read_side(run: Path) -> Side:
    """What a run tells of its test.

    Raises
    ------
    RunError: it is not a finished run.
    """
    if not (run / "metrics.json").is_file() or not (run / "plan.toml").is_file():
        raise RunError("this is not a finished run", where=run, expected="a folder with metrics.json and plan.toml", do="let 'vesalius fit' come to its end")
    metrics, plan = json.loads((run / "metrics.json").read_text("utf-8")), Plan.load(run / "plan.toml")
    target = TargetSpec.from_dict(metrics["target"])
    judged = judged_of(table_of(run), metrics, target)
    return Side(run.resolve().name, judged, metrics, str(plan.get("split.seal")), noise_of(run, judged.primary), str(plan.get("network.name", "")))


def noise_of(run: Path, metric: str) -> tuple[float, int] | None:
    """Deviation of a figure between seeds and how many trainings it rests on; None where the run does not know it.

    An estimate from folds is not taken: it holds the difference of their patients.
    """
    for name in (REPEATS, TRUST):
        if not (run / name).is_file():
            continue
        record = json.loads((run / name).read_text("utf-8"))
        record = record.get("noise", {}) if name == TRUST else record
        band = record.get("band", {}).get(metric)
        if band and record.get("from") != "folds":
            return float(band["sd"]), int(band["n"])
    return None


def _same(sides: tuple[Side, Side]) -> None:
    a, b = sides
    if a.seal != b.seal:
        raise DataError("the two runs were tested on different data", where=f"{a.name}, {b.name}", expected=f"one sealed test set ({a.name}: {a.seal[:12]})",
                        got=f"{b.name}: {b.seal[:12]}", do="fit both on the same data with the same split, or score both on one set with evaluate --external")
    told = [json.dumps([side.metrics["target"]["kind"], side.metrics["target"]["classes"]], ensure_ascii=False) for side in sides]
    if told[0] != told[1]:
        raise DataError("the two runs answer different questions", where=f"{a.name}, {b.name}", expected=told[0], got=told[1],
                        do="compare runs of the same target")


def _common(a: Judged, b: Judged) -> tuple[Judged, Judged]:
    """The cases that both judged, in the same order."""
    place = {name: i for i, name in enumerate(b.ids)}
    rows = np.array([i for i, name in enumerate(a.ids) if name in place], int)
    return a.kept(rows), b.kept(np.array([place[a.ids[i]] for i in rows], int))


def differences(pair: tuple[Judged, Judged], seed: int, n_boot: int) -> dict[str, dict[str, Any]]:
    """First less second for every figure that both have."""
    a, b = pair
    people, ones = codes(a.patients)[1], np.ones((len(a.ids), 1))
    values = a.figures(ones)[:, 0], b.figures(ones)[:, 0]
    found = resample(lambda weights: a.figures(weights) - b.figures(weights), a.patients, n_boot, seed)
    made: dict[str, dict[str, Any]] = {}
    for m, name in enumerate(a.names):
        gap = estimate(found, m, "bca", people, len(a.ids))
        if gap is None:
            continue
        drawn = found.draws[m][np.isfinite(found.draws[m])]
        p = min(1.0, 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (len(drawn) + 1))
        row = {"value": gap.value, "low": gap.low, "high": gap.high, "p": float(p), "method": "paired patient bootstrap"}
        made[name] = {"first": float(values[0][m]), "second": float(values[1][m])} | row
    if "auc" in made and isinstance(a, Classes) and isinstance(b, Classes) and a.target.kind == "binary":
        made["auc"] |= _delong(a, b)
    return made


def _delong(a: Classes, b: Classes) -> dict[str, Any]:
    """DeLong by patient, where each class has two; else nothing."""
    try:
        found = delong_paired(a.truth, a.p[:, 1], b.p[:, 1], patients=a.patients)
    except TooFewError:
        return {}
    by = "delong" if len(set(a.patients)) == len(a.patients) else "delong by patient (Obuchowski)"
    return {"value": found.value, "low": found.low, "high": found.high, "p": found.p, "method": by}


def judgement(gap: dict[str, Any], metric: str, people: int, noises: list[tuple[float, int] | None]) -> dict[str, Any]:
    """Which run is better, if any; ``noise``: the patients would say so, another seed might not.

    ``detectable`` is the difference that these patients would have shown with 80 % power, ``needed`` how many patients would show this difference.
    """
    spread = (gap["high"] - gap["low"]) / WIDTH
    sure = gap["low"] > 0 or gap["high"] < 0
    wider = with_noise(gap["value"], spread, people, noises)
    better = "first" if (gap["value"] > 0) != (metric in LOWER) else "second"
    past = wider is None or wider["low"] > 0 or wider["high"] < 0
    verdict = "none" if not sure else better if past else "noise"
    wanted = needed(people, spread, gap["value"]) if abs(gap["value"]) > 1e-9 and spread > 0 else None
    return {"with_noise": wider, "verdict": verdict, "detectable": detectable(spread), "needed": wanted}


def with_noise(value: float, spread: float, people: int, noises: list[tuple[float, int] | None]) -> dict[str, float] | None:
    """The interval with the seeds of both runs; degrees of freedom by Satterthwaite (1946). None where neither knows its noise.

    A run that does not know its noise is taken to have the other's.
    """
    known = [noise for noise in noises if noise is not None]
    if not known:
        return None
    parts = [(spread**2, max(people - 1, 1)), *((sd**2, max(n - 1, 1)) for sd, n in (noise or known[0] for noise in noises))]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return {"value": value, "low": value, "high": value}
    freedom = total**2 / sum(variance**2 / own for variance, own in parts)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * total**0.5
    return {"value": value, "low": value - half, "high": value + half}


def sentences(record: dict[str, Any]) -> list[Sentence]:
    """What the reader must know, the verdict first."""
    gap, (a, b), metric = record["figures"][record["metric"]], (run["name"] for run in record["runs"]), record["metric"]
    facts = f"{gap['value']:+.3f} (95 % {gap['low']:+.3f} … {gap['high']:+.3f}, p = {gap['p']:.2g}, n = {record['n_patients']})"
    told = [_verdict(record, a, b, metric, facts)]
    wider = record["with_noise"]
    if wider is None:
        told.append(_said("noise-unknown", "warning", "What another seed would have given is not known: this compares two trained models, not two recipes. "
                          "'fit --repeat 5' measures it.",
                          "换一个随机种子会得到什么并不清楚：这里比较的是两个训练好的模型，而不是两种方法。可用“fit --repeat 5”测量。"))
    else:
        span = f"{wider['low']:+.3f} … {wider['high']:+.3f}"
        told.append(_said("with-noise", "info", f"With the noise of the seeds of both runs the interval is {span}.",
                          f"计入两次训练的随机种子波动后，区间为 {span}。"))
    told.append(_said("test-spent", "info", "Whoever chooses between runs by this has used the test set to choose: its figures then flatter the chosen run.",
                      "如果据此在两者之间选择，测试集就参与了选择：被选中者的测试指标会偏乐观。"))
    return told


def _verdict(record: dict[str, Any], a: str, b: str, metric: str, facts: str) -> Sentence:
    verdict = record["verdict"]
    if verdict in ("first", "second"):
        good, poor = (a, b) if verdict == "first" else (b, a)
        return _said(f"better-{verdict}", "ok", f"{good} is better than {poor}: {metric} of {a} less {b} is {facts}.",
                     f"{good} 优于 {poor}：{a} 与 {b} 的 {metric} 之差为 {facts}。")
    if verdict == "noise":
        return _said("within-noise", "warning", f"No difference shown: {metric} of {a} less {b} is {facts}, but another seed changes it by as much. "
                     "More seeds, not more patients, would tell.",
                     f"未显示差异：{a} 与 {b} 的 {metric} 之差为 {facts}，但更换随机种子也会造成同样大小的变化。"
                     "需要更多种子，而非更多患者。")
    if record["detectable"] == 0:
        return _said("no-difference", "info", f"No difference shown: {metric} of {a} and {b} is the same, whichever patients are drawn.",
                     f"未显示差异：无论抽取哪些患者，{a} 与 {b} 的 {metric} 都相同。")
    least, wanted = f"{record['detectable']:.3f}", record["needed"]
    en = f"No difference shown: {metric} of {a} less {b} is {facts}. These patients would have shown a difference of {least}"
    zh = f"未显示差异：{a} 与 {b} 的 {metric} 之差为 {facts}。这些患者只能显示 {least} 以上的差异"
    if wanted is None:
        return _said("no-difference", "info", f"{en}.", f"{zh}。")
    return _said("no-difference", "info", f"{en}; to show this one about {wanted:,} would be needed (80 % power).",
                 f"{zh}；若要显示目前的差异，约需 {wanted:,} 名患者（效能 80%）。")


def _said(code: str, severity: str, en: str, zh: str) -> Sentence:
    return {"code": code, "severity": severity, "en": en, "zh": zh}
