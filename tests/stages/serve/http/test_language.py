"""Refusals that a reader meets arrive with a stable code and in the language that was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import page_site
from vesalius.errors import DataError
from vesalius.stages.serve.http.problems import of_error
from vesalius.stages.serve.node.refusal import refusal
from vesalius.stages.serve.site import Limits
from vesalius.stages.serve.work import Busy, Died

from .conftest import HERE, asking, film, signed, site_at_work, user

ZH = {"Accept-Language": "zh-CN, en;q=0.5"}
LIMITS = Limits(max_files=2, max_request_bytes=60_000)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    users = (user("ada", "reader"), user("pacs", "node"), user("old", "reader", expires=time.time() - 3600))
    with site_at_work(tmp_path_factory.mktemp("site"), users=users, limits=LIMITS) as service, asking(service) as client:
        yield client


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[page_site.Hospital]:
    made = page_site.Hospital(tmp_path_factory.mktemp("hospital"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def page(hospital: page_site.Hospital) -> TestClient:
    return TestClient(page_site.app_of(hospital), base_url=HERE)


def told(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status and answer.headers["Content-Type"] == "application/problem+json"
    held: dict[str, Any] = answer.json()
    assert held["code"] == code and held["status"] == status
    return held


def test_who_asks_is_told_in_chinese(guarded: TestClient) -> None:
    held = told(guarded.get("/v1/me", headers=ZH), 401, "unknown-user")
    assert held["title"] == "未登录" and held["detail"] == "站点不认识请求者" and held["do"] == "请向管理员索取令牌"
    held = told(guarded.get("/v1/me", headers=ZH | signed("old")), 401, "expired")
    assert held["detail"] == "令牌或证书已过期" and held["got"].startswith("已于 20")
    held = told(guarded.get("/v1/worklist", headers=ZH | signed("pacs")), 403, "role")
    assert held["detail"] == "角色为“node”的用户无权执行此操作" and held["expected"] == "角色 reader 或 admin"


def test_english_is_what_it_was_and_says_so(guarded: TestClient) -> None:
    answer = guarded.get("/v1/worklist", headers=signed("pacs"))
    assert told(answer, 403, "role")["detail"] == "a user of the role 'node' may not do this"
    assert answer.headers["Content-Language"] == "en" and answer.headers["Vary"] == "Accept-Language"
    assert guarded.get("/v1/worklist?lang=zh", headers=signed("pacs")).headers["Content-Language"] == "zh"


def test_what_is_too_much_or_no_image(guarded: TestClient) -> None:
    def send(*files: bytes) -> Any:
        return guarded.post("/v1/predict?wait=0", files=[("files", (f"{n}.dcm", data)) for n, data in enumerate(files)], headers=ZH | signed("ada"))

    assert told(send(bytes(70_000)), 413, "request-too-large")["expected"] == "最多 60,000 字节"
    assert told(send(b"1", b"2", b"3"), 413, "too-many-files")["do"] == "请分批发送"
    held = told(send(film()[:600]), 422, "damaged")
    assert held["detail"] == "文件不完整或已损坏" and held["do"] == "请重新获取，或将其排除" and "received" not in str(held)
    assert told(send(b"Dear colleague"), 422, "no-image-file")["got"] == "文本"


def test_findings_and_decisions(page: TestClient, hospital: page_site.Hospital) -> None:
    assert told(page.get("/v1/findings/none", headers=ZH), 404, "no-finding")["detail"] == "没有该编号的结果"
    job = hospital.add(page_site.document(study_uid="1.2.2"), page_site.film(1.0))
    assert told(page.get(f"/v1/findings/{job}/files/mask", headers=ZH), 404, "finding-lacks")["detail"] == "此结果没有掩膜"
    at = f"/v1/findings/{job}/decision"
    assert told(page.post(at, json={"action": "reject"}, headers=ZH), 422, "reason-needed")["expected"] == "备注"
    assert told(page.post(at, json={"action": "correct", "label": "flu"}, headers=ZH), 422, "no-such-class")["expected"] == "以下之一：normal, pneumonia"
    assert told(page.post(at, json={"action": "maybe"}, headers=ZH), 422, "invalid-field")["expected"].startswith("可取值：'accept'")
    assert told(page.post(at, json={"action": "accept", "seen": 7}, headers=ZH), 409, "decided-meanwhile")["do"] == "请重新打开，查看该决定后再作决定"
    assert told(page.get("/v1/nothing", headers=ZH), 404, "no-route")["detail"] == "没有该地址"


def test_a_mask_on_another_grid(page: TestClient, hospital: page_site.Hospital) -> None:
    organs = {"name": "organs", "hash": "ef" * 32, "kind": "mask", "classes": ["lung"]}
    image = page_site.chest()
    job = hospital.add(page_site.lungs(model=organs, study_uid="1.2.5"), image, mask=(image < -800).astype("uint8"))
    other = hospital.add(page_site.lungs(model=organs, study_uid="1.2.6"), image[:20], mask=(image[:20] < -800).astype("uint8"))
    data = (Path(hospital.folder) / "results" / other / "mask.nii.gz").read_bytes()
    held = told(page.put(f"/v1/findings/{job}/mask", content=data, headers=ZH), 422, "mask-shape")
    assert held["detail"] == "掩膜的形状与检查不同" and held["do"] == "请在此结果的影像上绘制"


def test_a_poisoned_job_and_a_full_queue(page: TestClient, hospital: page_site.Hospital) -> None:
    job = hospital.job("1.2.826.99", page_site.document(study_uid="1.9"))
    hospital.store.set_aside(job, "the model's process died twice with this job")
    held = page.get(f"/v1/jobs/{job}").json()
    assert held["reason"] == {"code": "poisoned", "en": held["error"], "zh": "模型进程因此任务两次终止"}
    full = Busy("there is more work than this service takes at a time", expected="at most 256 waiting", got="a full queue", do="send it again in a few seconds")
    assert b'"expected":"\xe6\x9c\x80\xe5\xa4\x9a 256' in of_error(full, "zh").body and of_error(full, "zh").status_code == 503
    assert "两次终止" in of_error(Died("the model's process died twice with this job"), "zh").body.decode()


def test_a_study_that_could_not_be_read_says_so_in_both(hospital: page_site.Hospital) -> None:
    job = hospital.store.job(hospital.job("1.2.826.98", page_site.document(study_uid="1.8")))
    (said,) = refusal(hospital.store, job, DataError("the series holds no image", expected="images", got="3 objects without", do="leave it out"))["refused"]
    assert said["code"] == "unreadable" and said["reason"] == "no-image-in-series"
    assert said["zh"] == "无法读取该检查：序列中没有影像：应为影像，实为 3 个对象，均不含影像；请将其排除"
