"""Prints the tests of what has changed since the last commit: for ``make quick``.

The tests mirror the tree, so ``src/vesalius/core/study.py`` answers to ``tests/core/test_study*.py``, or to the whole of
``tests/core`` when it has no test of its own name. The layer test always runs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALWAYS = ("tests/test_layers.py",)


def changed(root: Path) -> list[str]:
    """Changed and new Python files that exist, relative to the root."""
    words = ["git", "status", "--porcelain", "--untracked-files=all", "--no-renames", "-z"]
    told = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout
    names = [entry[3:] for entry in told.split("\0") if entry]
    return sorted(name for name in names if name.endswith(".py") and (root / name).is_file())


def tests_of(name: str, root: Path) -> list[str]:
    """The tests that answer for one file, and the file itself where its examples are tests."""
    path = Path(name)
    if path.parts[0] == "tests":
        return [name] if path.name.startswith("test_") else []
    if path.parts[:2] != ("src", "vesalius"):
        return []
    folder = Path("tests", *path.parts[2:-1])
    own = sorted((root / folder).glob(f"test_{path.stem}*.py"))
    mirrored = [str(test.relative_to(root)) for test in own] or ([str(folder)] if len(folder.parts) > 1 and (root / folder).is_dir() else [])
    return [*mirrored, name]


def main() -> None:
    """One line of paths for the command line of pytest."""
    found = [*ALWAYS, *(test for name in changed(ROOT) for test in tests_of(name, ROOT))]
    print(" ".join(dict.fromkeys(found)))


if __name__ == "__main__":
    main()
