"""The result of `monitor` as a page and as text. English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.stages.report.brief import brief_page, told
from vesalius.stages.report.summary import number
from vesalius.stages.report.tables import DASH, Table, table
from vesalius.stages.report.texts import Both, same

TITLE = Both("Has what comes in changed?", "输入数据是否发生了变化？")
STUDIES, ALARM, P = Both("Studies", "检查"), Both("Alarm", "警报"), Both("p (all statistics)", "p（全部统计量）")
REFUSED, CHANGED = Both("Refused", "被拒绝"), Both("What has changed", "变化内容")
OWN, NOW = Both("In training", "训练时"), Both("Now", "现在")
YES, NO = Both("yes", "是"), Both("no", "否")


def monitor_page(record: Mapping[str, Any], lang: str = "en") -> str:
    """The page of `stages.monitor.monitor`.

    Raises
    ------
    OptionError: another language than en or zh.
    """
    return brief_page(TITLE, told(record["sentences"]), [_windows(record), *_changes(record)], lang)


def _windows(record: Mapping[str, Any]) -> Table:
    rows = [(_place(each), YES if each["alarm"] else NO, same(number(each["p"])), same(each["refused"]), _changed(each)) for each in _all(record)]
    n, held, rate = f"{record['n_studies']:,}", f"{record['n_reference']:,}", f"{record['rate']:.3g}"
    caption = Both(f"Windows of {n} studies against {held} images held out in training; false alarms {rate} a window",
                   f"{n} 项检查分段与训练时留出的 {held} 幅影像比较；每段误报率 {rate}")
    return table("windows", caption, (STUDIES, ALARM, P, REFUSED, CHANGED), rows)


def _all(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*record["windows"], *([record["whole"]] if len(record["windows"]) > 1 else [])]


def _place(each: Mapping[str, Any]) -> Both:
    return same(f"{each['first']} … {each['last']}")


def _changed(each: Mapping[str, Any]) -> Both:
    return Both("; ".join(row["en"] for row in each["shifted"]), "；".join(row["zh"] for row in each["shifted"])) if each["shifted"] else DASH


def _changes(record: Mapping[str, Any]) -> list[Table]:
    """What has changed over the whole log, with the values of both sides."""
    rows = [(Both(row["en"], row["zh"]), _value(row["own"]), _value(row["now"]), same(number(row["p"]))) for row in record["whole"]["shifted"]]
    caption = Both("Changes over the whole log (medians, or the commonest word)", "整个日志中的变化（中位数，或最常见的取值）")
    return [table("changes", caption, (CHANGED, OWN, NOW, P), rows)] if rows else []


def _value(value: Any) -> Both:
    return DASH if value is None else same(value if isinstance(value, str) else f"{value:.4g}")


def monitor_text(record: Mapping[str, Any], lang: str = "en") -> str:
    """The same for a terminal: the sentences, then a line a window."""
    lines = [each.of(lang) for each in told(record["sentences"])] + [""]
    lines += [f"{_place(each).en:>14}  p {number(each['p']):>7}  {YES.of(lang).upper() if each['alarm'] else NO.of(lang):4} {_changed(each).of(lang)}"
              for each in _all(record)]
    return "\n".join(lines)
