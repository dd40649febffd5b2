"""What a run knows of its data: source, exclusions, preparation, parts, patients."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vesalius.core.target import missing, text_of
from vesalius.stages.cohortfile import COLUMNS
from vesalius.stages.paperwork.base import Answer, in_words, joined, sentences, shown, tell
from vesalius.stages.report.facts import PARTS, RunFacts
from vesalius.stages.report.reasons import reason
from vesalius.stages.report.summary import classes_of, number
from vesalius.stages.report.texts import Both, name_of, same

AUDIT, COHORT, PLAN, METRICS = "audit.json", "cohort.parquet", "plan.toml", "metrics.json"
MOST_COLUMNS, MOST_VALUES, MOST_REASONS = 12, 6, 8
PREPARED = ("size", "spacing_mm", "channels", "letterbox", "window", "schemes", "low", "high", "levels", "mean", "std")
BALANCED = ("sampling", "class_weights", "focal", "foreground", "loss")


def source(facts: RunFacts) -> Answer | None:
    if not facts.audit:
        return None
    layout, audit = name_of("layout", str(facts.audit.get("layout", "–"))), facts.audit
    return Answer(tell("source", name=facts.name, n=f"{audit.get('n_images', 0):,}", p=f"{audit.get('n_patients', 0):,}", layout=layout), AUDIT)


def excluded(facts: RunFacts) -> Answer | None:
    if facts.cohort is None:
        return None
    out = facts.cohort[facts.cohort["split"] == "excluded"]
    if out.empty:
        return Answer(tell("excluded.none"), COHORT)
    why = out["excluded_because"].fillna("–").astype(str).value_counts()
    known = [(reason(str(told)), n) for told, n in list(why.items())[:MOST_REASONS]]
    reasons = joined([Both(f"{told.en} ({n:,})", f"{told.zh}（{n:,}）") for told, n in known])
    return Answer(tell("excluded", n=f"{len(out):,}", why=reasons), COHORT)


def all_used(facts: RunFacts) -> Answer | None:
    used = facts.used
    return None if used is None or facts.cohort is None else Answer(tell("all_used", n=f"{len(used):,}", all=f"{len(facts.cohort):,}"), COHORT)


def preparation(facts: RunFacts) -> Answer | None:
    return decisions(facts, "preparation", "input", PREPARED)


def decisions(facts: RunFacts, key: str, section: str, names: tuple[str, ...]) -> Answer | None:
    """Values of the plan with their names; the reasons stand in the plan."""
    if facts.plan is None:
        return None
    found = [(name, facts.plan.get(f"{section}.{name}")) for name in names]
    between = {"size": " × ", "spacing_mm": " × "}
    listed = [tell(f"{section}.{name}", value=in_words(value, between.get(name, ", "))) for name, value in found if value is not None and shown(value) != "–"]
    return Answer(tell(key, list=joined(listed)), PLAN) if listed else None


def missing_data(facts: RunFacts) -> Answer | None:
    if facts.cohort is None:
        return None
    unlabelled = int(facts.cohort["label"].isna().sum())
    gaps = {name: int(facts.cohort[name].isna().sum()) for name in _clinical(facts.cohort)}
    listed = same(", ".join(f"{name} ({n:,})" for name, n in gaps.items() if n))
    said = [tell("missing.label", n=f"{unlabelled:,}")]
    said += [tell("missing.columns", list=listed) if listed.en else tell("missing.no_column" if gaps else "missing.no_clinical")]
    return Answer(sentences(said), COHORT)


def images(facts: RunFacts) -> Answer | None:
    audit = facts.audit
    if not audit:
        return None
    sizes = "; ".join(f"{' × '.join(map(str, each['shape']))} ({each['n']:,})" for each in audit.get("sizes", [])[:5])
    modalities, bits = (", ".join(f"{name} ({n})" for name, n in (audit.get(key) or {}).items()) or "–" for key in ("modalities", "bits"))
    return Answer(tell("images", sizes=sizes or "–", modalities=modalities, bits=bits), AUDIT)


def target(facts: RunFacts) -> Answer | None:
    found = facts.target
    if found is None:
        return None
    kind = name_of("kind", found.kind)
    if not found.classes:
        return Answer(tell("target.value", name=found.name, kind=kind), METRICS)
    return Answer(tell("target", name=found.name, kind=kind, classes=classes_of(found)), METRICS)


def question(facts: RunFacts) -> Answer | None:
    found = facts.target
    if found is None:
        return None
    return Answer(tell("question", kind=name_of("kind", found.kind), classes=classes_of(found) if found.classes else same(found.name)), METRICS)


def partition(facts: RunFacts) -> Answer | None:
    used = facts.used
    if used is None or used.empty:
        return None
    counts = {part: int((used["split"] == part).sum()) for part in PARTS}
    shares = {part: f"{n:,} ({100 * n / len(used):.0f} %)" for part, n in counts.items()}
    source_ = str(facts.plan.get("split.source", "")) if facts.plan else ""
    said = [tell("partition", **shares)]
    said += [tell(f"partition.{source_}")] if source_ in ("dealt", "official", "blocks") else []
    return Answer(sentences(said), f"{COHORT}, {PLAN}")


def unit(facts: RunFacts) -> Answer | None:
    if facts.used is None:
        return None
    known = facts.audit.get("patient_known", True)
    key = "unit.image" if facts.by_image else "unit.patient" if known else "unit.unknown"
    return Answer(sentences([tell(key), tell("unit.crossing", n=f"{facts.leaks['patients']:,}")]), f"{COHORT}, {AUDIT}")


def duplicates(facts: RunFacts) -> Answer | None:
    found = facts.audit.get("duplicates")
    if found is None:
        return None
    counts = {"exact": len(found.get("exact", [])), "near": len(found.get("near", [])), "crossing": facts.leaks["duplicates"]}
    return Answer(tell("duplicates", **counts), f"{AUDIT}, {COHORT}")


def balance(facts: RunFacts) -> Answer | None:
    """Images of each class in each part, and what the training did about rare classes."""
    used, found = facts.used, facts.target
    if used is None or found is None or not found.classes:
        return None
    listed = [_class_line(used, name, found.kind) for name in found.classes[:MOST_COLUMNS]]
    said = [tell("balance", list=joined(listed))]
    done = decisions(facts, "balance.done", "train", BALANCED)
    return Answer(sentences([*said, *([done.text] if done else [])]), f"{COHORT}, {PLAN}")


def _class_line(used: pd.DataFrame, name: str, kind: str) -> Both:
    several = kind in ("multilabel", "mask", "boxes")
    has = [not missing(label) and name in (text_of(label).split("|") if several else (text_of(label),)) for label in used["label"]]
    counts = {part: int((used.loc[has, "split"] == part).sum()) for part in PARTS}
    return tell("balance.class", name=name, **counts)


def flow(facts: RunFacts) -> Answer | None:
    cohort, used = facts.cohort, facts.used
    if cohort is None or used is None:
        return None
    parts = {part: _size(used[used["split"] == part]) for part in PARTS}
    return Answer(tell("flow", all=f"{len(cohort):,}", out=f"{len(cohort) - len(used):,}", used=_size(used), **parts), COHORT)


def _size(rows: pd.DataFrame) -> Both:
    return tell("size", n=f"{len(rows):,}", p=f"{rows['patient'].nunique():,}")


def test_size(facts: RunFacts) -> Answer | None:
    figure = facts.figure(facts.primary)
    if figure is None or figure.get("low") is None:
        return None
    counts = {"n": f"{figure.get('n_images', 0):,}", "p": f"{figure.get('n_patients', 0):,}"}
    bounds = {"low": number(figure["low"]), "high": number(figure["high"])}
    return Answer(tell("test_size", metric=name_of("metric", facts.primary), **counts, **bounds), METRICS)


def quality(facts: RunFacts) -> Answer | None:
    found = facts.audit.get("issues")
    if found is None:
        return None
    if not found:
        return Answer(tell("quality.clean"), AUDIT)
    listed = joined([Both(each["en"].rstrip("."), (each.get("zh") or each["en"]).rstrip("。")) for each in found[:MOST_REASONS]])
    return Answer(tell("quality", n=len(found), list=listed), AUDIT)


def predictors(facts: RunFacts) -> Answer | None:
    """The networks read images only; clinical columns serve a baseline."""
    if facts.cohort is None:
        return None
    columns = _clinical(facts.cohort)
    said = tell("predictors.columns", list=", ".join(columns[:MOST_COLUMNS])) if columns else tell("predictors.images")
    return Answer(said, COHORT)


def demographics(facts: RunFacts) -> Answer | None:
    """Each clinical column in each part; None where the data have none."""
    used = facts.used
    columns = [] if used is None else _clinical(used)
    if used is None or not columns:
        return None
    return Answer(joined([_column(used, name) for name in columns[:MOST_COLUMNS]]), COHORT)


def _clinical(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns if name not in COLUMNS]


def _column(used: pd.DataFrame, name: str) -> Both:
    values = {part: used.loc[used["split"] == part, name] for part in PARTS}
    return tell("column", name=name, **{part: _summarised(each) for part, each in values.items()})


def _summarised(values: pd.Series[Any]) -> str:
    """Mean and deviation of numbers; counts of the commonest words."""
    known = values.dropna()
    if known.empty:
        return "–"
    if pd.api.types.is_numeric_dtype(known) and known.nunique() > 2:
        return f"{number(float(known.mean()))} ± {number(float(known.std())) if len(known) > 1 else '–'}"
    return ", ".join(f"{value} {n:,}" for value, n in list(known.astype(str).value_counts().items())[:MOST_VALUES])


ANSWERS = {
    "source": source, "excluded": excluded, "all_used": all_used, "preparation": preparation, "missing": missing_data, "images": images, "target": target,
    "question": question, "partition": partition, "unit": unit, "duplicates": duplicates, "balance": balance, "flow": flow, "test_size": test_size,
    "quality": quality, "predictors": predictors, "demographics": demographics,
}
