"""The run folder: claimed by one process, for one request."""

import os

import pytest

from vesalius.errors import RunError
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder


def test_the_same_request_goes_on_and_another_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.claimed(Request(data="x", seed=3)):
        assert run.facts()["request"]["seed"] == 3 and "torch" in run.facts()["versions"]
    with run.claimed(Request(data="x", seed=3, lang="zh")):
        pass
    with pytest.raises(RunError, match="belongs to another request .*expected seed = 3 as when it was started, got 4"), run.claimed(Request(data="x", seed=4)):
        pass


def test_two_processes_cannot_work_in_one_folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    request = Request(data="x")
    with run.claimed(request), pytest.raises(RunError, match="another process works in this run folder"), RunFolder(run.path).claimed(request):
        pass


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(RunError, match="the run folder holds something else"), RunFolder(tmp_path).claimed(Request(data="x")):
        pass
    assert os.listdir(tmp_path) == ["thesis.docx"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="the run folder cannot be written"), RunFolder(tmp_path / "file" / "run").claimed(Request(data="x")):
        pass
