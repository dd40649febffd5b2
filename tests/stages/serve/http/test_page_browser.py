"""The reading page in a real browser: what a doctor sees is what was found, and what he draws is what is kept."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest

import page_browser
import page_site
from page_ward import Ward

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def grey(picture: np.ndarray, x: float, y: float) -> float:
    """Mean brightness of 3 x 3 pixels."""
    return float(picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean())


def hue(picture: np.ndarray, x: float, y: float) -> int:
    """How far from grey a pixel is: the largest channel minus the smallest."""
    return int(np.ptp(picture[int(y), int(x)].astype(int)))


def test_the_worklist_by_keys(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        page.goto(shown.url)
        rows = page.locator("tbody tr")
        rows.first.wait_for()
        assert [row.get_attribute("data-id") for row in rows.all()][:3] == [shown.ids["mask"], shown.ids["film"], shown.ids["boxes"]]
        page_browser.keep(page, "worklist")
        page.keyboard.press("/")
        page.keyboard.type("xiaoming")
        page.locator(f"tbody tr:only-child[data-id='{shown.ids['boxes']}']").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.locator(".canvas[data-ready]").wait_for()
        assert page.locator("h1").inner_text() == "Zhang, Xiaoming"
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Refused by the model").click()
        page.locator("input[type=search]").fill("")
        page.locator(f"tbody tr:only-child[data-id='{shown.ids['refused']}']").wait_for()
        assert "The model refuses this study" in page.locator("tbody").inner_text()


@pytest.mark.parametrize("name", ["straight", "turned"])
def test_boxes_and_masks_lie_on_what_they_mark(shown: Ward, name: str) -> None:
    """In every plane, also of tilted slices that were taken from left to right."""
    with page_browser.opened(shown.browser) as page:
        shown.read(page, name)
        for plane in "123":
            page.keyboard.press(plane)
            page.keyboard.press("c")
            page.locator(".boxlist .pick").nth(1).click()
            place = page.locator("g[data-box='1'] rect").first.bounding_box()
            page.keyboard.press("x")  # what lies below the outlines
            coloured = page_browser.shot(page, f"{name}-{plane}")
            page.keyboard.press("m")
            plain = page_browser.shot(page, f"{name}-{plane}-plain")
            page.keyboard.press("m")
            page.keyboard.press("x")
            x, y, w, h = (place[each] for each in ("x", "y", "width", "height"))
            inside = [(x + w * fx, y + h * fy) for fx in (0.15, 0.85) for fy in (0.15, 0.85)]
            outside = [(x - 7, y + h * 0.2), (x + w + 7, y + h * 0.2), (x + w * 0.2, y - 7), (x + w * 0.2, y + h + 7)]
            assert min(grey(plain, *each) for each in inside) > 220 and max(grey(plain, *each) for each in outside) < 40, plane
            assert all(hue(coloured, *each) > 60 for each in inside) and all(hue(coloured, *each) < 20 for each in outside), plane
            page.keyboard.press("Escape")


def test_colour_is_colour_and_has_no_window(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "colour")
        frame = page.locator(".canvas").bounding_box()
        picture = page_browser.shot(page, "colour")
        pixel = picture[int(frame["y"] + frame["height"] / 2), int(frame["x"] + frame["width"] / 2)].astype(int)
        assert pixel[0] > 1.7 * pixel[1] > 1.9 * pixel[2] > 0
        assert page.locator(".tools select").count() == 0
        page.keyboard.press("c")
        page.locator(".correction input[value=rash]").check()
        assert page.locator(".correction input:checked").count() == 2


def test_a_box_is_moved_resized_drawn_and_deleted(ward: Ward) -> None:
    with page_browser.opened(ward.browser) as page:
        ward.read(page, "boxes")
        page.keyboard.press("c")
        page.locator(".boxlist .pick").first.click()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("PageUp")
        handle = page.locator("g[data-box='0'] .handle").first.bounding_box()
        page.mouse.move(handle["x"] + 4, handle["y"] + 4)
        page.mouse.down()
        page.mouse.move(handle["x"] - 46, handle["y"] + 4, steps=4)
        page.mouse.up()
        page.get_by_role("button", name="Delete box 2").click()
        page.keyboard.press("n")
        frame = page.locator(".canvas").bounding_box()
        page.mouse.move(frame["x"] + frame["width"] * 0.6, frame["y"] + frame["height"] * 0.5)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] * 0.65, frame["y"] + frame["height"] * 0.6, steps=4)
        page.mouse.up()
        page_browser.keep(page, "boxes-edited")
        page.locator(".boxlist li").nth(1).locator("select").select_option("mass")
        page.locator("[data-action=save]").click()
        page.locator(".badge[data-state=corrected]").wait_for()
        page.reload()
        page.get_by_text("Shown: the correction by local").wait_for()
        page.locator(".canvas[data-ready]").wait_for()
        page.keyboard.press("c")
        assert page.locator(".boxlist .pick").all_inner_texts() == ["Box 1: nodule", "Box 2: mass"]
    first, second = ward.correction("boxes")["boxes"]
    z0, y0, x0, z1, y1, x1 = page_site.NODULES[0]
    low, high = first["box"][:3], first["box"][3:]
    assert low[:2] == [z0 + 1, y0] and high == [z1 + 1, y1 + 1, x1 + 1] and first["label"] == "nodule"
    assert x0 - 8 < low[2] < x0 - 2  # 50 pixels to the left are some 5 samples
    assert second["label"] == "mass" and all(0 <= a < b <= n for a, b, n in zip(second["box"][:3], second["box"][3:], page_site.SHAPE, strict=True))
    assert second["box"][2] > page_site.SHAPE[2] / 2  # drawn to the right of the middle


def test_a_mask_is_painted_where_the_pen_was(ward: Ward) -> None:
    folder = ward.hospital.store.folder_of(ward.ids["mask"])
    with page_browser.opened(ward.browser) as page:
        ward.read(page, "mask")
        page.keyboard.press("c")
        page.locator(".correction select").select_option("3")
        page.locator(".correction input[type=range]").fill("1")
        frame = page.locator(".canvas").bounding_box()
        x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2

        def dot(dx: float, dy: float) -> None:
            page.mouse.move(x + dx, y + dy)
            page.mouse.down()
            page.mouse.move(x + dx + 3, y + dy, steps=3)
            page.mouse.up()

        dot(120, 60)
        dot(-150, -150)
        page.keyboard.press("z")
        page_browser.keep(page, "mask-edited")
        page.locator("[data-action=save]").click()
        page.locator(".badge[data-state=corrected]").wait_for()
        with page.expect_response("**/files/corrected") as answer:
            page.reload()
        assert answer.value.status == 200
        page.locator(".canvas[data-ready]").wait_for()
    before: Any = nib.load(folder / "mask.nii.gz")
    after: Any = nib.load(folder / ward.correction("mask")["mask"])
    old, new = np.asarray(before.dataobj), np.asarray(after.dataobj)
    changed = np.argwhere(old != new)
    scale = min(frame["width"] / page_site.SHAPE[2], frame["height"] / page_site.SHAPE[1])
    wanted = np.array([page_site.SHAPE[2] / 2 + 120 / scale, page_site.SHAPE[1] / 2 + 60 / scale, page_site.SHAPE[0] / 2])
    assert 0 < len(changed) <= 6 and set(new[tuple(changed.T)]) == {3}
    assert (np.abs(changed.mean(0) + 0.5 - wanted) < 1.5).all(), (changed, wanted)


def test_overlays_are_switched_off(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "mask")
        frame = page.locator(".canvas").bounding_box()
        x, y = frame["x"] + frame["width"] * 0.62, frame["y"] + frame["height"] * 0.55
        coloured = page_browser.shot(page, "mask")[int(y), int(x)].astype(int)
        page.keyboard.press("m")
        plain = page_browser.shot(page, "mask-off")[int(y), int(x)].astype(int)
        assert np.ptp(coloured) > 20 and np.ptp(plain) <= 2
        assert not page.locator("[data-overlay=mask]").is_checked()
        assert page.locator(".legend li").all_inner_texts() == ["right lung", "left lung", "nodule"]
        page.locator(".legend button", has_text="nodule").click()
        assert "Slice 9 of 24" in page.locator("figcaption").inner_text()  # the first of those where the larger nodule is
        page.keyboard.press("4")
        page_browser.keep(page, "planes")
        page.keyboard.press("5")
        page_browser.keep(page, "volume")
        assert page.locator("[data-plane=render]").get_attribute("aria-pressed") == "true"


def test_the_wheel_and_the_arrows_go_through_the_slices(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "boxes")
        caption = page.locator("figcaption")
        assert "Slice 12 of 24" in caption.inner_text()  # through the surest box
        page.get_by_role("button", name="2 mass").click()
        assert "Slice 17 of 24" in caption.inner_text()
        page.get_by_role("button", name="1 nodule · 88 % · 12 × 12 × 15 mm").click()
        page.keyboard.press("ArrowUp")
        assert "Slice 13 of 24" in caption.inner_text()
        page.locator(".canvas canvas").hover()
        page.mouse.wheel(0, -100)
        page.locator("figcaption", has_text="Slice 12 of 24").or_(page.locator("figcaption", has_text="Slice 14 of 24")).wait_for()


def test_prior_study_heat_map_and_interval(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "film")
        text = page.locator(".answer").inner_text()
        assert "95 % interval 84 % to 97 %" in text and "calibrated on patients" in text and "The scanner is unlike" in text and "Research use" in text
        page.locator("button.prior", has_text="Show beside").wait_for()
        page.keyboard.press("h")
        page.keyboard.press("p")
        page.locator(".canvas[data-ready]").nth(1).wait_for()
        assert "2025-06-01: normal" in page.locator(".stage-title").inner_text()
        page_browser.keep(page, "prior")
        page.keyboard.press("p")
        assert page.locator(".stage").count() == 1


def test_decisions_need_what_they_need(ward: Ward) -> None:
    with page_browser.opened(ward.browser) as page:
        ward.read(page, "film")
        page.keyboard.press("r")
        page.get_by_role("alert").filter(has_text="why it is rejected").wait_for()
        page.keyboard.type("side marker")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.locator(".badge[data-state=rejected]").wait_for()
        assert "side marker" in page.locator(".past").inner_text()
        ward.hospital.store.decide(ward.ids["film"], "colleague", "reject", "another reason")
        page.expected = ["409"]
        page.keyboard.press("a")
        page.get_by_role("alert").filter(has_text="meanwhile").wait_for()
        page.locator(".past").filter(has_text="another reason").wait_for()
        assert [each.user for each in ward.hospital.store.decisions(ward.ids["film"])] == ["local", "colleague"]


def test_a_label_and_a_value_are_corrected(ward: Ward) -> None:
    with page_browser.opened(ward.browser) as page:
        ward.read(page, "unsure")
        assert "The model abstains" in page.locator(".answer").inner_text() and "rules nothing out" in page.locator(".set").inner_text()
        page.keyboard.press("c")
        page.locator("#right").select_option("severe")
        page.locator("[data-action=save]").click()
        page.locator(".badge[data-state=corrected]").wait_for()
        ward.read(page, "age")
        page.keyboard.press("c")
        page.locator("#right").fill("61")
        page.locator("[data-action=save]").click()
        page.locator(".badge[data-state=corrected]").wait_for()
    assert ward.correction("unsure") == {"label": "severe"} and ward.correction("age") == {"label": "61"}


def test_an_unsaved_correction_is_not_lost_by_a_slip(shown: Ward) -> None:
    with page_browser.opened(shown.browser) as page:
        shown.read(page, "unsure")
        page.keyboard.press("c")
        page.locator("#right").select_option("severe")
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("link", name="Back to the worklist").click()
        page.wait_for_url(f"**/#/f/{shown.ids['unsure']}")
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.locator("[data-action=accept]").click()
        assert page.locator("#right").input_value() == "severe"
