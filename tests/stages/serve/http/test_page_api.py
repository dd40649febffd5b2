"""What the page asks for: rows, findings, files, priors, decisions and masks, over a real store."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient

import page_site

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[page_site.Hospital, dict[str, str], TestClient]]:
    hospital, ids = page_site.full(tmp_path_factory.mktemp("site"))
    with TestClient(page_site.app_of(hospital)) as client:
        yield hospital, ids, client
    hospital.store.close()


def answer(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def mask_bytes(array: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    image: Any = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    return gzip.compress(image.to_bytes(), mtime=0)


def test_the_worklist_is_sorted_by_urgency_and_filtered(site: Any) -> None:
    _, ids, client = site
    rows = answer(client.get("/v1/worklist?state=pending"))["rows"]
    assert [row["urgency"] for row in rows] == sorted((row["urgency"] for row in rows), reverse=True)
    assert rows[0]["id"] == ids["mask"] and ids["refused"] not in {row["id"] for row in rows}
    assert [row["id"] for row in answer(client.get("/v1/worklist", params={"state": "refused"}))["rows"]] == [ids["refused"]]
    assert [row["id"] for row in answer(client.get("/v1/worklist", params={"q": "xiaoming nodule"}))["rows"]] == [ids["boxes"]]
    some = answer(client.get("/v1/worklist?limit=2"))
    assert len(some["rows"]) == 2 and some["more"] is True
    assert {"patient", "label", "probability", "state", "kind", "received", "abstain"} <= set(some["rows"][0])
    assert answer(client.get("/v1/worklist?state=finished"), 422)["detail"] == "'query.state' cannot be used"


def test_a_finding_tells_nothing_of_this_machine(site: Any) -> None:
    _, ids, client = site
    document = answer(client.get(f"/v1/findings/{ids['film']}"))
    assert document["label"] == "pneumonia" and document["decisions"] == [] and "folder" not in document
    assert answer(client.get("/v1/findings/no-such"), 404)["detail"] == "there is no finding of that id"
    assert answer(client.get("/v1/me")) == {"name": "local", "role": "admin", "models": ["films", "lung"], "version": page_site.reading.__version__}


def test_files_come_as_they_lie_and_are_not_kept_by_the_browser(site: Any) -> None:
    hospital, ids, client = site
    got = client.get(f"/v1/findings/{ids['film']}/files/heat")
    assert got.content == (hospital.store.folder_of(ids["film"]) / "heat.nii.gz").read_bytes()
    assert got.headers["cache-control"] == "private, no-store" and got.headers["content-type"] == "application/gzip"
    assert client.get(f"/v1/findings/{ids['film']}/files/picture").headers["content-type"] == "image/png"
    assert answer(client.get(f"/v1/findings/{ids['film']}/files/mask"), 404)["detail"] == "this finding has no mask"
    answer(client.get(f"/v1/findings/{ids['film']}/files/finding.json"), 422)


def test_priors_are_earlier_studies_of_the_same_patient(site: Any) -> None:
    _, ids, client = site
    assert [row["id"] for row in answer(client.get(f"/v1/findings/{ids['film']}/prior"))["priors"]] == [ids["prior"]]
    assert answer(client.get(f"/v1/findings/{ids['prior']}/prior"))["priors"] == []


def test_strangers_without_an_identifier_never_stand_side_by_side(tmp_path: Path) -> None:
    hospital = page_site.Hospital(tmp_path)
    nobody = {"id": "", "name": ""}
    hospital.add(page_site.document(study_uid="1.1", patient=nobody, study_date="20200101"), page_site.film(0))
    later = hospital.add(page_site.document(study_uid="1.2", patient=nobody), page_site.film(0))
    assert page_site.reading.priors_of(hospital.store, hospital.store.finding(later)) == []
    hospital.store.close()


def test_priors_of_the_same_kind_of_study_come_first(tmp_path: Path) -> None:
    hospital = page_site.Hospital(tmp_path)
    studies = (("hand", "20250101", "HAND"), ("old", "20200101", "CHEST"), ("late", "20240101", "CHEST"), ("now", "20260101", "CHEST"))
    made = {name: hospital.add(page_site.document(study_uid=f"1.{n}", study_date=date, body_part=part), page_site.film(0))
            for n, (name, date, part) in enumerate(studies)}
    priors = page_site.reading.priors_of(hospital.store, hospital.store.finding(made["now"]))
    assert [each["id"] for each in priors] == [made["late"], made["old"], made["hand"]]
    hospital.store.close()


def decide(client: TestClient, finding: str, status: int = 200, **facts: Any) -> Facts:
    made: Facts = answer(client.post(f"/v1/findings/{finding}/decision", json=facts), status)
    return made


def test_decisions_are_kept_and_released(tmp_path: Path) -> None:
    hospital, ids = page_site.full(tmp_path)
    client = TestClient(page_site.app_of(hospital))
    accepted = decide(client, ids["film"], action="accept", comment=" seen ", seen=0)
    first = accepted["decisions"][0]
    assert accepted["state"] == "accepted" and (first["user"], first["action"], first["comment"]) == ("local", "accept", "seen")
    assert [which for which, _ in hospital.released] == [ids["film"]]
    assert "meanwhile" in decide(client, ids["film"], 409, action="accept", seen=0)["detail"]
    rejected = decide(client, ids["film"], action="reject", comment="another patient", seen=1)
    assert rejected["state"] == "rejected" and len(rejected["decisions"]) == 2 and len(hospital.released) == 1
    corrected = decide(client, ids["unsure"], action="correct", label="severe")
    assert corrected["state"] == "corrected" and hospital.store.decisions(ids["unsure"])[0].correction == {"label": "severe"}
    rows = list(csv.DictReader((tmp_path / "truth" / "grades" / "labels.csv").open(encoding="utf-8")))
    assert [row["label"] for row in rows] == ["severe"]
    hospital.store.close()


@pytest.mark.parametrize(("name", "facts", "said"), [
    ("film", {"action": "reject", "comment": "  "}, "a rejection needs its reason"),
    ("film", {"action": "correct"}, "the correction says nothing"),
    ("film", {"action": "accept", "label": "normal"}, "to accept changes nothing"),
    ("refused", {"action": "accept"}, "the model refused this study"),
    ("film", {"action": "correct", "label": "zebra"}, "class"),
    ("age", {"action": "correct", "label": "old"}, "number"),
    ("boxes", {"action": "correct", "boxes": [{"box": [30, 0, 0, 40, 9, 9], "label": "nodule"}]}, "box"),
    ("boxes", {"action": "correct", "boxes": [{"box": [1, 1, 1, 2, 2, 2], "label": "zebra"}]}, "class"),
    ("mask", {"action": "correct", "mask": "0" * 64}, "mask"),
    ("film", {"action": "sign"}, "body.action"),
    ("film", {"action": "accept", "signature": "x"}, "body.signature"),
    ("boxes", {"action": "correct", "boxes": [{"box": [1, 2, 3], "label": "nodule"}]}, "body.boxes"),
])
def test_impossible_decisions_are_refused_and_change_nothing(site: Any, name: str, facts: Facts, said: str) -> None:
    hospital, ids, client = site
    before = hospital.store.finding(ids[name])["state"]
    assert said in decide(client, ids[name], 422, **facts)["detail"]
    assert hospital.store.finding(ids[name])["state"] == before


def test_corrected_boxes_are_kept(tmp_path: Path) -> None:
    hospital, ids = page_site.full(tmp_path)
    client = TestClient(page_site.app_of(hospital))
    boxes = [{"box": [8.5, 20, 16, 14, 32, 28], "label": "mass"}]
    assert decide(client, ids["boxes"], action="correct", boxes=boxes)["state"] == "corrected"
    assert hospital.store.decisions(ids["boxes"])[0].correction == {"boxes": boxes}
    assert decide(client, ids["boxes"], action="correct", boxes=[], seen=1)["state"] == "corrected"  # nothing is there after all
    hospital.store.close()


def test_an_edited_mask_is_kept_on_the_grid_of_the_image_and_becomes_truth(tmp_path: Path) -> None:
    hospital, ids = page_site.full(tmp_path)
    client = TestClient(page_site.app_of(hospital))
    labels = np.zeros(page_site.SHAPE[::-1], np.uint8)
    labels[10:20, 30:40, 5:9] = 3
    name = answer(client.put(f"/v1/findings/{ids['mask']}/mask", content=mask_bytes(labels)))["mask"]
    kept: Any = nib.load(hospital.store.folder_of(ids["mask"]) / f"edited-{name}.nii.gz")
    image: Any = nib.load(hospital.store.folder_of(ids["mask"]) / "image.nii.gz")
    assert np.array_equal(np.asarray(kept.dataobj), labels) and np.allclose(kept.affine, image.affine)
    assert answer(client.put(f"/v1/findings/{ids['mask']}/mask", content=mask_bytes(labels)))["mask"] == name
    assert decide(client, ids["mask"], action="correct", mask=name)["state"] == "corrected"
    corrected = client.get(f"/v1/findings/{ids['mask']}/files/corrected")
    assert corrected.content == (hospital.store.folder_of(ids["mask"]) / f"edited-{name}.nii.gz").read_bytes()
    assert client.get(f"/v1/findings/{ids['film']}/files/corrected").status_code == 404
    truth: Any = nib.load(next((tmp_path / "truth" / "organs" / "labelsTr").glob("*.nii.gz")))
    assert np.array_equal(np.asarray(truth.dataobj), labels)
    hospital.store.close()


SPATIAL = page_site.SHAPE[::-1]


@pytest.mark.parametrize(("finding", "body", "status", "said"), [
    ("mask", b"no mask at all", 422, "no NIfTI"),
    ("mask", gzip.compress(b"short"), 422, "no NIfTI"),
    ("mask", gzip.compress(bytes(2_000_000)), 422, "larger than one of this study"),
    ("mask", bytes(2_000_000), 413, "larger than one of this study"),
    ("mask", mask_bytes(np.zeros((4, 4, 4), np.uint8)), 422, "another shape"),
    ("mask", mask_bytes(np.full(SPATIAL, 9, np.uint8)), 422, "stand for no class"),
    ("mask", mask_bytes(np.full(SPATIAL, 0.5, np.float32)), 422, "stand for no class"),
    ("mask", mask_bytes(np.full(SPATIAL, 1j, np.complex64)), 422, "holds no numbers"),
    ("film", mask_bytes(np.zeros((96, 120, 1), np.uint8)), 422, "gives no masks"),
])
def test_masks_that_do_not_fit_are_refused(site: Any, finding: str, body: bytes, status: int, said: str) -> None:
    hospital, ids, client = site
    assert said in answer(client.put(f"/v1/findings/{ids[finding]}/mask", content=body), status)["detail"]
    assert not list(hospital.store.folder_of(ids[finding]).glob("edited-*"))


def test_the_page_may_load_nothing_from_elsewhere(site: Any) -> None:
    client = site[2]
    start = client.get("/")
    policy = start.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
    assert start.headers["x-content-type-options"] == "nosniff" and start.headers["referrer-policy"] == "no-referrer"
    assert client.get("/", headers={"If-None-Match": start.headers["etag"]}).status_code == 304
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/missing.js").status_code == 404 and client.get("/..%2freading.py").status_code == 404
