"""The tables of a mask run: lesions, agreement of sizes, the worst cases, and what the check said of the masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskfacts import agreement, limits, names_of, plain, rows_of, unit_of
from vesalius.stages.report.summary import number
from vesalius.stages.report.tables import MOST_ROWS, Cell, Table, table
from vesalius.stages.report.texts import Both, name_of, same, say

WORST = 12
EMPTY = ("both empty", "truth empty", "prediction empty")
SCORES = ("dice", "nsd", "hd95")


def lesions(facts: RunFacts) -> Table | None:
    """Lesions of every class in the whole test: in the truth, of those found, and predicted where there is none."""
    rows, columns = rows_of(facts), ("n_true", "n_found", "n_false")
    if rows is None or not set(columns) <= set(rows.columns) or not float(rows[list(columns)].to_numpy(float).sum()):
        return None
    shown = []
    for name in names_of(rows):
        true, found, false = (float(rows.loc[rows["class"] == name, column].sum()) for column in columns)
        share = f"{100 * found / true:.0f} %" if true else "–"
        shown.append((same(name), *(same(f"{n:,.0f}") for n in (true, found)), same(share), same(f"{false:,.0f}")))
    return table("lesions", say("cap.lesions"), map(say, ("col.class", "col.n_true", "col.n_found", "col.share", "col.n_false")), shown)


def sizes(facts: RunFacts) -> Table | None:
    """Bias and limits of agreement of the sizes, by class."""
    rows = rows_of(facts)
    if rows is None or not {"size_true", "size_predicted"} <= set(rows.columns):
        return None
    unit, shown = unit_of(facts, rows), []
    for name, (means, gaps) in agreement(rows, unit).items():
        bias, low, high = limits(gaps)
        share = f"{100 * bias / float(means.mean()):+.1f} %".replace("-", "−")
        bounds = f"{plain(low).en} … {plain(high).en}" if math.isfinite(low) else "–"
        shown.append((same(name), same(f"{len(gaps):,}"), plain(float(means.mean())), plain(bias), same(share), same(bounds)))
    head = (say("col.class"), say("col.cases"), say("col.mean_size", unit=unit.name), say("col.bias"), say("col.bias_share"), say("col.limits"))
    return table("sizes", say("cap.sizes", unit=unit.name), head, shown) if shown else None


def worst(facts: RunFacts) -> Table | None:
    """The rows with the lowest Dice: a class of a case each."""
    rows = rows_of(facts)
    if rows is None or rows["dice"].notna().sum() < 2:
        return None
    low = rows[rows["dice"].notna()].sort_values(["dice", "id"], kind="stable").head(WORST)
    scores, unit = [name for name in SCORES if name in low], unit_of(facts, rows) if "size_true" in rows else None
    head = [say("col.case"), say("col.class"), *(name_of("metric", name) for name in scores)]
    head += [say("col.size_true", unit=unit.name), say("col.size_predicted", unit=unit.name)] if unit else []
    shown: list[Sequence[Both | Cell]] = []
    for _, row in low.iterrows():
        sized = [plain(float(row[column]) / unit.divisor) for column in ("size_true", "size_predicted")] if unit else []
        said = [_score(row, name) for name in scores]
        shown.append((Cell(same(row["id"]), None, "path"), same(row["class"]), *said, *sized))
    return table("worst", say("cap.worst"), head, shown)


def _score(row: pd.Series, name: str) -> Both:
    """A score; that of a mask that is empty on one side says so."""
    note = str(row.get("note") or "")
    if name == "dice" and note in EMPTY:
        return Both(f"{number(row[name])} ({name_of('note', note).en})", f"{number(row[name])}（{name_of('note', note).zh}）")
    return same(number(row[name]))


def empties(facts: RunFacts) -> list[Both]:
    """For every class how often the truth, the prediction or both were empty, and what that means for the means."""
    rows = rows_of(facts)
    if rows is None or "note" not in rows:
        return []
    said = []
    for name in names_of(rows):
        mine = rows.loc[rows["class"] == name, "note"].astype(str)
        counts = {note.replace(" ", "_"): int((mine == note).sum()) for note in EMPTY}
        if any(counts.values()):
            said.append(say("empties", name=name, n=f"{len(mine):,}", **counts))
    return said


def checked(facts: RunFacts) -> Table | None:
    """The table ``masks`` of the audit as it is: rows of facts, or facts by name."""
    found = facts.audit.get("masks")
    if isinstance(found, Mapping):
        found = [{"name": name} | (dict(value) if isinstance(value, Mapping) else {"value": value}) for name, value in found.items()]
    rows = [row for row in found or [] if isinstance(row, Mapping)][:MOST_ROWS]
    if not rows:
        return None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = [[_fact(row.get(column)) if i else name_of("fact", str(row.get(column, "–"))) for i, column in enumerate(columns)] for row in rows]
    return table("masks", say("cap.masks"), [name_of("fact", column) for column in columns], shown)


def _fact(value: Any) -> Both:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return same("–")
    if isinstance(value, bool):
        return say("fact.yes" if value else "fact.no")
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, Mapping):
        return same(", ".join(f"{k}: {_fact(v).en}" for k, v in value.items()) or "–")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return same(", ".join(_fact(v).en for v in value) or "–")
    return same(f"{value:,}" if isinstance(value, int) else value)
