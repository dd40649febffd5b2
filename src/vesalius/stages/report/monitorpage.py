"""The result of `monitor` as a page and as text. English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.stages.report.brief import brief_page, told
from vesalius.stages.report.summary import number
from vesalius.stages.report.tables import DASH, Table, table
from vesalius.stages.report.texts import Both, same, say

CHINESE_STOP = "\uff1b"
"""A semicolon as Chinese is set."""


def monitor_page(record: Mapping[str, Any], lang: str = "en") -> str:
    """The page of `stages.monitor.monitor`.

    Raises
    ------
    OptionError: another language than en or zh.
    """
    return brief_page(say("monitor.title"), told(record["sentences"]), [_windows(record), *_changes(record)], lang)


def _windows(record: Mapping[str, Any]) -> Table:
    rows = [(_place(each), _alarm(each), same(number(each["p"])), same(each["refused"]), _changed(each)) for each in _all(record)]
    n, held, rate = f"{record['n_studies']:,}", f"{record['n_reference']:,}", f"{record['rate']:.3g}"
    head = [say(name) for name in ("monitor.studies", "monitor.alarm", "monitor.p", "monitor.refused", "monitor.changed")]
    return table("windows", say("monitor.windows", n=n, held=held, rate=rate), head, rows)


def _alarm(each: Mapping[str, Any]) -> Both:
    return say("monitor.yes" if each["alarm"] else "monitor.no")


def _all(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*record["windows"], *([record["whole"]] if len(record["windows"]) > 1 else [])]


def _place(each: Mapping[str, Any]) -> Both:
    return same(f"{each['first']} … {each['last']}")


def _changed(each: Mapping[str, Any]) -> Both:
    return Both("; ".join(row["en"] for row in each["shifted"]), CHINESE_STOP.join(row["zh"] for row in each["shifted"])) if each["shifted"] else DASH


def _changes(record: Mapping[str, Any]) -> list[Table]:
    """What has changed over the whole log, with the values of both sides."""
    rows = [(Both(row["en"], row["zh"]), _value(row["own"]), _value(row["now"]), same(number(row["p"]))) for row in record["whole"]["shifted"]]
    head = [say(name) for name in ("monitor.changed", "monitor.own", "monitor.now", "monitor.p")]
    return [table("changes", say("monitor.changes"), head, rows)] if rows else []


def _value(value: Any) -> Both:
    return DASH if value is None else same(value if isinstance(value, str) else f"{value:.4g}")


def monitor_text(record: Mapping[str, Any], lang: str = "en") -> str:
    """The same for a terminal: the sentences, then a line a window."""
    lines = [each.of(lang) for each in told(record["sentences"])] + [""]
    for each in _all(record):
        word = _alarm(each).of(lang)
        lines.append(f"{_place(each).en:>14}  p {number(each['p']):>7}  {word.upper() if each['alarm'] else word:4} {_changed(each).of(lang)}")
    return "\n".join(lines)
