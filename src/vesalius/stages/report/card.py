"""The model card (Mitchell et al., FAccT 2019) that travels with the weights: ``model/card.md``, in English with a Chinese summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vesalius.stages.report import boxtables, masktables
from vesalius.stages.report.facts import RunFacts, read_run
from vesalius.stages.report.summary import banners, notes, paragraph
from vesalius.stages.report.tables import Table, figures, labels, per_class
from vesalius.stages.report.texts import TEXTS, name_of, say

BOXES = (boxtables.classes, boxtables.operating, boxtables.counts, boxtables.risk)
"""The tables that a card with boxes shows after the figures."""


def model_card(run: Path | RunFacts, metrics: dict[str, Any] | None = None) -> str:
    """The card as Markdown, from what the run folder holds so far.

    Parameters
    ----------
    run: the run folder, or its facts as `read_run` gives them.
    metrics: the figures where ``metrics.json`` is not written yet.
    """
    facts = run if isinstance(run, RunFacts) else read_run(run)
    facts = facts if metrics is None else replace(facts, metrics=metrics)
    parts = [_title(facts), *(_summary(facts, lang) for lang in ("en", "zh")), _data(facts), _results(facts), _use(facts), _limits(facts), _record(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(facts: RunFacts) -> str:
    warned = "\n\n".join(f"> **{plain(each.en)}**\n>\n> **{plain(each.zh)}**" for each in banners(facts))
    return f"# {plain(say('card.title', data=facts.name).en)}" + (f"\n\n{warned}" if warned else "")


def _summary(facts: RunFacts, lang: str) -> str:
    return f"## {say('h.summary').of(lang)}\n\n{plain(paragraph(facts).of(lang))}"


def _data(facts: RunFacts) -> str:
    seen = labels(facts)
    return f"## {say('card.data').en}\n\n{markdown(seen)}" if seen else ""


def _results(facts: RunFacts) -> str:
    own = BOXES if facts.kind == "boxes" else (per_class, masktables.sizes, masktables.lesions)
    shown = [markdown(each) for make in (figures, *own) if (each := make(facts))]
    shown += [plain(each.en) for each in masktables.empties(facts)]
    return f"## {say('h.figures').en}\n\n" + "\n\n".join(shown) if shown else ""


def _use(facts: RunFacts) -> str:
    kind = name_of("kind", facts.target.kind).en if facts.target else "–"
    lines = [name_of("use", facts.kind) if f"use.{facts.kind}" in TEXTS else say("card.use", kind=kind), say("card.not_use"), say("doctor")]
    return f"## {say('card.intended').en}\n\n" + "\n".join(f"- {plain(line.en)}" for line in lines)


def _limits(facts: RunFacts) -> str:
    return f"## {say('card.limits').en}\n\n" + "\n".join(f"- {plain(note.en)}" for note in notes(facts))


def _record(facts: RunFacts) -> str:
    rows = [("card.network", facts.plan.get("network.name")), ("card.plan", facts.plan.hash), ("card.seal", facts.plan.get("split.seal"))] if facts.plan else []
    rows += [("card.weights", facts.weights_hash), ("env.seed", facts.environment.get("seed"))]
    rows += [("card.version", facts.environment.get("versions", {}).get("vesalius"))]
    lines = [f"- {say(key).en}: `{value}`" for key, value in rows if value is not None]
    return f"## {say('card.record').en}\n\n" + "\n".join(lines) if lines else ""


def markdown(table: Table) -> str:
    """A table in Markdown, in English."""
    lines = [[cell.en for cell in table.head], ["---"] * len(table.head), *([cell.text.en for cell in row] for row in table.rows)]
    return f"{plain(table.caption.en)}\n\n" + "\n".join("| " + " | ".join(c if c == "---" else plain(c) for c in line) + " |" for line in lines)


def plain(text: str) -> str:
    """A text that Markdown and HTML leave as it is, on one line.

    >>> plain("a|b <c>")
    'a\\\\|b &lt;c&gt;'
    """
    escaped = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.replace("|", "\\|").replace("*", "\\*").replace("`", "\\`").split())
