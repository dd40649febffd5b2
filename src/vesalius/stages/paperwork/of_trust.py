"""What the tests of trust said (``RUN/trust.json``): leaks, shortcuts, explanations, doubtful labels, robustness, subgroups, repeats."""

from __future__ import annotations

import json
from collections.abc import Callable

from vesalius.errors import RunError
from vesalius.stages.paperwork.base import Answer, Maker, sentences
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import Both

RECORD = "trust.json"
TOPICS: dict[str, tuple[str, ...]] = {
    "trust.leak": ("leak",), "trust.shortcuts": ("shortcut",), "trust.explanations": ("explanation",), "trust.labels": ("label", "doubt"),
    "trust.subgroups": ("subgroup",), "trust.repeats": ("repeat", "seed"), "trust.undecided": ("conformal", "selective", "abstain"),
    "trust.robustness": ("robustness",),
}
"""What an item asks for, and how the keys of the tests that answer it begin."""
MOST = 6


def _answered(beginnings: tuple[str, ...]) -> Callable[[RunFacts], Answer | None]:
    """The sentences of every test whose key begins so; None where none was run or none had anything to say."""

    def make(facts: RunFacts) -> Answer | None:
        found = [each for name, result in _record(facts).items() if name.startswith(beginnings) for each in result.get("sentences", [])]
        return Answer(sentences([Both(each["en"], each["zh"]) for each in found[:MOST]]), RECORD) if found else None

    return make


def _record(facts: RunFacts) -> dict[str, dict[str, list[dict[str, str]]]]:
    path = facts.run / RECORD
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise RunError("a file of the run folder is damaged", where=path, got=str(error), do="restore it or run 'vesalius fit' again") from error


ANSWERS: dict[str, Maker] = {name: _answered(beginnings) for name, beginnings in TOPICS.items()}
