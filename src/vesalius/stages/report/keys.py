"""The large numbers at the top of the page; `kinds` says which of them a kind of target has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vesalius.stages.report.boxfacts import tally
from vesalius.stages.report.facts import LOWER_IS_BETTER, RunFacts
from vesalius.stages.report.maskfacts import length_of, tolerance_of
from vesalius.stages.report.summary import number, signed, verdict
from vesalius.stages.report.texts import Both, name_of, same, say, worded


@dataclass(frozen=True)
class Key:
    """A large number at the top: its name, the number, what stands below, and its place on a scale in per cent."""

    name: Both
    value: Both
    below: Both
    scale: tuple[float, float, float] | None = None
    style: str = ""


Maker = Callable[[RunFacts], Key | None]


def main(facts: RunFacts) -> Key | None:
    figure, name = facts.figure(facts.primary), facts.primary
    if figure is None:
        return None
    bounded = figure.get("low") is not None and figure.get("high") is not None
    below = say("key.ci", low=number(figure["low"]), high=number(figure["high"])) if bounded else same("")
    scale = tuple(round(100 * float(figure[end]), 1) for end in ("low", "value", "high")) if bounded and name not in LOWER_IS_BETTER else None
    inside = scale is not None and min(scale) >= 0 and max(scale) <= 100
    return Key(worded("key.main", facts.kind, metric=name_of("metric", name)), same(number(figure["value"])), below, scale if inside else None, "main")  # type: ignore[arg-type]


def gain(facts: RunFacts) -> Key | None:
    found = verdict(facts)
    if found is None:
        return None
    figure = facts.metrics["gain"]
    bounded = figure.get("low") is not None and figure.get("high") is not None
    below = say("key.ci", low=signed(figure["low"]), high=signed(figure["high"])) if bounded else name_of("baseline", figure["over"])
    return Key(say("key.gain"), same(signed(figure["value"])), below, None, found)


def size(facts: RunFacts) -> Key | None:
    figures = [f for f in facts.metrics.get("test", {}).values() if f.get("n_images")]
    if not figures:
        return None
    most = max(figures, key=lambda f: int(f["n_images"]))
    return Key(say("key.test"), same(f"{most['n_images']:,}"), say("key.test_sub", p=f"{most['n_patients']:,}"))


def calibration(facts: RunFacts) -> Key | None:
    figure, method = facts.figure("ece"), (facts.metrics.get("calibration") or {}).get("method")
    if figure is None or not method:
        return None
    return Key(say("key.ece"), same(number(figure["value"])), say("key.ece_sub", method=name_of("method", method), on=name_of("legend", facts.chosen_on)))


def crossed(facts: RunFacts) -> Key | None:
    """The main figure from the folds, named as such."""
    figure = (facts.metrics.get("cross_validation") or {}).get(facts.primary)
    return _plain(say("key.crossed", metric=name_of("metric", facts.primary)), figure)


def surface(facts: RunFacts) -> Key | None:
    tolerance = tolerance_of(facts)
    return _plain(say("key.nsd", tolerance=tolerance) if tolerance else name_of("metric", "nsd"), facts.figure("nsd"))


def distance(facts: RunFacts) -> Key | None:
    return _plain(say("key.hd95", unit=length_of(facts)), facts.figure("hd95"))


def lesions(facts: RunFacts) -> Key | None:
    return _plain(say("key.lesions", metric=name_of("metric", "lesion_f1")), facts.figure("lesion_f1"))


def found(facts: RunFacts) -> Key | None:
    """Sensitivity at the operating point, and what it costs in false boxes."""
    figure, seen = facts.figure("sensitivity"), tally(facts)
    if figure is None or seen is None:
        return _plain(say("key.found"), figure)
    return Key(say("key.found"), same(number(figure["value"])), say("key.found_sub", fp=number(seen.false_per_image)))


def counted(facts: RunFacts) -> Key | None:
    return _plain(say("key.counted"), facts.figure("count_mae"))


def risk(facts: RunFacts) -> Key | None:
    """AUC of the second label of the boxes."""
    seen = facts.metrics.get("risk") or {}
    name = seen.get("name") or (facts.target.risk if facts.target is not None else "")
    return _plain(say("key.risk", name=name or "risk"), seen.get("auc"))


def _plain(name: Both, figure: dict[str, Any] | None) -> Key | None:
    """A number with its interval and no scale."""
    if not figure or figure.get("value") is None:
        return None
    bounded = figure.get("low") is not None and figure.get("high") is not None
    return Key(name, same(number(figure["value"])), say("key.ci", low=number(figure["low"]), high=number(figure["high"])) if bounded else same(""))
