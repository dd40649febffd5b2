"""The checklists: their items in our words, and what answers each. The facts are of the run, the rest is a gap with a name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from vesalius.stages.paperwork import of_data, of_model, of_results, of_trust
from vesalius.stages.paperwork.base import FOLDER, Answer, Maker, tell
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both

NAMES = ("claim-2024", "tripod-ai", "stard-ai")
ANSWERS: dict[str, Maker] = {**of_data.ANSWERS, **of_model.ANSWERS, **of_results.ANSWERS, **of_trust.ANSWERS}
"""By the names that the lists use."""
State = Literal["filled", "partly", "gap"]
DO_NOT_KNOW = "author"


@dataclass(frozen=True)
class Gap:
    """What somebody must write: who, and what is wanted."""

    who: str
    wants: Both

    @property
    def text(self) -> Both:
        return tell("gap", who=tell(f"who.{self.who}"), wants=self.wants)


@dataclass(frozen=True)
class Item:
    """One item with what the run answers and what stays open."""

    number: str
    asks: Both
    answers: tuple[Answer, ...]
    gap: Gap | None

    @property
    def state(self) -> State:
        return "gap" if not self.answers else "filled" if self.gap is None else "partly"


@dataclass(frozen=True)
class Part:
    """A section of a checklist."""

    name: Both
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Checklist:
    """A published checklist, filled from a run. ``checked`` says how far its numbering was compared with the publication."""

    key: str
    title: Both
    full: Both
    source: str
    checked: Both
    parts: tuple[Part, ...]

    @property
    def items(self) -> list[Item]:
        return [item for part in self.parts for item in part.items]

    @property
    def counts(self) -> dict[str, int]:
        """Items in each state."""
        return {state: sum(item.state == state for item in self.items) for state in ("filled", "partly", "gap")}

    @property
    def counted(self) -> Both:
        found = self.counts
        return tell("counted", n=len(self.items), filled=found["filled"], partly=found["partly"], gaps=found["gap"])

    def to_dict(self) -> dict[str, Any]:
        return {"title": self.title.en, "source": self.source, "n": len(self.items), **self.counts, "items": [_plain(item) for item in self.items]}


def _plain(item: Item) -> dict[str, Any]:
    answers = [{"en": each.text.en, "zh": each.text.zh, "file": each.file} for each in item.answers]
    gap = None if item.gap is None else {"who": item.gap.who, "en": item.gap.wants.en, "zh": item.gap.wants.zh}
    return {"number": item.number, "state": item.state, "asks": item.asks.en, "answers": answers, "gap": gap}


@cache
def gaps() -> dict[str, Gap]:
    """Every gap by name."""
    found = tomllib.loads((FOLDER / "lists" / "gaps.toml").read_text("utf-8"))
    return {name: Gap(each["who"], Both(*each["wants"])) for name, each in found.items()}


@cache
def _read(key: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / "lists" / f"{key}.toml").read_text("utf-8"))


def filled(key: str, facts: RunFacts) -> Checklist:
    """The checklist of that name (see `NAMES`) with what this run says."""
    known = {name: make(facts) for name, make in ANSWERS.items()}
    found = _read(key)
    parts = tuple(Part(Both(*each["name"]), tuple(_item(item, known) for item in each["items"])) for each in found["section"])
    return Checklist(key, Both(*found["title"]), Both(*found["full"]), found["source"], Both(*found["checked"]), parts)


def _item(item: dict[str, Any], known: dict[str, Answer | None]) -> Item:
    answers = tuple(answer for name in item["answers"] if (answer := known[name]) is not None)
    gap = gaps()[item["gap"]] if "gap" in item else None
    if gap is None and not answers:
        gap = Gap(DO_NOT_KNOW, tell("gap.unsaid"))
    return Item(item["n"], Both(*item["asks"]), answers, gap)


def all_filled(facts: RunFacts, names: Sequence[str] = NAMES) -> list[Checklist]:
    """Every checklist."""
    return [filled(name, facts) for name in names]
