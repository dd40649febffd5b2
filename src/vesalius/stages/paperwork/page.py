"""The checklists and the card as Markdown, and the checklists as one self-contained page in both languages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vesalius.stages import report
from vesalius.stages.paperwork.base import FOLDER, tell
from vesalius.stages.paperwork.lists import ANSWERS, Checklist, Item, gaps
from vesalius.stages.report.card import model_card, plain
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both

STYLE = Path(report.__file__).with_name("style.css")
CARD = {
    "data": ("source", "flow", "balance", "unit", "duplicates", "excluded", "missing"),
    "training": ("architecture", "preparation", "training", "augmentation", "selection", "ensemble", "software"),
    "results": ("performance", "classes", "baselines", "crossed"),
    "trust": ("uncertainty", "calibration", "threshold", "explained", "failures", "looks"),
    "limits": ("limits", "data_size"),
    "record": ("record", "data_hash", "plan", "reproduced"),
}
"""Sections of the card beyond the one that travels with the weights, and what answers them."""
OPEN = ("intended", "users", "representative", "acquisition", "reference", "annotators", "external", "fairness", "poor_input", "ethics", "funding")
"""Gaps that a card must show."""
BOX = "☐"


def checklist_markdown(found: Checklist, lang: str) -> str:
    """One checklist as a table a section; a gap is a box to tick with who must fill it."""
    said = [f"# {found.title.of(lang)}: {found.full.of(lang)}", tell("published", source=found.source).of(lang), f"> {found.checked.of(lang)}"]
    said += [tell("lead").of(lang), f"**{found.counted.of(lang)}**"]
    head = [tell(f"col.{name}").of(lang) for name in ("item", "asks", "answer")]
    for part in found.parts:
        rows = [_row(item, lang) for item in part.items]
        said += [f"## {part.name.of(lang)}", "\n".join(["| " + " | ".join(head) + " |", "| --- | --- | --- |", *rows])]
    return "\n\n".join(said) + "\n"


def _row(item: Item, lang: str) -> str:
    cells = [f"{plain(each.text.of(lang))} (*{plain(tell('file', file=each.file).of(lang))}*)" for each in item.answers]
    cells += [_open(item.gap.text, lang)] if item.gap else []
    return f"| {item.number} | {plain(item.asks.of(lang))} | {'<br>'.join(cells)} |"


def _open(text: Both, lang: str) -> str:
    return f"{BOX} **{tell('state.gap').of(lang)}** {plain(text.of(lang))}"


def card_markdown(facts: RunFacts) -> str:
    """The card that travels with the weights, what else the run knows, and what must be written, in both languages."""
    parts = [model_card(facts).rstrip()]
    for lang in ("en", "zh"):
        parts += [f"## {tell('card.open').of(lang)}", "\n".join(f"- {_open(gaps()[name].text, lang)}" for name in OPEN)]
        parts += [text for section, names in CARD.items() if (text := _card_section(facts, section, names, lang))]
    return "\n\n".join(parts) + "\n"


def _card_section(facts: RunFacts, section: str, names: Sequence[str], lang: str) -> str:
    answers = [answer for name in names if (answer := ANSWERS[name](facts)) is not None]
    lines = [f"- {plain(answer.text.of(lang))} (*{plain(tell('file', file=answer.file).of(lang))}*)" for answer in answers]
    return f"## {tell(f'card.{section}').of(lang)}\n\n" + "\n".join(lines) if lines else ""


def checklists_html(facts: RunFacts, found: Sequence[Checklist], lang: str) -> str:
    """All checklists on one page that needs no network and no script."""
    style = Markup(STYLE.read_text("utf-8") + (FOLDER / "paperwork.css").read_text("utf-8"))
    names = (Both("English", "English"), Both("中文", "中文"))
    return template().render(lists=found, lang=lang, tell=tell, name=facts.name, style=style, languages=names)


@cache
def template() -> Template:
    """Everything that a run says is escaped; a name that the template does not know is an error."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("checklists.html")
