"""The decisions of a plan in words: their names and values in both languages, the name that the file uses beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vesalius.stages.report.summary import rule_in_words
from vesalius.stages.report.texts import TEXTS, Both, name_of, same, say


def value_of_decision(name: str, value: Any) -> Both:
    """The value of the decision ``name`` (without its section) in both languages; names and codes stay as they are.

    >>> value_of_decision("source", "dealt").zh, value_of_decision("exclusive", True).zh, value_of_decision("epochs", 20).zh
    ('随机划分', '是', '20')
    """
    if isinstance(value, Mapping):
        parts = [(name_of("part", key) if f"part.{key}" in TEXTS else same(key), _inner(key, each)) for key, each in value.items()]
        return _listed([Both(f"{key.en} = {each.en}", f"{key.zh} = {each.zh}") for key, each in parts], lambda each: each)
    if isinstance(value, (list, tuple)):
        return _listed(value, lambda each: _inner(name, each))
    return _plain(name, value)


def _inner(name: str, value: Any) -> Both:
    """A list in a list keeps its brackets: strides of two levels are not four strides."""
    shown = value_of_decision(name, value)
    return Both(f"[{shown.en}]", f"[{shown.zh}]") if isinstance(value, (list, tuple)) else shown


def _listed(values: Sequence[Any], show: Callable[[Any], Both]) -> Both:
    shown = [show(each) for each in values]
    return Both(", ".join(each.en for each in shown) or "–", ", ".join(each.zh for each in shown) or "–")


def _plain(name: str, value: Any) -> Both:
    if value in ("", None):
        return same("–")
    if isinstance(value, bool):
        return say("value.yes" if value else "value.no")
    if isinstance(value, str):
        return _word(name, value)
    return same(f"{value:g}" if isinstance(value, float) else value)


def _word(name: str, value: str) -> Both:
    """A word of ours; the rule of the operating point may carry a bound."""
    if f"value.{name}.{value}" in TEXTS:
        return say(f"value.{name}.{value}")
    if name == "operating_point":
        wished, _, bound = value.partition(" ")
        return rule_in_words(f"{wished}>={bound}" if bound else value)
    return say(f"kind.{value}") if name == "target" and f"kind.{value}" in TEXTS else same(value)
