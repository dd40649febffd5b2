"""What a run knows of its results: figures with intervals, calibration, thresholds, failures, limits."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vesalius.stages.paperwork.base import Answer, joined, sentences, shown, tell
from vesalius.stages.paperwork.of_data import METRICS
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.maskfacts import rows_of
from vesalius.stages.report.summary import data_size_notes, gain_sentence, notes, number, paragraph, with_interval
from vesalius.stages.report.texts import Both, name_of

MOST = 8
CASES = "explain/cases.json"


def summary(facts: RunFacts) -> Answer | None:
    return Answer(paragraph(facts), METRICS) if facts.metrics.get("test") else None


def main(facts: RunFacts) -> Answer | None:
    figure = facts.figure(facts.primary)
    return None if figure is None else Answer(tell("main", figure=_figure(facts.primary, figure)), METRICS)


def metrics(facts: RunFacts) -> Answer | None:
    names = list(facts.metrics.get("test", {}))
    if not names:
        return None
    listed = joined([name_of("metric", name) for name in names], Both(", ", "、"))
    return Answer(tell("metrics", main=name_of("metric", facts.primary), list=listed), METRICS)


def uncertainty(facts: RunFacts) -> Answer | None:
    """How the intervals were made, by what the figures themselves say."""
    found = Counter(str(figure["method"]) for figure in facts.metrics.get("test", {}).values() if figure.get("method"))
    if not found:
        return None
    return Answer(tell("uncertainty", list=", ".join(method for method, _ in found.most_common())), METRICS)


def baselines(facts: RunFacts) -> Answer | None:
    found = facts.metrics.get("baselines") or {}
    shown_ = [(model, (parts.get("test") or {}).get(facts.primary)) for model, parts in found.items()]
    known = [(model, figure) for model, figure in shown_ if figure and figure.get("value") is not None]
    listed = [tell("pair", name=name_of("baseline", model), value=with_interval(figure, "cell")) for model, figure in known]
    return Answer(tell("baselines", metric=name_of("metric", facts.primary), list=joined(listed)), METRICS) if listed else None


def gain(facts: RunFacts) -> Answer | None:
    said = gain_sentence(facts)
    if said is None:
        return None
    method = facts.metrics["gain"].get("method")
    return Answer(sentences([said, tell("gain.method", method=method)]) if method else said, METRICS)


def performance(facts: RunFacts) -> Answer | None:
    return _part(facts, "test", "performance")


def internal(facts: RunFacts) -> Answer | None:
    """Validation beside test, so that a fall between them is seen; nothing where validation is of the folds (see `crossed`)."""
    return None if facts.metrics.get("cross_validated") else _part(facts, "validation", "internal")


def crossed(facts: RunFacts) -> Answer | None:
    return _part(facts, "validation" if facts.metrics.get("cross_validated") else "cross_validation", "crossed")


def _part(facts: RunFacts, part: str, key: str) -> Answer | None:
    found = {name: figure for name, figure in (facts.metrics.get(part) or {}).items() if figure.get("value") is not None}
    if not found:
        return None
    most = max(found.values(), key=lambda figure: int(figure.get("n_images") or 0))
    listed = joined([_figure(name, figure) for name, figure in found.items()])
    return Answer(tell(key, n=f"{most.get('n_images', 0):,}", p=f"{most.get('n_patients', 0):,}", list=listed), METRICS)


def _figure(name: str, figure: dict[str, Any]) -> Both:
    return tell("pair", name=name_of("metric", name), value=with_interval(figure, "cell"))


def classes(facts: RunFacts) -> Answer | None:
    """The main figure of each class, or the first that a class has."""
    seen = facts.metrics.get("per_class", {}).get("test", {})
    listed = []
    for name, figures in list(seen.items())[:MOST]:
        known = {k: v for k, v in figures.items() if v.get("value") is not None}
        main_ = facts.primary if facts.primary in known else next(iter(known), None)
        if main_ is not None:
            listed.append(tell("class", name=name, figure=_figure(main_, known[main_])))
    return Answer(tell("classes", list=joined(listed)), METRICS) if listed else None


def confusion(facts: RunFacts) -> Answer | None:
    """Counts of the test set by truth; of masks the lesions that were found, missed or false."""
    if facts.kind == "mask":
        return _lesions(facts)
    counts, target = (facts.metrics.get("confusion") or {}).get("test"), facts.target
    if not counts or target is None or len(counts) != len(target.classes):
        return None
    rows = [tell("confusion.row", truth=truth, list=", ".join(f"{name} {n:,}" for name, n in zip(target.classes, row, strict=True)))
            for truth, row in zip(target.classes, counts, strict=True)]
    wrong = sum(n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j)
    return Answer(tell("confusion", wrong=f"{wrong:,}", n=f"{sum(map(sum, counts)):,}", list=joined(rows)), METRICS)


def _lesions(facts: RunFacts) -> Answer | None:
    rows = rows_of(facts)
    if rows is None or not {"n_true", "n_found", "n_false"} <= set(rows.columns):
        return None
    true, found, false = (int(rows[name].fillna(0).sum()) for name in ("n_true", "n_found", "n_false"))
    return Answer(tell("lesions", true=f"{true:,}", found=f"{found:,}", missed=f"{true - found:,}", false=f"{false:,}"), "predictions.parquet")


def failures(facts: RunFacts) -> Answer | None:
    worst = [each for each in facts.cases if each.get("role") in ("worst", "missed", "false")]
    if not worst:
        return None
    named = ", ".join(str(each.get("id")) for each in worst[:MOST])
    return Answer(tell("failures", n=len(worst), list=named), CASES)


def explained(facts: RunFacts) -> Answer | None:
    methods = list(dict.fromkeys(str(each["method"]) for case in facts.cases for each in case.get("maps", []) if each.get("method")))
    if not methods:
        return None
    return Answer(tell("explained", n=len(facts.cases), list=joined([name_of("method", each) for each in methods], Both(", ", "、"))), CASES)


def calibration(facts: RunFacts) -> Answer | None:
    found = facts.metrics.get("calibration") or {}
    if not found.get("method"):
        return None
    said = [tell("calibration", method=name_of("method", str(found["method"])), parameters=shown(found.get("parameters") or {}),
                 on=name_of("legend", facts.chosen_on))]
    before, after = (found.get("before") or {}).get("ece"), (found.get("after") or {}).get("ece")
    if before is not None and after is not None:
        said.append(tell("calibration.change", before=number(before), after=number(after)))
    return Answer(sentences(said), METRICS)


def threshold(facts: RunFacts) -> Answer | None:
    """The operating point (for boxes one a class), or how the answer is decided without one."""
    point = facts.metrics.get("operating_point")
    if not point:
        return Answer(tell(f"threshold.{facts.kind}"), METRICS) if facts.kind in ("multiclass", "ordinal", "mask") and facts.metrics.get("test") else None
    several = {name: each for name, each in point.items() if isinstance(each, dict)} or {"": point}
    listed = [_point(name, each, facts.chosen_on) for name, each in several.items() if each.get("threshold") is not None]
    return Answer(tell("threshold", list=joined(listed)), METRICS) if listed else None


def _point(name: str, point: dict[str, Any], validation: str) -> Both:
    named, chosen = f"{name}: " if name else "", str(point.get("chosen_on", "–"))
    rule, on = name_of("rule", str(point.get("rule", "–"))), name_of("legend", validation if chosen == "validation" else chosen)
    return Both(*(f"{named}{each}" for each in tell("point", value=number(point["threshold"]), rule=rule, on=on)))


def looks(facts: RunFacts) -> Answer | None:
    n = facts.metrics.get("looks_at_test")
    return None if not n else Answer(tell("looks", n=n), "metrics.json, log/looks.jsonl")


def data_size(facts: RunFacts) -> Answer | None:
    said = data_size_notes(facts)
    return Answer(sentences(said), METRICS) if said else None


def limits(facts: RunFacts) -> Answer | None:
    said = notes(facts)
    return Answer(sentences(said), f"{METRICS}, audit.json") if facts.metrics and said else None


ANSWERS = {
    "summary": summary, "main": main, "metrics": metrics, "uncertainty": uncertainty, "baselines": baselines, "gain": gain, "performance": performance,
    "internal": internal, "crossed": crossed, "classes": classes, "confusion": confusion, "failures": failures, "explained": explained,
    "calibration": calibration, "threshold": threshold, "looks": looks, "data_size": data_size, "limits": limits,
}
