"""The page and the text of `stages.external.evaluate_external`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vesalius.stages.report.brief import brief_page, difference, interval, told
from vesalius.stages.report.summary import number, signed
from vesalius.stages.report.tables import Table, table
from vesalius.stages.report.texts import Both, name_of, same, say

KEYS = {"covariate": "ext.covariate", "label": "ext.label", "output": "ext.output", "sizes": "ext.sizes", "modalities": "ext.modalities", "bits": "ext.bits",
        "brightness": "ext.brightness"}


def external_page(record: Mapping[str, Any], lang: str = "en") -> str:
    """A self-contained page in both languages; ``lang`` is shown first."""
    name = str(record["data"]).rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    tables = [_figures(record), *_refused(record), *_shift(record), *_acquisition(record), *_groups(record)]
    return brief_page(say("ext.title", name=name), told([*record["sentences"], *record["subgroups"].get("sentences", [])]), tables, lang)


def external_text(record: Mapping[str, Any], lang: str = "en") -> str:
    """The sentences, for a terminal."""
    return "\n".join(row[lang] for row in record["sentences"])


def _figures(record: Mapping[str, Any]) -> Table:
    names = sorted((name for name in record["external"]), key=lambda name: name != record["metric"])
    fit = (record.get("fitness") or {}).get("fit") or {}
    rows = [(name_of("metric", name), interval(record["external"][name]), *([interval(fit.get(name, {}))] if fit else []),
             interval(record["own"].get(name, {})), difference(record["drop"].get(name, {}))) for name in names]
    head = (say("col.figure"), say("ext.external"), *([say("ext.fit")] if fit else []), say("ext.own"), say("ext.drop"))
    caption = say("ext.caption", n=f"{record['n_images']:,}", p=f"{record['n_patients']:,}")
    return table("figures", caption, head, rows)


def _refused(record: Mapping[str, Any]) -> list[Table]:
    """Why the model would refuse cases, and how many."""
    reasons = (record.get("fitness") or {}).get("reasons") or []
    rows = [(Both(each["en"], each["zh"]), same(f"{each['n']:,}")) for each in reasons]
    return [table("refused", say("ext.refused"), (say("ext.reason"), say("ext.cases")), rows)] if rows else []


def _shift(record: Mapping[str, Any]) -> list[Table]:
    rows = [(say("ext.row", kind=say(KEYS[row["what"]]), name=row["name"]), _side(row, "own"), _side(row, "external"),
             same(signed(row["effect"]) if row["kind"] == "numbers" else number(row["effect"])), same(number(row["p_holm"])),
             say("ext.yes" if row["shifted"] else "ext.no"))
            for row in record["shift"]]
    head = (say("col.name"), say("ext.own_data"), say("ext.external"), say("ext.effect"), say("subgroups.p"), say("ext.shifted"))
    return [table("shift", say("ext.shift"), head, rows)] if rows else []


def _side(row: Mapping[str, Any], side: str) -> Both:
    if row["kind"] == "numbers":
        return same(f"{number(row[side]['mean'])} ± {number(row[side]['sd'])}")
    held = sorted(row[side].items(), key=lambda item: -item[1]["value"])[:4]
    return same(", ".join(f"{name or '–'} {100 * share['value']:.0f} %" for name, share in held))


def _acquisition(record: Mapping[str, Any]) -> list[Table]:
    rows = [(say(KEYS[row["name"]]), _made(row["own"]), _made(row["external"]), same(f"{100 * row['new']:.0f} %" if "new" in row else signed(row["effect"])),
             say("ext.yes" if row["shifted"] else "ext.no")) for row in record["acquisition"]]
    head = (say("col.name"), say("ext.own_data"), say("ext.external"), say("ext.new"), say("ext.shifted"))
    return [table("acquisition", say("ext.acquisition"), head, rows)] if rows else []


def _made(side: Any) -> Both:
    return same(number(side)) if isinstance(side, float) else same(f"{side['value']} ({100 * side['share']:.0f} %)")


def _groups(record: Mapping[str, Any]) -> list[Table]:
    metric, rows = record["metric"], []
    for column, facts in record["subgroups"].get("columns", {}).items():
        for name, row in facts.get("groups", {}).items():
            why = row.get("why")
            shown = Both(why["en"], why["zh"]) if why else interval(row["figures"].get(metric, {}))
            rows.append((same(f"{column}: {name}"), same(f"{row['n_patients']:,}"), shown))
    head = (say("subgroups.group"), say("subgroups.patients"), name_of("metric", metric))
    return [table("groups", say("ext.groups", metric=name_of("metric", metric)), head, rows)] if rows else []
