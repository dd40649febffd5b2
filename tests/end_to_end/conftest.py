"""One small run that several tests look at, and a way to call the command line as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vesalius
from vesalius.phantoms import make_phantom

SOURCE = str(Path(vesalius.__file__).parents[1])
SHORT = ("--epochs", "3", "--size", "32", "--network", "small-cnn", "--precision", "32-true")
Command = Callable[..., subprocess.CompletedProcess]


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from vesalius.cli import main; main()", *map(str, words)]


def again(data: object, out: object, plan: object) -> list[str]:
    """The words that fit by a plan that is given: what was measured for it is not measured again, so that two runs can be the same to the bit."""
    code = "import sys, vesalius; vesalius.fit(sys.argv[1], sys.argv[2], plan=sys.argv[3])"
    return [sys.executable, "-c", code, str(data), str(out), str(plan)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": SOURCE, "COLUMNS": "200"}


@pytest.fixture(scope="session")
def cli() -> Command:
    """Run ``vesalius WORDS…`` in a process of its own."""
    return lambda *words: subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=600)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of a phantom."""
    return Path(make_phantom("binary-folders", tmp_path_factory.mktemp("phantom") / "films", seed=1, n=90).data)


@pytest.fixture(scope="session")
def run(cli: Command, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the pictures."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    told = cli("fit", pictures, "--out", out, *SHORT)
    assert told.returncode == 0, told.stderr
    return out
