"""The page: its large numbers, and the template that lays everything out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.sections import sections
from vesalius.stages.report.summary import banners, notes, number, paragraph, signed, verdict
from vesalius.stages.report.texts import Both, name_of, same, say


@dataclass(frozen=True)
class Key:
    """A large number at the top: its name, the number, what stands below, and its place on a scale in per cent."""

    name: Both
    value: Both
    below: Both
    scale: tuple[float, float, float] | None = None
    style: str = ""


def render(facts: RunFacts, lang: str) -> str:
    """The page as HTML text."""
    return template().render(
        facts=facts, lang=lang, say=say, keys=keys(facts), sections=sections(facts), summary=paragraph(facts), notes=notes(facts), banners=banners(facts),
        style=Markup(Path(__file__).with_name("style.css").read_text("utf-8")),
        made=say("made", when=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"), run=facts.run.resolve().name),
    )


@cache
def template() -> Template:
    """Everything that a run folder says is escaped; a name that the template does not know is an error."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("template.html")


def keys(facts: RunFacts) -> list[Key]:
    """The large numbers: main figure, gain, size of the test, calibration."""
    found = [_main_key(facts), _gain_key(facts), _size_key(facts), _calibration_key(facts)]
    return [key for key in found if key is not None]


def _main_key(facts: RunFacts) -> Key | None:
    figure, name = facts.figure(facts.primary), facts.primary
    if figure is None:
        return None
    bounded = figure.get("low") is not None and figure.get("high") is not None
    below = say("key.ci", low=number(figure["low"]), high=number(figure["high"])) if bounded else same("")
    scale = tuple(round(100 * float(figure[end]), 1) for end in ("low", "value", "high")) if bounded and name not in ("mae", "rmse") else None
    inside = scale is not None and min(scale) >= 0 and max(scale) <= 100
    return Key(say("key.main", metric=name_of("metric", name)), same(number(figure["value"])), below, scale if inside else None, "main")  # type: ignore[arg-type]


def _gain_key(facts: RunFacts) -> Key | None:
    found = verdict(facts)
    if found is None:
        return None
    gain = facts.metrics["gain"]
    bounded = gain.get("low") is not None and gain.get("high") is not None
    below = say("key.ci", low=signed(gain["low"]), high=signed(gain["high"])) if bounded else name_of("baseline", gain["over"])
    return Key(say("key.gain"), same(signed(gain["value"])), below, None, found)


def _size_key(facts: RunFacts) -> Key | None:
    figures = [f for f in facts.metrics.get("test", {}).values() if f.get("n_images")]
    if not figures:
        return None
    most = max(figures, key=lambda f: int(f["n_images"]))
    return Key(say("key.test"), same(f"{most['n_images']:,}"), say("key.test_sub", p=f"{most['n_patients']:,}"))


def _calibration_key(facts: RunFacts) -> Key | None:
    figure, method = facts.figure("ece"), (facts.metrics.get("calibration") or {}).get("method")
    if figure is None or not method:
        return None
    return Key(say("key.ece"), same(number(figure["value"])), say("key.ece_sub", method=name_of("method", method)))
