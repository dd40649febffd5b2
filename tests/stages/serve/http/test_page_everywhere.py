"""The reading page in every language, colour and width, for everybody, and where something is missing."""

from __future__ import annotations

from typing import Any

import pytest

import page_browser
import page_site
from page_ward import Ward

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_chinese_and_dark_are_remembered(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "refused")
        page.get_by_role("button", name="中文").click()
        page.get_by_role("button", name="配色").click()
        page.get_by_role("button", name="配色").click()
        assert "与所有训练影像相距甚远" in page.locator(".refusal").inner_text()
        assert page.locator("[data-action=accept]").is_disabled()
        page.reload()
        page.locator(".canvas[data-ready]").wait_for()
        page_browser.keep(page, "refused-zh-dark")
        assert page.locator("html").get_attribute("lang") == "zh-CN" and page.locator("html").get_attribute("data-theme") == "dark"
        assert page.locator("#research").inner_text() == "仅供研究使用：由医生作出决定。"
        page.keyboard.press("?")
        assert "翻层" in page.locator("dialog").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_violation_of_accessibility(shown: Ward, tmp_path: Any, scheme: str) -> None:
    axe = page_browser.axe_source(tmp_path / "axe")
    with page_browser.opened(shown.browser, color_scheme=scheme, locale="zh-CN" if scheme == "dark" else "en-GB") as page:
        page.goto(shown.url)
        page.locator("tbody tr").first.wait_for()
        assert page_browser.violations(page, axe) == []
        for name in ("film", "boxes", "mask", "refused", "unsure") if scheme == "light" else ("boxes", "refused"):
            shown.read(page, name)
            page.keyboard.press("c")
            page_browser.keep(page, f"{name}-{scheme}")
            assert page_browser.violations(page, axe) == [], name
        page.keyboard.press("?")
        assert page_browser.violations(page, axe) == []


def test_what_no_model_could_read_is_told(ward: Ward) -> None:
    store = ward.hospital.store
    job = ward.hospital.job("1.2.826.99", page_site.document(study_uid="1.9"))
    store.set_aside(job, "the model's process died twice with this job")
    with page_browser.opened(ward.browser) as page:
        page.goto(ward.url)
        page.get_by_text("Series that could not be read, for the administrator: 1").click()
        assert "Model films: the model's process died twice" in page.locator(".aside li").inner_text()
        page.get_by_role("button", name="中文").click()
        page.locator(".aside li", has_text="模型 films：模型进程因此任务两次终止").wait_for()
        assert page.title() == "Vesalius: 工作列表"


def test_errors_come_in_the_language_of_the_page(ward: Ward) -> None:
    with page_browser.opened(ward.browser, locale="zh-CN") as page:
        ward.read(page, "colour")
        ward.hospital.store.decide(ward.ids["colour"], "colleague", "accept", "")
        page.expected = ["409"]
        page.keyboard.press("a")
        page.get_by_role("alert").filter(has_text="其间已有他人对此结果作出决定；请重新打开，查看该决定后再作决定").wait_for()


def test_a_narrow_screen_shows_everything_in_one_column(shown: Ward) -> None:
    with page_browser.opened(shown.browser, viewport={"width": 390, "height": 844}) as page:
        page.goto(shown.url)
        page.locator("tbody tr").first.wait_for()
        page_browser.keep(page, "narrow-list")
        shown.read(page, "film")
        page_browser.keep(page, "narrow")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(".side").bounding_box()["y"] > page.locator(".canvas").bounding_box()["y"]


def test_without_javascript_there_is_a_clear_answer(shown: Ward) -> None:
    with page_browser.opened(shown.browser, java_script_enabled=False) as page:
        page.goto(shown.url)
        text = page.locator("main").inner_text()
        assert "This page needs JavaScript" in text and "此页面需要 JavaScript" in text and "Nothing is lost" in text
        page_browser.keep(page, "no-javascript")


def test_a_service_that_went_away_loses_nothing(ward: Ward) -> None:
    with page_browser.opened(ward.browser) as page:
        ward.read(page, "unsure")
        page.route("**/v1/**", lambda route: route.abort())
        page.expected = ["ERR_FAILED"]
        page.keyboard.press("a")
        page.get_by_role("alert").filter(has_text="does not answer").wait_for()
        page.unroute("**/v1/**")
        page.keyboard.press("a")
        page.locator(".badge[data-state=accepted]").wait_for()


def test_without_webgl_a_picture_stands_in(launch: Any, ward: Ward) -> None:
    with page_browser.opened(launch(*page_browser.NO_GL)) as page:
        page.goto(f"{ward.url}/#/f/{ward.ids['prior']}")
        page.locator(".still img").wait_for()
        assert "WebGL 2 is missing" in page.locator(".stage").inner_text()
        page_browser.keep(page, "no-webgl")
        page.keyboard.press("a")
        page.locator(".badge[data-state=accepted]").wait_for()
