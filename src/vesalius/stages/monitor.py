"""Has what comes in changed since the model was trained? The log of `predict` (its ``findings.json`` files) is held against the images held out in training.

Statistics of the images, their distances from the training images and what the model answers are compared window by window, and once for the whole log
(`kernels.drift`). Each comparison raises a false alarm with the stated probability at most, all statistics together; with many windows some are to be expected,
and their number is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import DataError, OptionError, RunError
from vesalius.kernels.drift import FEWEST, drift
from vesalius.mapping import Mapping
from vesalius.stages.fitfor import FitFor
from vesalius.stages.fitfor.outputs import ANSWER
from vesalius.stages.fitfor.record import record_path
from vesalius.storage import atomic_json

WINDOW, RATE = 50, 0.01
MOST_PERMUTATIONS = 20_000
LOG = "findings.json"
Columns = dict[str, list[Any]]

NAMES: dict[str, tuple[str, str]] = {
    "brightness": ("brightness", "亮度"), "contrast": ("contrast", "对比度"), "noise": ("noise", "噪声"), "sharpness": ("fine detail", "细节"),
    "colour": ("colour", "色彩"), "side": ("shorter side in samples", "短边像素数"), "proportions": ("ratio of the sides", "边长比"),
    "spacing_mm": ("spacing", "像素间距"), "low": ("lowest values", "最低数值"), "middle": ("middle values", "中间数值"),
    "high": ("highest values", "最高数值"), "modality": ("modality", "成像方式"), "body_part": ("body part", "检查部位"), "view": ("view", "投照体位"),
    "distance_picture": ("distance of the image from the training images", "影像与训练影像的距离"),
    "distance_network": ("distance of what the network sees from the training images", "网络所见与训练影像的距离"),
}
HOW = {("place", -1): ("lower", "降低"), ("place", 1): ("higher", "升高"), ("spread", -1): ("less varied", "差异变小"),
       ("spread", 1): ("more varied", "差异变大"), ("words", 0): ("other values", "取值不同")}


def monitor(run: Path | str, logs: Sequence[Path | str], *, out: Path | str | None = None, window: int = WINDOW, rate: float = RATE) -> dict[str, Any]:
    """Compare a prediction log with the training data; ``monitor.json`` is written where ``out`` is given.

    Parameters
    ----------
    run: run folder or model folder. logs: ``findings.json`` files in their order, or folders of such (all below, the oldest first).
    window: studies of one window; a log is divided into as many equal ones of at least so many. rate: probability of a false alarm of each comparison.

    Returns ``{"n_reference", "n_studies", "n_refused", "window", "rate", "expected_false_alarms", "windows": [...], "whole": {...}, "sentences"}``; a
    comparison is ``{"first", "last", "n", "p", "alarm", "refused", "shifted": [{"name", "en", "zh", "how", "p", "own", "now"}]}``.

    Raises
    ------
    RunError: there is no model, or it holds no statistics of its training images. DataError: a log is absent, damaged, of another model, without statistics,
        or too short. OptionError: an impossible window or rate.
    """
    if window < FEWEST or not 0 < rate < 0.5:
        raise OptionError("an impossible window or rate", expected=f"a window of {FEWEST} studies or more, a rate above 0 and below 0.5", got=(window, rate))
    model, known = Mapping.load(run), FitFor.load(run)
    if known is None or not known.reference:
        raise RunError("the model holds no statistics of its training images", where=run, expected=record_path(run),
                       do="run 'vesalius fit' again with this version; without them nothing can be compared")
    entries = [entry for path in _files(logs) for entry in _entries(path, model.hash)]
    if len(entries) < FEWEST:
        raise DataError("the log is too short", expected=f"{FEWEST} studies or more", got=len(entries), do="wait until more studies were read")
    record = _compared(known, entries, window, rate)
    if out is not None:
        atomic_json(Path(out) / "monitor.json", record)
    return record


def _files(logs: Sequence[Path | str]) -> list[Path]:
    found: list[Path] = []
    for log in map(Path, logs):
        held = sorted(log.rglob(LOG), key=lambda path: (path.stat().st_mtime, str(path))) if log.is_dir() else [log]
        if not held or not held[0].is_file():
            raise DataError("there is no prediction log", where=log, expected=LOG, do="give what 'vesalius predict' wrote")
        found += held
    return found


def _entries(path: Path, model: str) -> list[dict[str, Any]]:
    """How each study of one file was judged, in the order of reading."""
    try:
        facts = json.loads(path.read_text("utf-8"))
        entries, of = facts.get("fitness"), facts.get("model")
    except (ValueError, AttributeError, OSError) as error:
        raise DataError("the prediction log is damaged", where=path, got=error, do="predict again") from error
    if of != model:
        raise DataError("the prediction log is of another model", where=path, expected=f"model {model}", got=of, do="give the logs of this model")
    if not entries or not any(entry.get("statistics") for entry in entries.values()):
        raise DataError("the prediction log holds no statistics of its studies", where=path, expected="findings.json of this version", do="predict again")
    return [dict(entry) for entry in entries.values()]


def _compared(known: FitFor, entries: list[dict[str, Any]], window: int, rate: float) -> dict[str, Any]:
    names = list(known.reference)
    columns: Columns = {name: [entry["statistics"].get(name) for entry in entries] for name in names}
    parts = np.array_split(np.arange(len(entries)), max(1, len(entries) // window))
    windows = [_window(known.reference, columns, entries, part, rate) for part in parts]
    whole = _window(known.reference, columns, entries, np.arange(len(entries)), rate)
    record: dict[str, Any] = {"schema": 1, "n_reference": len(known.reference[names[0]]), "n_studies": len(entries), "n_refused": whole["refused"]}
    record |= {"window": window, "rate": rate, "expected_false_alarms": rate * (len(windows) + (len(windows) > 1))}
    return record | {"windows": windows, "whole": whole, "sentences": _sentences(windows, whole, rate)}


def _window(reference: Columns, columns: Columns, entries: list[dict[str, Any]], rows: np.ndarray, rate: float) -> dict[str, Any]:
    mine = {name: [values[i] for i in rows] for name, values in columns.items()}
    found = drift(reference, mine, permutations=min(MOST_PERMUTATIONS, max(1999, round(20 / rate) - 1)), seed=int(rows[0]))
    shifted = [_shifted(name, found.how[name], found.direction[name], p, reference[name], mine[name]) for name, p in found.each.items() if p <= rate]
    refused = sum(bool(entries[i].get("refused")) for i in rows)
    return {"first": int(rows[0]) + 1, "last": int(rows[-1]) + 1, "n": len(rows), "p": found.p, "alarm": found.p <= rate, "refused": refused,
            "shifted": shifted}


def _shifted(name: str, how: str, direction: int, p: float, own: list[Any], now: list[Any]) -> dict[str, Any]:
    en, zh = named(name)
    changed, changed_zh = HOW[how, direction]
    return {"name": name, "en": f"{en}: {changed}", "zh": f"{zh}：{changed_zh}", "how": how, "p": p, "own": _middle(own), "now": _middle(now)}


def named(name: str) -> tuple[str, str]:
    """A statistic in words.

    >>> named("answer.ill")
    ('answers (ill)', '模型输出（ill）')
    """
    if name.startswith(ANSWER):
        return f"answers ({name.removeprefix(ANSWER)})", f"模型输出（{name.removeprefix(ANSWER)}）"
    return NAMES.get(name, (name, name))


def _middle(values: list[Any]) -> Any:
    """The median of numbers, the commonest word; None where nothing is said."""
    said = [value for value in values if value is not None]
    if not said:
        return None
    return max(sorted(set(said)), key=said.count) if isinstance(said[0], str) else float(np.median(said))


def _sentences(windows: list[dict[str, Any]], whole: dict[str, Any], rate: float) -> list[dict[str, str]]:
    made = [_sentence(each) for each in windows if each["alarm"]]
    if whole["alarm"] and len(windows) > 1:
        made.append(_sentence(whole))
    if not made:
        made.append({"code": "no-drift", "severity": "ok", "en": "No change is shown: what comes in is like the images held out in training.",
                     "zh": "未显示变化：输入数据与训练时留出的影像相似。"})
    n = len(windows) + (len(windows) > 1)
    made.append({"code": "rate", "severity": "info",
                 "en": f"{n} comparisons were made; each raises a false alarm with a probability of {rate:.3g} at most, so {rate * n:.2g} are to be expected "
                       "by chance.",
                 "zh": f"共做了 {n} 次比较；每次误报的概率不超过 {rate:.3g}，因此偶然误报预计为 {rate * n:.2g} 次。"})
    return made


def _sentence(window: dict[str, Any]) -> dict[str, str]:
    en, zh = ("; ".join(each[lang] for each in window["shifted"]) for lang in ("en", "zh"))
    where, where_zh = f"Studies {window['first']} to {window['last']}", f"第 {window['first']} 至 {window['last']} 项检查"
    return {"code": "drift", "severity": "warning", "en": f"{where} differ from the training data: {en}.", "zh": f"{where_zh}与训练数据不同：{zh}。"}
