"""A large volume with a mask in the page: it is shown, scrolled and drawn on, and its window changes, without a pass over the volume that nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import page_browser
import page_site
from page_ward import Ward
from vesalius.core.geometry import Grid

pytestmark = [pytest.mark.slow, pytest.mark.alone]
SHAPE = (96, 256, 256)
"""A twelfth of 300 x 512 x 512, so that software WebGL on two cores is done in seconds."""
SPOT = (60, 120, 80)
COUNTING = """() => {
    window.layers = 0;
    const layer = WebGL2RenderingContext.prototype.framebufferTextureLayer;
    WebGL2RenderingContext.prototype.framebufferTextureLayer = function (...args) { window.layers++; return layer.apply(this, args); };
}"""
"""Each slice of a texture that is drawn anew is one call."""


@pytest.fixture(scope="module")
def large(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    hospital = page_site.Hospital(tmp_path_factory.mktemp("large"))
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    image = np.where(((y - 128) / 110) ** 2 + ((x - 128) / 120) ** 2 < 1, 40, -1000).astype(np.int16) + np.zeros(SHAPE, np.int16)
    image += np.random.default_rng(0).integers(-20, 20, SHAPE, dtype=np.int16)
    labels = (((z - SPOT[0]) / 3) ** 2 + ((y - SPOT[1]) / 12) ** 2 + ((x - SPOT[2]) / 12) ** 2 < 1).astype(np.uint8)
    model = {"name": "lesion", "hash": "ef" * 32, "kind": "mask", "classes": ["lesion"]}
    sizes = [{"name": "volume_mm3", "class": "lesion", "value": 2412.7, "unit": "mm3"}]
    facts = page_site.lungs(label="lesion", probability=None, urgency=1.0, study_uid="1.2.5", model=model, measurements=sizes)
    job = hospital.add(facts, image, mask=labels, grid=Grid.plain(SHAPE, (1.0, 0.7, 0.7)))
    with page_site.serving(page_site.app_of(hospital)) as url:
        yield Ward(browser, url, hospital, {"large": job})
    hospital.store.close()


def test_a_large_volume_is_read_and_its_mask_corrected(large: Ward) -> None:
    with page_browser.opened(large.browser) as page:
        page.add_init_script(f"({COUNTING})()")
        with page.expect_response("**/files/image") as answer:
            large.read(page, "large")
        assert answer.value.headers["cache-control"] == "private, no-store" and answer.value.headers["content-type"] == "application/gzip"
        # The window comes with the file: the volume is drawn into its texture once, and no gradients are computed for a light that is not there.
        assert page.evaluate("window.layers") == SHAPE[0]
        caption = page.locator("figcaption")
        assert f"Slice {SPOT[0] + 1} of {SHAPE[0]}" in caption.inner_text()  # the middle slice has no lesion
        assert page.locator(".measured").inner_text().split() == ["lesion", "Volume", "2.41", "mL"]
        for _ in range(5):
            page.keyboard.press("ArrowUp")
        assert f"Slice {SPOT[0] + 6} of {SHAPE[0]}" in caption.inner_text()
        page.keyboard.press("w")
        page.locator("figcaption", has_text="from -1350 to 150 HU").wait_for()
        assert page.evaluate("window.layers") == 2 * SHAPE[0]
        page.keyboard.press("c")
        frame = page.locator(".canvas").bounding_box()
        page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] / 2 + 20, frame["y"] + frame["height"] / 2, steps=3)
        page.mouse.up()
        page.locator("[data-action=save]").click()
        page.locator(".badge[data-state=corrected]").wait_for()
    assert large.correction("large")["mask"].startswith("edited-")
