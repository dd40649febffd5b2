"""The tables of the report: a caption, a head, and rows whose first cell names the row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vesalius.core.target import MARKED, SEPARATOR, missing, text_of
from vesalius.stages.report.decisions import value_of_decision
from vesalius.stages.report.facts import PARTS, RunFacts
from vesalius.stages.report.reasons import noted, reason
from vesalius.stages.report.summary import number, with_interval
from vesalius.stages.report.texts import TEXTS, Both, name_of, same, say, worded

MOST_ROWS = 60
MOST_FIGURES = 7
"""Figures with intervals that fit beside one another."""
SEVERAL = ("multilabel", "mask", "boxes")
"""Kinds whose label names several classes at once."""
DASH = same("–")
CONFUSION_CLASSES = 30


@dataclass(frozen=True)
class Cell:
    """A text, and the share in [0, 1] that shades it (None: unshaded); ``code`` is what the files call it, written small below."""

    text: Both
    share: float | None = None
    style: str = ""
    code: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row is its header. ``numeric`` columns are set right."""

    name: str
    caption: Both
    head: tuple[Both, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: bool = True


def table(name: str, caption: Both, head: Iterable[Both], rows: Iterable[Sequence[Both | Cell]], numeric: bool = True) -> Table:
    """A table from plain texts and cells."""
    cells = tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    return Table(name, caption, tuple(head), cells, numeric)


def _figure(figure: dict[str, Any] | None) -> Both:
    return DASH if not figure or figure.get("value") is None else with_interval(figure, "cell")


def figures(facts: RunFacts) -> Table | None:
    """Every figure of the network on test and validation, and from cross-validation where there was one."""
    parts = {part: facts.metrics.get(part) or {} for part in ("test", "validation", "cross_validation")}
    shown = {part: seen for part, seen in parts.items() if seen or part != "cross_validation"}
    names = list(dict.fromkeys(name for seen in shown.values() for name in seen))
    if not names:
        return None
    rows = [(name_of("metric", name), *(_figure(seen.get(name)) for seen in shown.values())) for name in names]
    shown = {facts.chosen_on if part == "validation" else part: seen for part, seen in shown.items()}
    return table("figures", worded("cap.figures", facts.kind), (say("col.figure"), *(_counted(part, seen) for part, seen in shown.items())), rows)


def _counted(part: str, seen: dict[str, Any]) -> Both:
    first = next((f for f in seen.values() if f.get("n_images")), None)
    if first is None:
        return say(f"col.{part}")
    most = max((f for f in seen.values() if f.get("n_images")), key=lambda f: int(f["n_images"]))
    n, part_name = say("col.n_of", n=f"{most['n_images']:,}", p=f"{most['n_patients']:,}"), say(f"col.{part}")
    return Both(f"{part_name.en} ({n.en})", f"{part_name.zh}（{n.zh}）")


def per_class(facts: RunFacts) -> Table | None:
    """Each class in the test set: a row a class, or a row a figure where there are more figures than fit beside one another."""
    classes = facts.metrics.get("per_class", {}).get("test", {})
    names = list(dict.fromkeys(name for figures in classes.values() for name in figures))
    if not names:
        return None
    caption = worded("cap.classes", facts.kind)
    if len(names) > MOST_FIGURES >= len(classes):
        rows = [(name_of("metric", name), *(_figure(seen.get(name)) for seen in classes.values())) for name in names]
        return table("classes", caption, (say("col.figure"), *map(same, classes)), rows)
    rows = [(same(c), *(_figure(seen.get(name)) for name in names)) for c, seen in list(classes.items())[:MOST_ROWS]]
    return table("classes", caption, (say("col.class"), *(name_of("metric", n) for n in names)), rows)


def confusion(facts: RunFacts) -> Table | None:
    """Counts in the test set, shaded by their share of the row; up to 30 classes."""
    counts, target = facts.metrics.get("confusion", {}).get("test"), facts.target
    if not counts or target is None or len(counts) > CONFUSION_CLASSES or len(counts) != len(target.classes):
        return None
    rows: list[list[Both | Cell]] = []
    for i, (name, row) in enumerate(zip(target.classes, counts, strict=True)):
        rows.append([same(name), *(_shaded(n, sum(row), i == j) for j, n in enumerate(row))])
    return table("confusion", say("cap.confusion"), (say("col.truth"), *map(same, target.classes)), rows)


def _shaded(n: int, total: int, right: bool) -> Cell:
    share = n / total if total else 0.0
    return Cell(same(f"{n:,} · {100 * share:.0f} %"), round(share, 3), "right" if right else "wrong")


def baselines(facts: RunFacts) -> Table | None:
    """The network beside every baseline on the figures they share."""
    models = facts.metrics.get("baselines", {})
    names = [name for name in facts.metrics.get("test", {}) if any(name in parts.get("test", {}) for parts in models.values())][:6]
    if not names:
        return None
    rows = [(say("network"), *(_figure(facts.metrics["test"].get(name)) for name in names))]
    rows += [(name_of("baseline", m), *(_figure(parts.get("test", {}).get(name)) for name in names)) for m, parts in models.items()]
    return table("baselines", say("cap.figures"), (say("col.model"), *(name_of("metric", n) for n in names)), rows)


def labels(facts: RunFacts) -> Table | None:
    """Images per label and part, then images and patients per part; for a regression the values' distribution."""
    used, target = facts.used, facts.target
    if used is None or target is None:
        return None
    if target.kind == "regression":
        return _values(used)
    each = used.assign(label=pd.Series([_names(v, target.kind) for v in used["label"]], index=used.index, dtype=object)).explode("label")
    rows = [(same(name), *_by_part(each[each["label"] == name], "id")) for name in target.classes[:MOST_ROWS]]
    rows += _unnamed(used, target.kind)
    rows += [(say("col.images"), *_by_part(used, "id")), (say("col.patients"), *_by_part(used, "patient"))]
    return table("labels", worded("cap.labels", target.kind), (say("col.class"), *(name_of("split", p) for p in PARTS), say("col.all")), rows)


def _unnamed(used: pd.DataFrame, kind: str) -> list[tuple[Both, ...]]:
    """Images in which there is nothing, and images that nobody marked; no row where there are none."""
    if kind not in MARKED:
        return []
    unmarked = used["label"].isna()
    found = (("col.nothing", used[~unmarked & (used["label"].astype(str).str.strip() == "")]), ("col.unmarked", used[unmarked]))
    return [(worded(key, kind), *_by_part(rows, "id")) for key, rows in found if len(rows)]


def _names(label: Any, kind: str) -> list[str]:
    if missing(label):
        return []
    return [part.strip() for part in text_of(label).split(SEPARATOR)] if kind in SEVERAL else [text_of(label)]


def _by_part(rows: pd.DataFrame, column: str) -> list[Both]:
    counts = [rows.loc[rows["split"] == part, column].nunique() for part in PARTS]
    return [same(f"{n:,}") for n in (*counts, rows[column].nunique())]


def _values(used: pd.DataFrame) -> Table:
    head = ("col.split", "col.images", "col.patients", "col.mean", "col.sd", "col.range")
    rows = []
    for part in PARTS:
        inside = used[used["split"] == part]
        values = pd.to_numeric(inside["label"], errors="coerce")
        bounds = f"{number(values.min())} – {number(values.max())}" if values.notna().any() else "–"
        facts = (f"{len(inside):,}", f"{inside['patient'].nunique():,}", number(values.mean()), number(values.std()), bounds)
        rows.append((name_of("split", part), *map(same, facts)))
    return table("labels", say("cap.values"), map(say, head), rows)


def issues(facts: RunFacts) -> Table | None:
    """What `check` found, the gravest first."""
    found = facts.audit.get("issues", [])
    if not found:
        return None
    grave = sorted(found, key=lambda issue: ("error", "warning", "info").index(issue.get("severity", "info")))
    rows = [_issue(issue, str(facts.audit.get("patient_evidence") or "")) for issue in grave[:MOST_ROWS]]
    return table("issues", say("audit.issues"), map(say, ("col.kind", "col.what", "col.n", "col.files")), rows, numeric=False)


def _issue(issue: dict[str, Any], evidence: str) -> tuple[Cell, ...]:
    severity, files = issue.get("severity", "info"), issue.get("files", [])
    shown = ", ".join(map(str, files[:3])) + (" …" if len(files) > 3 else "")
    what = noted(issue, evidence)
    return Cell(name_of("severity", severity), None, severity), Cell(what), Cell(same(issue.get("n", len(files)))), Cell(same(shown), None, "path")


def audited(facts: RunFacts) -> Table | None:
    """Sizes, modalities, bits and duplicates in one line each."""
    audit = facts.audit
    if not audit:
        return None
    sizes = "; ".join(f"{' × '.join(map(str, s['shape']))} ({s['n']:,})" for s in audit.get("sizes", [])[:5])
    rows = [("audit.sizes", same(sizes)), ("audit.modalities", _counts(audit.get("modalities"))), ("audit.bits", _counts(audit.get("bits")))]
    rows.append(("audit.duplicates", _duplicates(audit)))
    kept = [(say(key), value) for key, value in rows if value.en]
    return table("audited", say("audit.facts"), (say("col.name"), say("col.value")), kept, numeric=False)


def _counts(found: dict[str, Any] | None) -> Both:
    """Each kind with its number; the words of kinds that have Chinese ones are in both languages."""
    shown = [(reason(str(name)), f"{n:,}" if isinstance(n, int) else str(n)) for name, n in (found or {}).items()]
    return Both(", ".join(f"{name.en} ({n})" for name, n in shown), ", ".join(f"{name.zh} ({n})" for name, n in shown))


def _duplicates(audit: dict[str, Any]) -> Both:
    found = audit.get("duplicates", {})
    crossing = audit.get("crossing") or found.get("crossing") or {}
    counts = {k: crossing.get(k, 0) if isinstance(crossing.get(k, 0), int) else len(crossing[k]) for k in ("patients", "labels", "splits")}
    return say("audit.duplicates_of", exact=len(found.get("exact", [])), near=len(found.get("near", [])), **counts)


def plan(facts: RunFacts) -> list[tuple[Both, Table]]:
    """Each section of the plan: decision, value, reason."""
    head = tuple(map(say, ("col.name", "col.value", "col.reason")))
    made = []
    for section, part in facts.plan.sections.items() if facts.plan else ():
        rows = [(_named(name), value_of_decision(name, d.value), reason(d.reason)) for name, d in part.items()]
        made.append((name_of("section", section), table(f"plan-{section}", name_of("section", section), head, rows, numeric=False)))
    return made


def _named(decision: str) -> Cell:
    """What the decision is, and what ``plan.toml`` calls it."""
    return Cell(say(f"decision.{decision}"), code=decision) if f"decision.{decision}" in TEXTS else Cell(same(decision))


def calibration(facts: RunFacts) -> Table | None:
    """ECE, Brier score and log-likelihood before and after calibration."""
    found = facts.metrics.get("calibration") or {}
    before, after = found.get("before") or {}, found.get("after") or {}
    if not before or not after:
        return None
    rows = [(name_of("metric", name), same(number(before.get(name))), same(number(after.get(name)))) for name in before]
    return table("calibration", say("cap.calibration", on=name_of("legend", facts.chosen_on)), map(say, ("col.figure", "col.before", "col.after")), rows)


def ranking(facts: RunFacts) -> Table | None:
    """Networks that were compared under equal budget."""
    if facts.ranking is None or facts.ranking.empty:
        return None
    columns = [c for c in ("validation_loss", "validation_score", "epochs", "seconds") if c in facts.ranking]
    rows = [(same(row["network"]), *(same(f"{row[c]:g}" if c == "epochs" else number(row[c])) for c in columns)) for _, row in facts.ranking.iterrows()]
    return table("ranking", say("cap.ranking"), (say("col.network"), *(say(f"col.{c}") for c in columns)), rows)


def environment(facts: RunFacts) -> Table | None:
    """Seed, versions, machine, hashes and how long each step took."""
    found = facts.environment
    if not found and facts.weights_hash is None:
        return None
    rows = [(say(f"env.{key}"), same(found[key])) for key in ("seed", "python", "system") if key in found]
    rows += [(same(name), same(v)) for name, v in found.get("versions", {}).items()]
    rows += [(say("env.seconds", step=name_of("step", step)), same(number(s, 1))) for step, s in found.get("seconds", {}).items()]
    data = found.get("data_hash") or found.get("data hash")
    seal = facts.audit.get("split", {}).get("seal") or (facts.plan.get("split.seal") if facts.plan else None)
    hashes = (("env.data", data), ("env.seal", seal), ("env.weights", facts.weights_hash))
    rows += [(say(key), same(value)) for key, value in hashes if value]
    return table("environment", say("env.lead"), (say("col.name"), say("col.value")), rows, numeric=False)
