"""Imports point towards the base only; braced siblings never import one another."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load_gates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vesalius_gates", ROOT / "tools" / "gates.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gates = load_gates()


def test_every_import_of_the_package_points_to_the_base() -> None:
    assert gates.layers(ROOT) == []


def test_no_import_is_hidden_in_a_function() -> None:
    assert gates.hidden_imports(ROOT) == []


def test_every_part_of_the_package_has_a_place() -> None:
    parts = {path.name.removesuffix(".py") for path in (ROOT / "src" / "vesalius").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {part for part in parts if gates.rank_of(part) is None} == gates.ABOVE_CORE_ONLY


def test_the_list_is_the_one_of_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.split("\n\n")[2]
    order = [line.split()[0].rstrip(",") for line in block.splitlines() if line.strip()]
    ranks = [0 if name == "base" else gates.rank_of(name) for name in order]
    assert ranks == sorted(ranks) and len(ranks) >= 9


@pytest.mark.parametrize(
    ("part", "other", "allowed"),
    [
        ("core", "errors", True),
        ("core", "kernels", False),
        ("networks", "kernels", True),
        ("networks", "outputs", False),
        ("formats", "transforms", False),
        ("stages", "mapping", True),
        ("mapping", "stages", False),
        ("plan", "cli", False),
        ("phantoms", "core", True),
        ("phantoms", "kernels", False),
        ("stages", "phantoms", False),
        ("core", "core", True),
    ],
)
def test_the_rule(part: str, other: str, allowed: bool) -> None:
    assert (gates._fault_of(part, other) is None) is allowed
