"""The page: the template that lays everything out."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.kinds import keys_of, sections_of
from vesalius.stages.report.summary import banners, notes, paragraph
from vesalius.stages.report.texts import say


def render(facts: RunFacts, lang: str) -> str:
    """The page as HTML text."""
    return template().render(
        facts=facts, lang=lang, say=say, keys=keys_of(facts), sections=sections_of(facts), summary=paragraph(facts), notes=notes(facts), banners=banners(facts),
        style=Markup(Path(__file__).with_name("style.css").read_text("utf-8")),
        made=say("made", when=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"), run=facts.run.resolve().name),
    )


@cache
def template() -> Template:
    """Everything that a run folder says is escaped; a name that the template does not know is an error."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("template.html")
