"""The supervisor: a bounded queue, deaths survived, poison known, hangs ended, nothing left behind. The process is a light one (tests/serving_light.py)."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from serving import TESTS, asked, until
from vesalius.errors import RunError
from vesalius.stages.serve.work import Busy, Died, Engine
from vesalius.stages.serve.work.options import Options

LIGHT = Options(module="serving_light", queue=40, backoff_s=0.02)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (TESTS, os.environ.get("PYTHONPATH")))))
    return tmp_path


@pytest.fixture
def engine(place) -> Iterator[Engine]:
    made = Engine({"films": place / "run"}, LIGHT)
    made.start()
    until(lambda: made.ready()["films"])
    yield made
    made.stop(1.0)


def test_the_queue_is_bounded_and_says_so(engine, place):
    slow = engine.submit("films", asked(place / "t", "sleep 1"), place / "slow", job="slow")
    made = [engine.submit("films", asked(place / "t", "fine"), place / f"q{i}", job=f"q{i}") for i in range(39)]
    with pytest.raises(Busy, match="more work than this service takes at a time: expected at most 40 waiting, got a full queue"):
        engine.submit("films", asked(place / "t", "fine"), place / "more", job="more")
    assert engine.metrics.registry.get_sample_value("vesalius_queue_full_total", {"model": "films"}) == 1
    assert all(future.result(60)["label"] == "fine" for future in made) and slow.result(1)["label"] == "sleep 1"


def test_a_caller_that_has_gone_is_not_worked_for(engine, place):
    engine.submit("films", asked(place / "t", "sleep 0.5"), place / "before", job="before")
    gone = engine.submit("films", asked(place / "t", "fine"), place / "gone", job="gone")
    assert gone.cancel()
    engine.submit("films", asked(place / "t", "fine"), place / "after", job="after").result(30)
    assert not (place / "gone").exists()


def test_the_job_that_kills_twice_is_known_and_every_other_is_done(engine, place):
    first = engine.facts("films")["pid"]
    killer = engine.submit("films", asked(place / "t", "kill"), place / "killed", job="killer")
    short = [engine.submit("films", asked(place / "t", "fine"), None, job=f"s{i}") for i in range(8)]
    full = [engine.submit("films", asked(place / "t", "fine"), place / f"beside{i}", job=f"f{i}") for i in range(3)]
    with pytest.raises(Died, match=r"died twice with this job \(films\); set the study aside"):
        killer.result(90)
    assert {future.result(90)["label"] for future in full} == {"fine"} and len([future.result(90) for future in short]) == 8
    assert engine.facts("films")["pid"] != first
    with pytest.raises(Died, match="died twice"):
        engine.submit("films", asked(place / "t", "fine"), place / "again", job="killer")


def test_a_process_killed_from_outside_comes_back_and_its_job_is_done_once(engine, place):
    made = engine.submit("films", asked(place / "t", "sleep 0.3"), place / "outside", job="outside")
    os.kill(engine.facts("films")["pid"], signal.SIGKILL)
    assert made.result(60)["label"] == "sleep 0.3"


def test_a_job_that_hangs_is_ended_and_those_behind_it_are_done(engine, place):
    stuck = engine.submit("films", asked(place / "t", "sleep 60"), place / "stuck", job="stuck", timeout_s=0.5)
    late = engine.submit("films", asked(place / "t", "fine"), place / "late", job="late", timeout_s=0.3)
    behind = engine.submit("films", asked(place / "t", "fine"), place / "behind", job="behind")
    with pytest.raises(Died, match="took too long and was ended"):
        stuck.result(30)
    with pytest.raises(Busy, match="waited too long"):
        late.result(30)
    assert behind.result(60)["label"] == "fine"


def test_stopping_finishes_what_is_there_takes_nothing_new_and_leaves_no_process(engine, place):
    made = engine
    pid = made.facts("films")["pid"]
    slow = [made.submit("films", asked(place / "t", "sleep 0.3"), place / f"end{i}", job=f"e{i}") for i in range(2)]
    never = made.submit("films", asked(place / "t", "sleep 50"), place / "never", job="never")
    ending = threading.Thread(target=made.stop, args=(3.0,))
    ending.start()
    until(lambda: made.workers["films"]._closed)
    with pytest.raises(Busy, match="going down"):
        made.submit("films", asked(place / "t", "fine"), place / "new", job="new")
    ending.join(30)
    assert not wait(slow, 0).not_done and {future.result()["label"] for future in slow} == {"sleep 0.3"}
    with pytest.raises(Busy, match="went down before this was done"):
        never.result(1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_never_becomes_ready_is_ended_and_started_again(place):
    made = Engine({"films": place / "slow-start"}, Options(module="serving_light", start_s=0.4, backoff_s=0.01, tries=2))
    made.start()
    try:
        until(lambda: (made.metrics.registry.get_sample_value("vesalius_model_restarts_total", {"model": "films"}) or 0) >= 2)
        with pytest.raises(RunError, match="ended before it was ready"):
            made.submit("films", asked(place / "t", "fine"), None, job="x").result(20)
        assert made.reasons() == {"films": "the model's process ended before it was ready: got nothing within 0.4 s"}
    finally:
        made.stop(0.1)


def test_how_a_process_ended_that_never_was_ready_is_told(place, caplog):
    made = Engine({"films": place / "ends"}, Options(module="serving_light", backoff_s=0.01, backoff_most_s=0.02, tries=1))
    made.start()
    try:
        until(lambda: made.workers["films"].error)
        assert made.reasons() == {"films": "the model's process ended before it was ready: got exit code 3"}
    finally:
        made.stop(0.1)
    said = [record.getMessage() for record in caplog.records if record.name == "vesalius.serve.work"]
    assert said == ["the model films does not start (1 in a row): the model's process ended before it was ready: got exit code 3"]


def test_the_process_ends_when_the_service_is_killed(place):
    ours = Engine({"films": place / "run"}, LIGHT)
    ours.start()
    until(lambda: ours.ready()["films"])
    pid = ours.facts("films")["pid"]
    ours.workers["films"]._ended = True
    child = ours.workers["films"]._child
    assert child is not None
    child.line.close()  # what a kill -9 of the service does to the socket
    until(lambda: child.process.poll() is not None, 10)
    assert child.pid == pid
    ours.stop(0.1)
