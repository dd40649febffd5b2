"""A gate that does not close is no gate: one fault for each is planted in a copy of the tree and seen to be refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLEAN = '''"""A part without fault."""

from __future__ import annotations

from pathlib import Path


def twice(number: int) -> int:
    """Double it.

    >>> twice(2)
    4
    """
    return 2 * number if Path() else 0
'''


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, tools and settings, without tests and data."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "CHANGELOG.md", "Makefile"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("src", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (copy / "tests").mkdir()
    return copy


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "PYTHONPATH": str(tree / "src")}
    return subprocess.run([sys.executable, *words], cwd=tree, capture_output=True, text=True, timeout=240, env=surroundings)


def ruff(tree: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return run(tree, "-m", "ruff", "check", "--no-cache", str(path))


def mypy(tree: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return run(tree, "-m", "mypy", "--cache-dir", str(tree / ".mypy_cache"), str(path))


def pytest_(tree: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path))


def gates(tree: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return run(tree, "tools/gates.py")


Gate = Callable[[Path, Path], "subprocess.CompletedProcess[str]"]
PART = "src/vesalius/outputs/planted.py"
FAULTS: dict[str, tuple[Gate, str, str, str]] = {
    "unused import": (ruff, PART, CLEAN.replace("from pathlib", "import json\nfrom pathlib"), "F401"),
    "print below the command line": (ruff, PART, CLEAN.replace("    return", '    print("here")\n    return'), "T201"),
    "assert in the package": (ruff, PART, CLEAN.replace("    return", "    assert number\n    return"), "S101"),
    "swallowed error": (ruff, PART, CLEAN + "\n\ntry:\n    twice(1)\nexcept Exception:\n    pass\n", "S110"),
    "wrong type": (mypy, PART, CLEAN + '\n\nWRONG: int = "text"\n', "assignment"),
    "untyped function": (mypy, PART, CLEAN + "\n\ndef bare(number):\n    return number\n", "no-untyped-def"),
    "failing doctest": (pytest_, PART, CLEAN.replace("    4\n", "    5\n"), "1 failed"),
    "failing test": (pytest_, "tests/test_planted.py", "def test_planted():\n    assert 1 == 2\n", "1 failed"),
    "unknown mark": (pytest_, "tests/test_marked.py", "import pytest\n\n\n@pytest.mark.slwo\ndef test_planted():\n    pass\n", "slwo"),
    "upward import": (gates, PART, CLEAN + "\n\nfrom vesalius.stages import fit\n", "outputs imports stages, which lies above it"),
    "import of a sibling": (gates, PART, CLEAN + "\n\nimport vesalius.networks.resnet\n", "outputs and networks never import one another"),
    "hidden import": (gates, PART, CLEAN.replace("    return", "    import json\n    return"), "import of json hidden in twice"),
    "too long a file": (gates, PART, CLEAN + "\n" * 400, "at most 350"),
    "unsafe load": (gates, PART, CLEAN + "\n\nimport torch\n\ntorch.load('x')\n", "torch.load may run code"),
    "unfinished work": (gates, PART, CLEAN + "\n# TO" + "DO later\n", "unfinished"),
}


@pytest.fixture(scope="module")
def already(tree: Path) -> set[str]:
    """What the gates say of the tree before anything is planted."""
    return set(gates(tree, tree).stdout.splitlines())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_planted_fault_is_refused(tree: Path, fault: str) -> None:
    gate, name, text, says = FAULTS[fault]
    path = tree / name
    path.write_text(text, encoding="utf-8")
    try:
        answer = gate(tree, path)
    finally:
        path.unlink()
    assert answer.returncode != 0
    assert says in answer.stdout + answer.stderr


@pytest.mark.parametrize("gate", [ruff, mypy, pytest_], ids=["ruff", "mypy", "pytest"])
def test_a_part_without_fault_passes(tree: Path, gate: Gate) -> None:
    path = tree / PART
    path.write_text(CLEAN, encoding="utf-8")
    try:
        answer = gate(tree, path)
    finally:
        path.unlink()
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_gates_find_no_fault_in_a_part_without_one(tree: Path, already: set[str]) -> None:
    path = tree / PART
    path.write_text(CLEAN, encoding="utf-8")
    try:
        assert set(gates(tree, path).stdout.splitlines()) == already
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "before", "after", "says"),
    [
        ("pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"', "no section for version 0.2.0"),
        ("pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"', "__init__.py: version 0.1.0, pyproject.toml says 0.2.0"),
        ("CHANGELOG.md", "--budget", "--purse", "does not name '--budget'"),
        ("src/vesalius/cli.py", "@app.command()\ndef predict", "@app.command()\ndef foretell", "does not name 'foretell'"),
    ],
)
def test_a_stale_changelog_is_refused(tree: Path, name: str, before: str, after: str, says: str) -> None:
    path = tree / name
    kept = path.read_text(encoding="utf-8")
    assert before in kept
    path.write_text(kept.replace(before, after), encoding="utf-8")
    try:
        answer = gates(tree, path)
    finally:
        path.write_text(kept, encoding="utf-8")
    assert answer.returncode == 1 and says in answer.stdout


def test_make_check_runs_every_gate() -> None:
    told = subprocess.run(["make", "-n", "-B", "check"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    for words in ("ruff check", "mypy", "tools/gates.py", "tests/test_layers.py", "tests/test_gates.py"):
        assert words in told


def test_the_continuous_check_runs_the_gates_and_the_tests() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in text and "make check test" in text
