"""The page and the text of `stages.external.evaluate_external`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.stages.report.brief import brief_page, difference, interval, told
from vesalius.stages.report.summary import number, signed
from vesalius.stages.report.tables import Table, table
from vesalius.stages.report.texts import Both, name_of, same, say

KINDS = {"covariate": Both("patients", "患者"), "label": Both("labels", "标签"), "output": Both("answers", "模型输出")}
ACQUIRED = {"sizes": Both("size", "尺寸"), "modalities": Both("modality", "模态"), "bits": Both("depth", "位深"), "brightness": Both("brightness", "亮度")}
YES, NO = Both("yes", "是"), Both("no", "否")


def external_page(record: Mapping[str, Any], lang: str = "en") -> str:
    """A self-contained page in both languages; ``lang`` is shown first."""
    name = str(record["data"]).rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    tables = [_figures(record), *_shift(record), *_acquisition(record), *_groups(record)]
    return brief_page(Both(f"External set: {name}", f"外部数据：{name}"), told([*record["sentences"], *record["subgroups"].get("sentences", [])]), tables, lang)


def external_text(record: Mapping[str, Any], lang: str = "en") -> str:
    """The sentences, for a terminal."""
    return "\n".join(row[lang] for row in record["sentences"])


def _figures(record: Mapping[str, Any]) -> Table:
    names = sorted((name for name in record["external"]), key=lambda name: name != record["metric"])
    rows = [(name_of("metric", name), interval(record["external"][name]), interval(record["own"].get(name, {})), difference(record["drop"].get(name, {})))
            for name in names]
    head = (say("col.figure"), Both("External", "外部数据"), Both("Own test", "自身测试集"), Both("Own less external", "自身减外部"))
    caption = Both(f"{record['n_images']:,} images of {record['n_patients']:,} patients; 95 % intervals by patient.",
                   f"{record['n_patients']:,} 名患者的 {record['n_images']:,} 张影像；95% 区间以患者为单位。")
    return table("figures", caption, head, rows)


def _shift(record: Mapping[str, Any]) -> list[Table]:
    rows = [(Both(f"{KINDS[row['what']].en}: {row['name']}", f"{KINDS[row['what']].zh}：{row['name']}"), _side(row, "own"), _side(row, "external"),
             same(signed(row["effect"]) if row["kind"] == "numbers" else number(row["effect"])), same(number(row["p_holm"])), YES if row["shifted"] else NO)
            for row in record["shift"]]
    head = (say("col.name"), Both("Own data", "自身数据"), Both("External", "外部数据"), Both("Effect", "效应"), Both("p (Holm)", "p（Holm）"),
            Both("Shifted", "偏移"))
    caption = Both("What shifted. Effect: share of patients that would have to change (values), standard deviations (numbers).",
                   "发生了哪些偏移。效应：类别为需改变的患者比例，数值为标准差数。")
    return [table("shift", caption, head, rows)] if rows else []


def _side(row: Mapping[str, Any], side: str) -> Both:
    if row["kind"] == "numbers":
        return same(f"{number(row[side]['mean'])} ± {number(row[side]['sd'])}")
    held = sorted(row[side].items(), key=lambda item: -item[1]["value"])[:4]
    return same(", ".join(f"{name or '–'} {100 * share['value']:.0f} %" for name, share in held))


def _acquisition(record: Mapping[str, Any]) -> list[Table]:
    rows = [(ACQUIRED[row["name"]], _made(row["own"]), _made(row["external"]), same(f"{100 * row['new']:.0f} %" if "new" in row else signed(row["effect"])),
             YES if row["shifted"] else NO) for row in record["acquisition"]]
    head = (say("col.name"), Both("Own data", "自身数据"), Both("External", "外部数据"), Both("New", "新出现"), Both("Shifted", "偏移"))
    caption = Both("How the images were made: the commonest value; new: images with a value that the own data never has (brightness: standard deviations).",
                   "成像方式：最常见的值；“新出现”为自身数据中从未有过的值所占影像比例（亮度：标准差数）。")
    return [table("acquisition", caption, head, rows)] if rows else []


def _made(side: Any) -> Both:
    return same(number(side)) if isinstance(side, float) else same(f"{side['value']} ({100 * side['share']:.0f} %)")


def _groups(record: Mapping[str, Any]) -> list[Table]:
    metric, rows = record["metric"], []
    for column, facts in record["subgroups"].get("columns", {}).items():
        for name, row in facts.get("groups", {}).items():
            why = row.get("why")
            shown = Both(why["en"], why["zh"]) if why else interval(row["figures"].get(metric, {}))
            rows.append((same(f"{column}: {name}"), same(f"{row['n_patients']:,}"), shown))
    head = (Both("Group", "组"), Both("Patients", "患者"), name_of("metric", metric))
    return [table("groups", Both("By group.", "分组结果。"), head, rows)] if rows else []
