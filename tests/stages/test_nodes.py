"""Several machines that share the run folder; here two processes of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import vesalius
from vesalius.errors import OptionError, RunError
from vesalius.phantoms import make_phantom
from vesalius.stages.nodes import help_training, node_rank
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder


def test_one_machine_is_the_first(monkeypatch):
    monkeypatch.setenv("NODE_RANK", "3")
    assert node_rank(Request(data="x")) == 0


def test_several_machines_must_be_told_apart(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OptionError, match="--nodes needs to know the machines.*no MASTER_ADDR, MASTER_PORT, NODE_RANK"):
        node_rank(Request(data="x", nodes=2))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(OptionError, match="expected 0 to 1, got 2"):
        node_rank(Request(data="x", nodes=2))
    with pytest.raises(OptionError, match="ranked on one machine"):
        node_rank(Request(data="x", nodes=2, network=("all",)))


def test_waiting_for_a_first_machine_that_never_comes_ends(tmp_path):
    with pytest.raises(RunError, match="the first machine did not get ready"):
        help_training(RunFolder(tmp_path), Request(data="x", nodes=2), lambda *_: None, wait_s=0.1)


@pytest.mark.slow
def test_two_machines_train_one_model(tmp_path):
    data = make_phantom("binary-folders", tmp_path / "phantom", seed=1, n=60).data
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["fit", str(data), "--out", str(tmp_path / "run"), "--nodes", "2", "--epochs", "2", "--size", "24", "--network", "small-cnn"]
    source = str(Path(vesalius.__file__).parents[1])
    both = []
    for rank in range(2):
        told = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(rank), "PYTHONPATH": source}
        code = [sys.executable, "-c", "from vesalius.cli import main; main()", *words]
        both.append(subprocess.Popen(code, env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ends = [each.communicate(timeout=400) for each in both]
    assert [each.returncode for each in both] == [0, 0], ends
    assert "trained along" in ends[1][0]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["looks_at_test"] == 1
