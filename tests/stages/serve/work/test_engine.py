"""An engine with the real process of a model: findings as the mapping gives them, batches, refusals."""

import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import TESTS, asked, model_in, pictures_in, until
from vesalius.errors import DataError, FormatError, OptionError, RunError
from vesalius.stages.serve.work import Engine, process
from vesalius.stages.serve.work.lines import Line, error_from
from vesalius.stages.serve.work.options import Options

WRITING = "serving:writing"
CLOSE = 1e-5


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def mapping(place):
    return model_in(place / "run", members=2, mirror=(1,))


@pytest.fixture(scope="module")
def engine(place, mapping) -> Iterator[Engine]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (TESTS, before)))
    made = Engine({"films": place / "run"}, Options(engine="torch", threads=1, reader=WRITING, queue=40))
    made.start()
    until(lambda: made.ready()["films"])
    yield made
    made.stop(2.0)
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def test_short_readings_are_those_of_the_mapping_whatever_came_with_them(engine, mapping, place):
    files = pictures_in(place / "films", 30)
    made = [engine.submit("films", [path], None, job=path.name) for path in files]
    for path, future in zip(files, made, strict=True):
        found, expected = future.result(60), mapping(path)
        assert found["label"] == expected.label and found["id"] == path.name
        assert found["scores"] == pytest.approx(expected.scores, abs=CLOSE) and found["probability"] == pytest.approx(expected.probability, abs=CLOSE)
        assert found["model"] == {"name": "films", "hash": mapping.hash, "kind": "multiclass", "classes": ["healthy", "ill", "unclear"]}
        assert found["grid"] == {"shape": list(expected.grid.shape), "spacing_mm": None} and found["research_use"] == "A doctor decides."
    assert engine.metrics.registry.get_sample_value("vesalius_jobs_total", {"model": "films", "lane": "quick", "outcome": "done"}) >= 30
    assert any(engine.metrics.registry.get_sample_value("vesalius_batches", {"model": "films", "size": size}) for size in ("4", "16"))


def test_facts_name_the_model(engine, mapping):
    facts = engine.facts("films")
    assert facts["hash"] == mapping.hash and facts["kind"] == "multiclass" and facts["quick"] is True and facts["ndim"] == 2


def test_refusals_reach_the_caller_as_what_they_are(engine, place):
    empty = place / "empty.png"
    empty.write_bytes(b"")
    with pytest.raises(FormatError, match="the file is empty"):
        engine.submit("films", [empty], None, job="empty").result(30)
    with pytest.raises(DataError, match=r"no study of this kind \(0.txt\): expected a chest film, got a dog; send another"):
        engine.submit("films", asked(place / "t", "refuse"), place / "o0", job="refuse").result(30)
    with pytest.raises(DataError, match="the study could not be read: got ZeroDivisionError") as told:
        engine.submit("films", asked(place / "t", "break"), place / "o1", job="break").result(30)
    assert "Patient" not in str(told.value)
    with pytest.raises(OptionError, match="unknown model 'film': expected one of films"):
        engine.submit("film", [empty], None, job="x")


def test_a_full_reading_gets_its_folder_and_options(engine, place):
    found = engine.submit("films", asked(place / "t", "fine"), place / "full", job="j", objects=("seg",), force=True).result(30)
    assert found["label"] == "fine" and found["objects"] == ["seg"] and found["force"] is True and (place / "full" / "finding.json").is_file()


def test_a_model_that_cannot_be_loaded_is_told_and_its_jobs_are_answered(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    made = Engine({"none": tmp_path / "run"}, Options(engine="torch", reader="serving:writing", tries=1, backoff_s=30.0))
    made.start()
    try:
        waiting = made.submit("none", [tmp_path / "x.png"], None, job="x")
        with pytest.raises(RunError, match=r"the model cannot be started \(none\): got there is no plan"):
            waiting.result(60)
        with pytest.raises(RunError, match="the model cannot be started"):
            made.submit("none", [tmp_path / "x.png"], None, job="y")
        assert made.ready() == {"none": False}
    finally:
        made.stop(0.5)


def test_whatever_a_library_raises_while_a_model_loads_is_told_by_its_kind(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("Kanarienvogel")

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(process, "Process", broken)
    monkeypatch.setattr(process.logging, "disable", lambda level: None)
    with warnings.catch_warnings():
        assert process.main(theirs.detach(), "{}") == 2
    told = Line(ours).receive(5.0)["failed"]
    assert str(error_from(told)) == "the model cannot be loaded: got ZeroDivisionError; look at the model folder"
    ours.close()
