"""Every text of an error that the source can raise, as the source writes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {"VesaliusError", "DataError", "FormatError", "LabelError", "TooFewError", "OptionError", "RunError", "Refused", "Busy", "Died", "Missing", "kind",
         "_TooMuch", "_Mismatch"}
"""What is raised; the first text is what went wrong (behind the status of a `Refused`)."""
HELPERS = {"_no": (0, (1, 2), ()), "_much": (0, (1, 2), ()), "_cut": (None, (0,), ()), "too_large": (None, (1,), ()), "problem": (1, (), (2,)),
           "Outcome": (1, (), ())}
"""Functions that raise or tell: which argument is what went wrong, which are facts, which a table of facts."""
FACTS = ("expected", "got", "do")
SAMPLE = "7"
"""Stands for what fills a gap."""


@dataclass(frozen=True)
class Written:
    """A text with `SAMPLE` in its gaps, whether it is what went wrong or a fact, and where it stands."""

    text: str
    is_what: bool
    place: str


def written_in(paths: list[Path]) -> list[Written]:
    """Of the given modules."""
    return [each for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call) for each in _of_call(node, path)]


def _of_call(node: ast.Call, path: Path) -> Iterator[Written]:
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    place = f"{path.name}:{node.lineno}"
    if name in KINDS:
        yield from (Written(text, True, place) for arg in node.args[1 if name == "Refused" else 0 :][:1] for text in texts(arg))
        yield from (Written(text, False, place) for word in node.keywords if word.arg in FACTS for text in texts(word.value))
    elif name in HELPERS:
        what, facts, tables = HELPERS[name]
        for n, arg in enumerate(node.args):
            if n == what or n in facts:
                yield from (Written(text, n == what, place) for text in texts(arg))
            if n in tables and isinstance(arg, ast.Dict):
                yield from (Written(text, False, place) for value in arg.values for text in texts(value))


def texts(node: ast.AST) -> list[str]:
    """The texts that an expression may be, as far as it writes them out."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        made = "".join(part.value if isinstance(part, ast.Constant) else SAMPLE for part in node.values)
        return [made] if any(letter.isalpha() for letter in made) else []
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in texts(value)]
    return []
