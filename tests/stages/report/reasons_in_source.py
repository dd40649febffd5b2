"""What sentences the code can emit: found in the source itself, facts in them replaced by a 7."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import vesalius

SOURCE = Path(vesalius.__file__).parent
FACT = "7"
KNOWN = "two classes"
"""Stands for a sentence that another module made."""
DEEPEST = 6


@cache
def trees() -> dict[Path, ast.Module]:
    """Every module that may write a reason, parsed."""
    parts = [SOURCE / "stages" / part for part in (".", "design", "tiled", "boxed", "importing")]
    found = [*(path for part in parts for path in part.glob("*.py")), *(SOURCE / "formats").rglob("*.py")]
    return {path: ast.parse(path.read_text("utf-8")) for path in found}


def scopes(tree: ast.AST, around: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Every node with the functions (and the module) around it, the innermost first."""
    for node in ast.iter_child_nodes(tree):
        yield node, (*around, tree) if not around else around
        yield from scopes(node, (node, *(around or (tree,))) if isinstance(node, ast.FunctionDef) else around or (tree,))


class Told:
    """The texts that an expression can be, by what its names were given in the functions around it and what local functions return."""

    def __init__(self, around: tuple[ast.AST, ...]) -> None:
        self.around = around

    def of(self, node: ast.AST | None, depth: int = 0) -> set[str] | None:
        """None where the expression cannot be followed."""
        if depth > DEEPEST or node is None:
            return None
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            return self._together([self._piece(each, depth) for each in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._together([self._piece(node.left, depth + 1), self._piece(node.right, depth + 1)])
        if isinstance(node, ast.IfExp):
            return self._either([self.of(node.body, depth + 1), self.of(node.orelse, depth + 1)])
        if isinstance(node, ast.BoolOp):
            return self._either([self.of(each, depth + 1) for each in node.values])
        return self._either(self._given(node, depth)) if isinstance(node, ast.Name) else self._returned(node, None, depth)

    def _piece(self, node: ast.AST, depth: int) -> set[str]:
        if isinstance(node, ast.FormattedValue):
            told = None if node.format_spec else self.of(node.value, depth + 1)
            return {each for each in told or () if each} or {KNOWN if ast.unparse(node.value).endswith(("why", "reason")) else FACT}
        return self.of(node, depth) or {FACT}

    @staticmethod
    def _together(parts: list[set[str] | None]) -> set[str] | None:
        return None if None in parts else {"".join(each) for each in product(*(part or () for part in parts))}

    @staticmethod
    def _either(parts: list[set[str] | None]) -> set[str] | None:
        known = [part for part in parts if part]
        return set().union(*known) if known else None

    def _given(self, use: ast.Name, depth: int) -> list[set[str] | None]:
        """By what stands before the use; what stands before the last statement that surely gives the name counts no more."""
        for scope in self.around:
            found: list[list[set[str] | None]] = []
            for statement, target, value in assigned_in(scope):
                taken = self._taken(target, value, use.id, depth) if isinstance(scope, ast.Module) or value.end_lineno < use.lineno else []
                found = [taken] if taken and statement in getattr(scope, "body", ()) else [*found, taken]
            if any(found):
                return [each for taken in found for each in taken]
        return []

    def _taken(self, target: ast.AST, value: ast.AST, name: str, depth: int) -> list[set[str] | None]:
        if isinstance(target, ast.Name) and target.id == name:
            return [self.of(value, depth + 1)]
        if not isinstance(target, ast.Tuple):
            return []
        place = next((i for i, each in enumerate(target.elts) if isinstance(each, ast.Name) and each.id == name), None)
        return [] if place is None else [self._element(value, place, depth + 1)]

    def _element(self, value: ast.AST, place: int, depth: int) -> set[str] | None:
        if isinstance(value, ast.Tuple):
            return self.of(value.elts[place], depth + 1) if place < len(value.elts) else None
        if isinstance(value, ast.List):
            return self._either([self._element(each, place, depth + 1) for each in value.elts])
        if isinstance(value, ast.IfExp):
            return self._either([self._element(each, place, depth + 1) for each in (value.body, value.orelse)])
        return self._returned(value, place, depth)

    def _returned(self, node: ast.AST, place: int | None, depth: int) -> set[str] | None:
        """What a function of the same module returns (or the element of its tuple), or None."""
        if depth > DEEPEST or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            return None
        made = next((each for each in functions_of(self.around[-1]) if each.name == node.func.id), None)
        if made is None:
            return None
        inside = Told((made, self.around[-1]))
        values = [each.value for each in ast.walk(made) if isinstance(each, ast.Return) and each.value is not None]
        return self._either([inside.of(each, depth + 1) if place is None else inside._element(each, place, depth + 1) for each in values])


@cache
def assigned_in(scope: ast.AST) -> list[tuple[ast.stmt, ast.AST, ast.AST]]:
    """Statements with targets and values, in a function or of a module's own, in their order."""
    inside = (each for each in ast.walk(scope) if isinstance(each, ast.stmt))
    nodes = scope.body if isinstance(scope, ast.Module) else sorted(inside, key=lambda each: each.lineno)
    return [(node, *pair) for node in nodes for pair in _assigned(node)]


@cache
def functions_of(module: ast.AST) -> list[ast.FunctionDef]:
    return [each for each in ast.walk(module) if isinstance(each, ast.FunctionDef)]


def _assigned(node: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
    if isinstance(node, ast.Assign):
        return [(target, node.value) for target in node.targets]
    if isinstance(node, ast.For):
        return [(node.target, node.iter)]
    return [(node.target, node.value)] if isinstance(node, ast.AnnAssign) and node.value is not None else []


def _reason_of(call: ast.Call) -> ast.AST | None:
    """The argument of a call that is a sentence of a run: of a decision, a target, a patient, a class of cases left out."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    place = {"decide": 2, "TargetSpec": 3, "alone": 1, "boxes_cohort": 3, "stated": 1}.get(name)
    return next((each.value for each in call.keywords if each.arg == "reason"), None) if place is None or len(call.args) <= place else call.args[place]


def reasons() -> tuple[set[str], list[str]]:
    """Every sentence that can be followed, and the places of those that cannot."""
    found: set[str] = set()
    lost = []
    for path, tree in trees().items():
        for node, around in scopes(tree):
            given = _reason_of(node) if isinstance(node, ast.Call) else None
            if given is None:
                continue
            told = Told(around).of(given)
            found |= told or set()
            lost += [] if told else [f"{path.relative_to(SOURCE).as_posix()}: {ast.unparse(given)}"]
    return found, sorted(lost)


def tuples_of(module: str) -> set[str]:
    """The third of every triple of a module that begins with a name: the decisions of the split."""
    tree = trees()[SOURCE / module]
    inside = ((node, around) for node, around in scopes(tree) if not isinstance(around[0], ast.Module))
    triples = ((node, around) for node, around in inside if isinstance(node, ast.Tuple) and len(node.elts) == 3)
    return {text for node, around in triples if isinstance(node.elts[0], (ast.Constant, ast.JoinedStr)) for text in Told(around).of(node.elts[2]) or ()}


def pairs_of(module: str) -> set[str]:
    """The second of every pair that a function of a module returns after the name of a kind."""
    tree = trees()[SOURCE / module]
    returned = ((node.value, around) for node, around in scopes(tree) if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple))
    pairs = ((value.elts, around) for value, around in returned if len(value.elts) == 2 and isinstance(value.elts[0], ast.Constant))
    return {text for elements, around in pairs for text in Told(around).of(elements[1]) or ()}
