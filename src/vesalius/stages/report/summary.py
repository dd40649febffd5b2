"""The report in sentences: what was asked, what came out, and what must be kept in mind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vesalius.core.target import TargetSpec
from vesalius.stages.report.boxfacts import n_images, tally
from vesalius.stages.report.facts import LOWER_IS_BETTER, PARTS, RunFacts
from vesalius.stages.report.reasons import noted
from vesalius.stages.report.texts import Both, name_of, same, say, worded

SHOWN_CLASSES = 12
TELLS = {"tells": 0.5, "little": 0.1, "not": float("-inf")}
"""From which share (see `doubt_share`) the uncertainty is said to tell, to tell a little, or not to tell."""
DATA_SIZE_NOTES = "more-patients"
OF_CLASS = {"map50": "ap50", "map": "ap"}
"""What a mean over classes is called for one of them."""


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: three decimals up to 1, fewer above, more for what is very small; a true minus sign.

    >>> number(0.98512), number(1.0), number(-12.345), number(1234.5), number(0.00042), number(None)
    ('0.985', '1.000', '−12.3', '1,234', '0.00042', '–')
    """
    if value is None or value != value:
        return "–"
    size = abs(value)
    decimals = digits - sum(size > bound for bound in (1, 10, 100))
    text = f"{size:,.{max(decimals, 0)}f}" if size == 0 or size >= 10**-digits else f"{size:.2g}"
    return f"−{text}" if value < 0 else text


def signed(value: float) -> str:
    """A difference with its sign, which is never a bare minus of nothing.

    >>> signed(0.02), signed(-0.02), signed(-0.0001)
    ('+0.020', '−0.020', '0.000')
    """
    if abs(value) < 5e-4:
        return "0.000"
    return ("+" if value > 0 else "−") + number(abs(value))


def with_interval(figure: dict[str, Any], key: str = "interval", form: Any = number) -> Both:
    """A figure with its interval, or alone when it has none."""
    if figure.get("low") is None or figure.get("high") is None:
        return same(form(figure["value"]))
    key = "cell.signed" if key == "cell" and figure["low"] < 0 else key
    return say(key, value=form(figure["value"]), low=form(figure["low"]), high=form(figure["high"]))


def sentences(facts: RunFacts) -> list[Both]:
    """The summary, in order; sentences whose facts are absent are left out."""
    found = [make(facts) for make in SENTENCES.get(facts.kind, SENTENCES[""])]
    return [each for each in found if each is not None] + [say("doctor")]


def paragraph(facts: RunFacts) -> Both:
    """The summary as one paragraph; Chinese sentences follow one another without a space."""
    said = sentences(facts)
    return Both(" ".join(each.en for each in said), "".join(each.zh for each in said))


def classes_of(target: TargetSpec) -> Both:
    """The names of the classes, the first dozen where there are many."""
    names = list(target.classes[:SHOWN_CLASSES])
    more = ["…"] if len(target.classes) > SHOWN_CLASSES else []
    return Both(", ".join(names + more), "、".join(names + more))


def _asked(facts: RunFacts) -> Both | None:
    target = facts.target
    if target is None:
        return None
    if target.kind == "binary":
        return say("ask.binary", positive=target.classes[1], negative=target.classes[0])
    return say(f"ask.{target.kind}", name=target.name, k=len(target.classes), classes=classes_of(target))


def _used(facts: RunFacts) -> Both | None:
    used = facts.used
    if used is None:
        return None
    counts = {part: f"{int((used['split'] == part).sum()):,}" for part in PARTS}
    key = "used" if facts.audit.get("patient_known", True) else "used_unknown"
    return say(key, n=f"{len(used):,}", p=f"{used['patient'].nunique():,}", **counts)


def _main(facts: RunFacts) -> Both | None:
    figure = facts.figure(facts.primary)
    if figure is None:
        return None
    n, p = f"{figure.get('n_images', 0):,}", f"{figure.get('n_patients', 0):,}"
    return worded("main", facts.kind, n=n, p=p, metric=name_of("metric", facts.primary), value=with_interval(figure))


def _operating(facts: RunFacts) -> Both | None:
    point = facts.metrics.get("operating_point")
    sensitivity, specificity = facts.figure("sensitivity"), facts.figure("specificity")
    if not point or point.get("chosen_on") != "validation" or sensitivity is None or specificity is None:
        return None
    return say(
        "operating", threshold=number(point["threshold"]), on=name_of("legend", facts.chosen_on), rule=rule_in_words(str(point.get("rule", ""))),
        sensitivity=with_interval(sensitivity), specificity=with_interval(specificity),
    )


def rule_in_words(rule: str) -> Both:
    """``sensitivity>=0.95`` in words; other rules by their name."""
    wished, _, bound = rule.partition(">=")
    if bound:
        return say("rule.at_least", metric=name_of("metric", wished), bound=bound)
    wished, _, bound = rule.partition("<=")
    if bound:
        return say("rule.at_most", metric=name_of("metric", wished), bound=bound)
    return say("rule.nothing", threshold=rule.split()[0]) if rule.endswith("(nothing to choose on)") else name_of("rule", rule)


def verdict(facts: RunFacts) -> str | None:
    """``better``, ``unclear`` or ``worse`` than the best baseline, by the paired interval."""
    gain = facts.metrics.get("gain")
    if not gain:
        return None
    sign = -1 if gain.get("metric") in LOWER_IS_BETTER else 1
    bounds = sorted(sign * gain[end] for end in ("low", "high")) if gain.get("low") is not None and gain.get("high") is not None else [-1, 1]
    return "better" if bounds[0] > 0 else "worse" if bounds[1] < 0 else "unclear"


def gain_sentence(facts: RunFacts) -> Both | None:
    """Whether the network is better than the best baseline, with the paired interval."""
    found = verdict(facts)
    if found is None:
        return None
    gain = facts.metrics["gain"]
    over, metric = name_of("baseline", gain["over"]), name_of("metric", gain["metric"])
    return say(f"gain.{found}", over=over, metric=metric, value=with_interval(gain, form=signed))


def _looks(facts: RunFacts) -> Both | None:
    looks = facts.metrics.get("looks_at_test")
    if not looks:
        return None
    return say("looks.one") if looks == 1 else say("looks.many", n=looks)


def _by_class(facts: RunFacts) -> Both | None:
    """The main figure of each class, where there are a few."""
    seen = facts.metrics.get("per_class", {}).get("test", {})
    key = OF_CLASS.get(facts.primary, facts.primary)
    found = [(name, figures[key]) for name, figures in seen.items() if (figures.get(key) or {}).get("value") is not None]
    if not 2 <= len(found) <= SHOWN_CLASSES:
        return None
    each = [f"{name} {number(figure['value'])}" for name, figure in found]
    return worded("by_class", facts.kind, metric=name_of("metric", key), figures=Both(", ".join(each), "、".join(each)))


def _crossed(facts: RunFacts) -> Both | None:
    """The cross-validated figure, named as such: it is of other networks and other cases than the test's."""
    figure = facts.crossed.get(facts.primary)
    if not figure or figure.get("value") is None:
        return None
    n, p = f"{figure.get('n_images', 0):,}", f"{figure.get('n_patients', 0):,}"
    return say("crossed" if facts.kind == "mask" else "crossed.whole", n=n, p=p, metric=name_of("metric", facts.primary), value=with_interval(figure))


def doubt_share(facts: RunFacts) -> float | None:
    """How much of what a perfect order of the cases would gain over a random one the uncertainty gains: 1 all, 0 nothing."""
    found = facts.metrics.get("uncertainty") or {}
    aurc, best, chance = (value_of(found.get(name)) for name in ("aurc", "aurc_best", "aurc_chance"))
    if aurc is None or best is None or chance is None or chance <= best:
        return None
    return (chance - aurc) / (chance - best)


def value_of(figure: Any) -> float | None:
    """The value of a figure, which is a plain number or one with its interval; None where it is undefined."""
    value = figure.get("value") if isinstance(figure, dict) else figure
    return None if value is None or value != value else float(value)


def doubt_sentence(facts: RunFacts) -> Both | None:
    """Whether the uncertainty tells which cases to look at again; not shown where the interval of its rank correlation with the error holds 0."""
    share = doubt_share(facts)
    if share is None:
        return None
    agrees = (facts.metrics.get("uncertainty") or {}).get("spearman")
    unclear = isinstance(agrees, dict) and agrees.get("low") is not None and agrees["low"] <= 0
    key = "unclear" if unclear else next(name for name, least in TELLS.items() if share >= least)
    return say(f"doubt.{key}", share=f"{100 * max(share, 0):.0f}")


def banners(facts: RunFacts) -> list[Both]:
    """What makes the figures unbelievable; shown in red above everything else."""
    leaks, found = facts.leaks, []
    if facts.by_image:
        found.append(say("banner.image"))
    if leaks["patients"] and not facts.by_image:
        found.append(say("banner.patients", n=f"{leaks['patients']:,}"))
    if leaks["duplicates"]:
        found.append(say("banner.duplicates", n=f"{leaks['duplicates']:,}"))
    return found


def data_size_notes(facts: RunFacts) -> list[Both]:
    """Whether more patients would help, in words; they stand beside the curve."""
    return [noted(note) for note in facts.metrics.get("notes", []) if note.get("code", "").startswith(DATA_SIZE_NOTES)]


def notes(facts: RunFacts) -> list[Both]:
    """What a reader must keep in mind: the run's own notes, then what the report adds; each once."""
    found = [*facts.audit.get("split", {}).get("notes", []), *facts.metrics.get("notes", [])]
    said = [noted(note) for note in found if not note.get("code", "").startswith(DATA_SIZE_NOTES)]
    if facts.audit and not facts.audit.get("patient_known", True):
        said.append(say("warn.patient"))
    if (facts.metrics.get("looks_at_test") or 0) > 1:
        said.append(say("looks.many", n=facts.metrics["looks_at_test"]))
    if verdict(facts) == "unclear" and "gain-unclear" not in {note.get("code") for note in found}:
        said.append(say("warn.gain"))
    return list(dict.fromkeys([*said, say("not_device")]))


def _boxes_found(facts: RunFacts) -> Both | None:
    """What is found at the operating point, and at what cost."""
    sensitivity, precision, seen = facts.figure("sensitivity"), facts.figure("precision"), tally(facts)
    if sensitivity is None or precision is None or seen is None:
        return None
    false = number(seen.false_per_image)
    return say("boxes_found", sensitivity=with_interval(sensitivity), precision=with_interval(precision), fp=false, n=f"{n_images(facts):,}")


def _boxes_free(facts: RunFacts) -> Both | None:
    """The sensitivity at one false positive an image."""
    figure = facts.figure("sensitivity_at_1fp")
    return say("boxes_free", value=with_interval(figure)) if figure else None


def _boxes_counted(facts: RunFacts) -> Both | None:
    """How far off the counts are, the worst class named where there are several."""
    figure = facts.figure("count_mae")
    if figure is None:
        return None
    each = facts.metrics.get("per_class", {}).get("test", {})
    known = {name: figures["count_mae"]["value"] for name, figures in each.items() if (figures.get("count_mae") or {}).get("value") is not None}
    if len(known) < 2:
        return say("boxes_counted", value=with_interval(figure))
    worst = max(known, key=lambda name: known[name])
    return say("boxes_counted_each", value=with_interval(figure), worst=worst, most=number(known[worst]))


def _boxes_risk(facts: RunFacts) -> Both | None:
    """How well the second label is told, where there is one."""
    found = facts.metrics.get("risk") or {}
    auc = found.get("auc")
    if not isinstance(auc, dict) or auc.get("value") is None:
        return None
    name = found.get("name") or (facts.target.risk if facts.target else "") or "risk"
    return say("boxes_risk", name=name, value=with_interval(auc))


LABELLED: tuple[Callable[[RunFacts], Both | None], ...] = (_asked, _used, _main, _operating, _crossed, gain_sentence, _looks)
SENTENCES = {
    "": LABELLED,
    "mask": (_asked, _used, _main, _by_class, _crossed, gain_sentence, doubt_sentence, _looks),
    "boxes": (_asked, _used, _main, _by_class, _boxes_found, _boxes_free, _boxes_counted, _boxes_risk, _crossed, gain_sentence, _looks),
}
"""What the summary says of each kind of target; of the others what stands under ``""``."""
