"""The store keeps every promise that the clinic rests on: nothing twice, nothing lost, nothing changed in silence."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from vesalius.errors import OptionError, RunError
from vesalius.stages.serve.store import Missing, Received, Store


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = Store(f"sqlite:///{tmp_path / 'vesalius.db'}", tmp_path)
    yield made
    made.close()


def received(store: Store, n: int, *, series: str = "1.2.1", study: str = "1.2", content: bytes | None = None, **header: Any) -> Received:
    data = content or f"object {series} {n}".encode()
    path = store.folder / "inbox" / f"{n}-{hashlib.sha256(data).hexdigest()[:8]}"
    path.write_bytes(data)
    facts = {"PatientID": "p1", "PatientName": "Weiß^Änne", "Modality": "CT", "StudyDate": "20240501", "InstanceNumber": str(n), "SeriesDescription": "Chest"}
    return Received(path, f"{series}.{n}", "1.2.840.10008.5.1.4.1.1.2", series, study, "1.2.840.10008.1.2.1", hashlib.sha256(data).hexdigest(), len(data),
                    facts | header, "VESALIUS", "SENDER", 100.0 + n)


def finding(label: str = "nodule", urgency: float = 0.5, **more: Any) -> dict[str, Any]:
    return {"schema": 1, "patient": {"id": "p1", "name": "Weiß^Änne"}, "label": label, "urgency": urgency, "model": {"name": "lung"}, "refused": []} | more


def test_objects_move_into_the_store_once(store: Store) -> None:
    first = [received(store, n) for n in (3, 1, 2)]
    assert store.add_objects(first) == [True, True, True]
    assert store.add_objects([received(store, 1)]) == [False]
    assert list((store.folder / "inbox").iterdir()) == []
    assert [path.read_bytes() for path in store.files_of("1.2.1")] == [b"object 1.2.1 3", b"object 1.2.1 1", b"object 1.2.1 2"]
    row = store.series_row("1.2.1")
    assert (row.instances, row.modality, row.first, row.last, row.called_ae) == (3, "CT", 103.0, 103.0, "VESALIUS")
    kept = store.object_row("1.2.1.2")
    assert kept.sha256 == hashlib.sha256(b"object 1.2.1 2").hexdigest() and kept.path.parent.name == kept.sha256[:2] and kept.header["PatientID"] == "p1"


def test_a_crash_between_file_and_row_is_mended_by_the_same_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    item = received(store, 1)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_insert", dies)
        with pytest.raises(KeyboardInterrupt):
            store.add_objects([item])
    assert item.path.exists() and store.have([item.sop_uid]) == set()
    assert store.add_objects([item]) == [True] and store.files_of("1.2.1")[0].read_bytes() == b"object 1.2.1 1"


def test_the_same_uid_with_other_content_is_set_aside(store: Store) -> None:
    store.add_objects([received(store, 1)])
    assert store.add_objects([received(store, 1, content=b"something else")]) == [False]
    (aside,) = store.refused()
    assert aside["path"].read_bytes() == b"something else" and "same SOPInstanceUID" in aside["reason"]
    assert store.files_of("1.2.1")[0].read_bytes() == b"object 1.2.1 1"


def test_two_patients_under_one_study_stop_it_until_a_person_readmits_it(store: Store) -> None:
    store.add_objects([received(store, 1)])
    job = store.enqueue("1.2.1", "lung")
    assert store.add_objects([received(store, 2, series="1.2.2", PatientID="p2")]) == [False]
    (aside,) = store.refused()
    assert "two patients" in aside["reason"] and aside["study_uid"] == "1.2" and aside["path"].exists()
    assert store.series_row("1.2.1").aside and store.list_series(unjudged=True) == [] and store.claim() is None
    store.readmit("1.2")
    claimed = store.claim()
    assert claimed is not None and claimed.id == job


def test_a_name_spelt_otherwise_is_the_same_patient_where_the_id_agrees(store: Store) -> None:
    assert store.add_objects([received(store, 1), received(store, 2, PatientName="Weiss^Aenne")]) == [True, True]
    assert store.add_objects([received(store, 3, study="1.9", series="1.9.1", PatientID=""),
                              received(store, 4, study="1.9", series="1.9.1", PatientID="", PatientName="Other")]) == [True, False]


def test_a_job_is_its_content(store: Store) -> None:
    store.add_objects([received(store, 1), received(store, 2)])
    job_id = store.enqueue("1.2.1", "lung", {"objects": ["seg"]})
    assert store.enqueue("1.2.1", "lung") == job_id and store.enqueue("1.2.1", "other") != job_id
    store.add_objects([received(store, 3)])
    later = store.enqueue("1.2.1", "lung")
    assert later != job_id
    old = store.job(job_id)
    assert len(store.files_of("1.2.1", old.upto)) == 2 and len(store.files_of("1.2.1", store.job(later).upto)) == 3 and old.route == {"objects": ["seg"]}


def test_jobs_are_claimed_once_by_many_threads(store: Store) -> None:
    for n in range(12):
        store.add_objects([received(store, 1, series=f"1.2.{n}")])
        store.enqueue(f"1.2.{n}", "lung")
    claimed: list[str] = []

    def take() -> None:
        while (job := store.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(claimed) == len(set(claimed)) == 12


def test_retry_waits_aside_waits_for_a_person_and_recover_queues_what_ran(store: Store) -> None:
    store.add_objects([received(store, 1)])
    job_id = store.enqueue("1.2.1", "lung", now=0)
    assert store.claim(10) is not None and store.claim(10) is None
    assert store.retry(job_id, "died", 50) == 1 and store.claim(49) is None
    job = store.claim(51)
    assert job is not None and (job.tries, job.error, job.state) == (1, "died", "running")
    assert store.recover() == 1 and store.job(job_id).state == "queued" and store.job(job_id).tries == 1
    store.set_aside(job_id, "poisoned")
    assert store.claim(1e12) is None and store.job(job_id).error == "poisoned"
    store.again(job_id)
    assert store.job(job_id).state == "queued" and store.job(job_id).tries == 0
    store.postpone(job_id, 99)
    assert store.claim(98) is None and store.job(job_id).tries == 0
    assert store.counts()["jobs"] == {"retry": 1}


def test_a_finding_and_what_leaves_become_visible_together_and_once(store: Store, tmp_path: Path) -> None:
    store.add_objects([received(store, 1)])
    job_id = store.enqueue("1.2.1", "lung")
    out = tmp_path / "results" / job_id
    leaving = [("pacs", out / "seg.dcm", "9.1", "1.2.840.10008.5.1.4.1.1.66.4")]
    store.finish(job_id, finding(), out, leaving)
    store.finish(job_id, finding("changed"), out, leaving)
    assert store.job(job_id).state == "done" and store.finding(job_id)["label"] == "nodule"
    assert [(item.sop_uid, item.path, item.state) for item in store.outgoing()] == [("9.1", out / "seg.dcm", "waiting")]
    assert store.folder_of(job_id) == out and store.finding(job_id)["outgoing"] == [{"peer": "pacs", "state": "waiting", "tries": 0, "sop_uid": "9.1"}]


def test_findings_are_sorted_and_searched_and_an_older_reading_steps_back(store: Store) -> None:
    for n, (label, urgency) in enumerate((("normal", 0.1), ("nodule", 0.9), ("mass", 0.5))):
        store.add_objects([received(store, 1, series=f"1.2.{n}")])
        store.finish(store.enqueue(f"1.2.{n}", "lung"), finding(label, urgency), "results")
    assert [item["label"] for item in store.findings()] == ["nodule", "mass", "normal"]
    assert [item["label"] for item in store.findings(text="WEISS")] == [item["label"] for item in store.findings(text="weiß")]
    assert [item["label"] for item in store.findings(text="änne MASS")] == ["mass"] and store.findings(text="100%") == []
    assert [item["label"] for item in store.findings(limit=1, offset=1)] == ["mass"]
    store.add_objects([received(store, 2, series="1.2.1")])
    newer = store.enqueue("1.2.1", "lung")
    store.finish(newer, finding("nodule 2", 0.9), "results")
    assert [item["label"] for item in store.findings()] == ["nodule 2", "mass", "normal"]
    assert {item["label"]: item["superseded_by"] for item in store.findings(superseded=True)}["nodule"] == newer


def test_an_older_reading_that_ends_late_does_not_replace_the_newer(store: Store) -> None:
    store.add_objects([received(store, 1)])
    old = store.enqueue("1.2.1", "lung")
    store.add_objects([received(store, 2)])
    new = store.enqueue("1.2.1", "lung")
    store.finish(new, finding("new"), "results")
    store.finish(old, finding("old"), "results")
    assert [item["label"] for item in store.findings()] == ["new"] and store.finding(old)["superseded_by"] == new


def test_a_refused_input_is_a_refused_finding_unless_forced(store: Store) -> None:
    for n, more in enumerate(({"refused": [{"code": "a"}]}, {"refused": [{"code": "a"}], "forced": True})):
        store.add_objects([received(store, 1, series=f"1.2.{n}")])
        store.finish(store.enqueue(f"1.2.{n}", "lung"), finding(**more), "results")
    assert sorted(item["state"] for item in store.findings()) == ["pending", "refused"]


def test_every_decision_is_kept_and_release_is_noted_with_what_leaves(store: Store, tmp_path: Path) -> None:
    store.add_objects([received(store, 1)])
    job_id = store.enqueue("1.2.1", "lung")
    store.finish(job_id, finding(), "results")
    store.decide(job_id, "dr", "reject", "motion")
    assert store.finding(job_id)["state"] == "rejected" and store.unreleased() == []
    store.decide(job_id, "dr", "correct", "", {"label": "mass"})
    assert store.unreleased() == [job_id]
    store.release(job_id, [("pacs", tmp_path / "a.dcm", "9.1", "1.2")])
    store.release(job_id, [("pacs", tmp_path / "a.dcm", "9.1", "1.2")])
    assert store.unreleased() == [] and len(store.outgoing()) == 1
    assert [(item.action, item.correction) for item in store.decisions(job_id)] == [("reject", None), ("correct", {"label": "mass"})]


def test_decisions_that_say_nothing_are_refused(store: Store) -> None:
    with pytest.raises(OptionError, match="unknown action 'sign': expected one of accept, correct, reject"):
        store.decide("x", "dr", "sign")
    with pytest.raises(OptionError, match="a correction says what is right"):
        store.decide("x", "dr", "accept", correction={"label": "a"})
    with pytest.raises(Missing, match="there is no finding of that id"):
        store.decide("x", "dr", "accept")
    with pytest.raises(Missing, match="there is no job of that id"):
        store.finish("x", {}, "results")
    with pytest.raises(Missing, match="there is no series of that UID"):
        store.enqueue("1.2.9", "lung")
    with pytest.raises(Missing, match="there is no instance of that UID"):
        store.object_row("1.2.9")


def test_the_outbox_waits_between_tries_and_knows_what_was_committed(store: Store) -> None:
    store.add_objects([received(store, 1)])
    job_id = store.enqueue("1.2.1", "lung")
    store.finish(job_id, finding(), "results", [("pacs", store.folder / f"{n}.dcm", f"9.{n}", "1.2") for n in range(3)])
    one, two, three = store.due()
    assert store.failed(one.id, "away", 1e12) == 1 and store.failed(two.id, "refused", None) == 1
    store.sent(three.id)
    assert [item.sop_uid for item in store.due()] == [] and [item.sop_uid for item in store.due(2e12)] == ["9.0"]
    assert [item.sop_uid for item in store.uncommitted("pacs", 1e12)] == ["9.2"]
    store.committed(["9.2", "9.0"], "pacs")
    assert {item.sop_uid: item.state for item in store.outgoing()} == {"9.0": "waiting", "9.1": "failed", "9.2": "committed"}


def test_matching_of_queries(store: Store) -> None:
    store.add_objects([received(store, 1), received(store, 2), received(store, 1, series="1.2.2", Modality="MR"),
                       received(store, 1, series="5.1.1", study="5.1", StudyDate="20240610", PatientID="p_2", PatientName="Li^Wei", AccessionNumber="A7")])

    def uids(level: str, query: dict[str, Any], key: str = "StudyInstanceUID") -> list[str]:
        return [item[key] for item in store.find(level, query)]

    assert uids("study", {}) == ["1.2", "5.1"] and uids("study", {"PatientName": "wei*"}) == ["1.2"] and uids("study", {"PatientName": "LI^WEI"}) == ["5.1"]
    assert uids("study", {"PatientID": "p_*"}) == ["5.1"] and uids("study", {"StudyDate": "20240502-"}) == ["5.1"]
    assert uids("study", {"StudyDate": "-20240501"}) == ["1.2"] and uids("study", {"StudyDate": "20240610", "AccessionNumber": ""}) == ["5.1"]
    assert uids("study", {"ModalitiesInStudy": "MR"}) == ["1.2"] and uids("study", {"StudyInstanceUID": ["1.2", "7"]}) == ["1.2"]
    assert uids("series", {"StudyInstanceUID": "1.2", "Modality": "MR"}, "SeriesInstanceUID") == ["1.2.2"]
    assert uids("instance", {"SeriesInstanceUID": "1.2.1"}, "SOPInstanceUID") == ["1.2.1.1", "1.2.1.2"]
    study = store.find("study", {"StudyInstanceUID": "1.2"})[0]
    assert (study["ModalitiesInStudy"], study["NumberOfStudyRelatedSeries"], study["NumberOfStudyRelatedInstances"]) == (["CT", "MR"], 2, 3)
    assert store.find("series", {}, limit=1, offset=1)[0]["NumberOfSeriesRelatedInstances"] == 1
    with pytest.raises(OptionError, match="'Modality' is not matched on at the level study"):
        store.find("study", {"Modality": "CT"})
    with pytest.raises(OptionError, match="unknown level 'patient'"):
        store.find("patient", {})


def test_the_audit_trail_shows_every_change(store: Store) -> None:
    for n in range(5):
        store.audit("dr", "view", f"finding {n}")
    assert store.audit_verify() == [] and [row.subject for row in store.audit_rows(3)] == ["finding 3", "finding 4"]
    for statement in ("UPDATE audit SET subject = 'x' WHERE n = 2", "DELETE FROM audit WHERE n = 2"):
        with pytest.raises(DatabaseError, match="append-only"), store.write() as connection:
            connection.execute(text(statement))
    with store.write() as connection:
        connection.execute(text("DROP TRIGGER audit_no_update"))
        connection.execute(text("DROP TRIGGER audit_no_delete"))
        connection.execute(text("UPDATE audit SET subject = 'x' WHERE n = 2"))
    assert store.audit_verify() == [2]
    with store.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE n = 4"))
    assert store.audit_verify() == [2, 4, 5] and store.audit_head()[0] == 5


def test_audit_rows_of_many_threads_make_one_chain(store: Store) -> None:
    threads = [threading.Thread(target=lambda k=k: [store.audit(f"u{k}", "view", str(n)) for n in range(10)]) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(store.audit_rows()) == 40 and store.audit_verify() == []


def test_sqlite_is_flushed_fully_and_opened_again_as_it_was(store: Store, tmp_path: Path) -> None:
    with store.read() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2 and connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    store.add_objects([received(store, 1)])
    store.close()
    again = Store(f"sqlite:///{tmp_path / 'vesalius.db'}", tmp_path)
    assert again.have(["1.2.1.1", "nothing"]) == {"1.2.1.1"}
    with again.write() as connection:
        connection.execute(text("UPDATE about SET value = '99'"))
    again.close()
    with pytest.raises(RunError, match="the database is of another schema"):
        Store(f"sqlite:///{tmp_path / 'vesalius.db'}", tmp_path)


def test_a_database_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "vesalius.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(RunError, match="the database cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'vesalius.db'}", tmp_path)


def test_the_oldest_of_what_was_refused_goes_first(store: Store) -> None:
    for n in range(6):
        path = store.folder / "inbox" / f"{n}"
        path.write_bytes(bytes(100))
        store.refuse(path, f"{n:064d}", "guard", f"reason {n}")
    assert store.bound_refused(1000, 100) == (0, 0) and len(store.refused()) == 6
    assert store.bound_refused(1000, 4) == (2, 200)
    assert [row["reason"] for row in store.refused()] == [f"reason {n}" for n in (5, 4, 3, 2)]
    assert store.bound_refused(299, 4) == (2, 200)
    assert sorted(path.name for path in (store.folder / "refused").iterdir()) == [f"{n:064d}.dcm" for n in (4, 5)]
    (store.folder / "refused" / f"{5:064d}.dcm").unlink()
    assert store.bound_refused(1000, 100) == (0, 0) and [row["reason"] for row in store.refused()] == ["reason 4"]
    assert store.bound_refused(50, 100) == (1, 100) and store.refused() == [] and list((store.folder / "refused").iterdir()) == []
