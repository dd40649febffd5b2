"""One small run that several tests look at, and a way to call the command line as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vesalius
from vesalius.phantoms import make_phantom

SOURCE = str(Path(vesalius.__file__).parents[1])
SHORT = ("--epochs", "3", "--size", "32", "--network", "small-cnn", "--precision", "32-true")
Command = Callable[..., subprocess.CompletedProcess]
LIMIT_S = 600.0
"""A command that takes longer is ended, and its test fails."""
FORKING = """
import json, os, sys, traceback
import vesalius.cli, vesalius.stages.fit, vesalius.stages.predict

def called(words, out, err):
    sys.argv = ["vesalius", *words]
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR), number)
    try:
        vesalius.cli.main()
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = called(*json.loads(line))
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from vesalius.cli import main; main()", *map(str, words)]


def again(data: object, out: object, plan: object) -> list[str]:
    """The words that fit by a plan that is given: what was measured for it is not measured again, so that two runs can be the same to the bit."""
    code = "import sys, vesalius; vesalius.fit(sys.argv[1], sys.argv[2], plan=sys.argv[3])"
    return [sys.executable, "-c", code, str(data), str(out), str(plan)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": SOURCE, "COLUMNS": "200"}


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run ``vesalius WORDS…`` in a process of its own: a child of one that has the libraries loaded, for loading them takes longer than most of
    what is asked here. The commands that are killed or timed are started whole, by `command`.
    """
    told = tmp_path_factory.mktemp("told")
    words = [sys.executable, "-c", FORKING]
    parent = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
    assert parent.stdin is not None and parent.stdout is not None

    def call(*words: object) -> subprocess.CompletedProcess:
        out, err = told / "out.txt", told / "err.txt"
        out.write_text(""), err.write_text("")
        overdue = threading.Timer(LIMIT_S, os.killpg, (parent.pid, signal.SIGKILL))
        overdue.start()
        parent.stdin.write(json.dumps([list(map(str, words)), str(out), str(err)]) + "\n")
        parent.stdin.flush()
        code = int(parent.stdout.readline())
        overdue.cancel()
        return subprocess.CompletedProcess(command(*words), code, out.read_text("utf-8"), err.read_text("utf-8"))

    yield call
    parent.stdin.close()
    parent.wait(timeout=60)


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
