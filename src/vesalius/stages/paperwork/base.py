"""Facts of a run that answer items of a checklist: a sentence in both languages and the file it comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Answer:
    """One fact, and the file of the run folder that states it."""

    text: Both
    file: str


Maker = Callable[[RunFacts], Answer | None]
"""None where the run does not say it."""


@cache
def texts() -> dict[str, tuple[str, str]]:
    """All texts of the paperwork by key, in English and Chinese."""
    return {key: (en, zh) for key, (en, zh) in tomllib.loads((FOLDER / "texts.toml").read_text("utf-8")).items()}


def tell(key: str, **facts: Any) -> Both:
    """The text of that key with its facts; a fact may itself be `Both`."""
    en, zh = texts()[key]
    english, chinese = ({k: v[i] if isinstance(v, Both) else v for k, v in facts.items()} for i in (0, 1))
    return Both(en.format(**english), zh.format(**chinese))


def joined(parts: Sequence[Both], between: Both = Both("; ", "；")) -> Both:  # noqa: B008
    """Texts one after the other."""
    return Both(between.en.join(each.en for each in parts), between.zh.join(each.zh for each in parts))


def sentences(parts: Sequence[Both]) -> Both:
    """Sentences one after the other; in Chinese no space stands between them."""
    return joined(parts, Both(" ", ""))


def shown(value: Any, between: str = ", ") -> str:
    """A value of the plan for people: lists with commas, floats short, nested names in brackets, nothing as a dash.

    >>> shown([1.0, 0.5]), shown({"a": {"b": 1}}), shown([24, 24], " × "), shown("")
    ('1, 0.5', 'a (b 1)', '24 × 24', '–')
    """
    if isinstance(value, dict):
        return ", ".join(f"{name} ({shown(each)})" if isinstance(each, dict) else f"{name} {shown(each)}" for name, each in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        return between.join(shown(each) for each in value) or "–"
    return "–" if value in ("", None) else f"{value:g}" if isinstance(value, float) else str(value)


def in_words(value: Any, between: str = ", ") -> Both:
    """A value of the plan; yes and no in both languages."""
    return tell("yes" if value else "no") if isinstance(value, bool) else Both(*([shown(value, between)] * 2))
