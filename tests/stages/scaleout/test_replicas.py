"""Ray Serve replicas answer as the local process of a model does, refuse what is too much, and end what ends them."""

from __future__ import annotations

import json
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from stages.scaleout.test_ray import model
from stages.serve.clinicstandins import film
from vesalius.errors import FormatError, OptionError, RunError
from vesalius.mapping import Mapping
from vesalius.stages.scaleout.cluster import _signals_kept
from vesalius.stages.scaleout.replicas import Replica, ReplicaEngine
from vesalius.stages.serve.reading import read_series
from vesalius.stages.serve.work import Busy, Died
from vesalius.stages.serve.work.options import Options

pytest.importorskip("ray", reason="Ray (the extra 'ray') is not installed")
TORCH = Options(engine="torch", threads=1, queue=2)


def same(told: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert told["scores"] == pytest.approx(wanted["scores"], abs=1e-5)
    for name in ("label", "patient", "refused", "grid", "set", "urgency"):
        assert told[name] == (pytest.approx(wanted[name], abs=1e-5) if name == "urgency" else wanted[name]), name


class Handle:
    """A deployment whose answers are made here."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.read = answer, self

    def remote(self, message: dict[str, Any]) -> Handle:
        return self

    def result(self, timeout_s: float) -> dict[str, Any]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        made: dict[str, Any] = self.answer
        return made


def with_handle(answer: Any, **options: Any) -> ReplicaEngine:
    engine = ReplicaEngine({"lung": Path("model")}, 1, options=Options(**{"queue": 2} | options))
    engine._handles["lung"] = Handle(answer)
    return engine


@pytest.mark.slow
@pytest.mark.alone
def test_replicas_of_a_cluster_give_the_same_findings(tmp_path: Path) -> None:
    folder, image = model("classes", tmp_path / "model"), film(tmp_path / "a.dcm")
    wanted = read_series(Mapping.load(folder), [image], tmp_path / "local", name="lung", objects=("sr",))
    engine = ReplicaEngine({"lung": folder}, 2, options=Options(engine="torch", threads=1, queue=50))
    try:
        engine.start()
        engine.wait(300.0)
        assert engine.ready() == {"lung": True} and engine.facts("lung")["hash"] == wanted["model"]["hash"]
        full = engine.submit("lung", [image], tmp_path / "far", job="far", objects=("sr",))
        short: list[Future[dict[str, Any]]] = [engine.submit("lung", [image], None, job=f"q{i}") for i in range(8)]
        same(full.result(120), wanted)
        assert (tmp_path / "far" / "sr.dcm").is_file() and full.result()["id"] == "far"
        for each in short:
            same(each.result(120), wanted)
        (tmp_path / "none.dcm").write_bytes(b"")
        with pytest.raises(FormatError, match="the file is not DICOM.*got 0 bytes"):
            engine.submit("lung", [tmp_path / "none.dcm"], None, job="n").result(120)
    finally:
        engine.stop(10.0)
    with pytest.raises(Busy, match="the model is busy"):
        engine.submit("lung", [image], None, job="late")


def test_a_replica_reads_as_the_local_process_does(tmp_path: Path) -> None:

    folder, image = model("classes", tmp_path / "model"), film(tmp_path / "a.dcm")
    replica = Replica(json.loads(TORCH.to_json("lung", folder)))
    wanted = read_series(Mapping.load(folder), [image], tmp_path / "local", name="lung", objects=())
    message = {"id": 0, "files": [str(image)], "out": None, "job": "j", "objects": [], "force": False, "ids": None}
    same(replica.read(message)["finding"], wanted)
    same(replica.read(message | {"out": str(tmp_path / "far")})["finding"], wanted)
    assert (tmp_path / "far" / "finding.json").is_file() and replica.facts()["classes"] == ["normal", "ill"]
    (tmp_path / "b.dcm").write_bytes(b"")
    assert replica.read(message | {"files": [str(tmp_path / "b.dcm")]})["error"]["kind"] == "FormatError"
    broken = replica.read(message | {"files": None})["error"]
    assert broken["what"] == "the study could not be read" and broken["got"] == "TypeError"


def test_the_queue_is_bounded_and_a_model_that_is_not_warm_is_busy() -> None:
    engine = with_handle({"finding": {"id": "a"}})
    engine._running["lung"] = 2
    with pytest.raises(Busy, match="the model is busy: expected at most 2 readings at a time; come again later"):
        engine.submit("lung", [], None, job="a")
    engine._running["lung"] = 0
    assert engine.submit("lung", [], None, job="a").result(10) == {"id": "a"} and engine._running["lung"] == 0
    engine._handles.clear()
    with pytest.raises(Busy):
        engine.submit("lung", [], None, job="a")
    with pytest.raises(OptionError, match="unknown model 'lun': expected one of lung"):
        engine.submit("lun", [], None, job="a")


def test_errors_come_back_as_what_they_were() -> None:
    facts = {"kind": "FormatError", "what": "the file is empty", "expected": None, "got": "0 bytes", "do": None, "where": None}
    with pytest.raises(FormatError, match="the file is empty: got 0 bytes"):
        with_handle({"error": facts}).submit("lung", [], None, job="a").result(10)
    with pytest.raises(Died, match="the reading took too long; look at the study"):
        with_handle(TimeoutError()).submit("lung", [], None, job="a", timeout_s=3.0).result(10)


def test_a_study_that_ends_two_replicas_is_refused() -> None:
    import ray

    engine = with_handle(ray.exceptions.RayActorError())
    with pytest.raises(Died, match="the model's process died with this study"):
        engine.submit("lung", [], None, job="bad").result(10)
    with pytest.raises(Died, match="this study has ended the model's process before"):
        engine.submit("lung", [], None, job="bad")
    engine._handles["lung"] = Handle({"finding": {"id": "good"}})
    assert engine.submit("lung", [], None, job="good").result(10) == {"id": "good"}


def test_a_model_whose_replicas_do_not_start_says_why() -> None:
    engine = ReplicaEngine({"lung": Path("model")}, 1)
    engine._run = lambda name: (_ for _ in ()).throw(RunError("the model is damaged", where="/secret/place"))  # type: ignore[method-assign, assignment]
    engine._deployed = [engine._pool.submit(engine._deploy, "lung")]
    assert isinstance(engine._deployed[0].exception(10), RunError)
    assert engine.reasons() == {"lung": "the model is damaged"} and engine.ready() == {"lung": False}


def test_who_answers_signals_himself_goes_on_doing_so() -> None:
    def own(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, own), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _signals_kept():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is own and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def test_fewer_than_one_replica_is_refused() -> None:
    with pytest.raises(OptionError, match="there is no replica: expected --replicas of 1 or more, got 0"):
        ReplicaEngine({}, 0)
