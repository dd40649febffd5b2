"""A real browser for tests of the reading page: Chromium of the system through Playwright, with software WebGL."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
NO_GL = ("--disable-gpu", "--disable-3d-apis")
SHOTS = os.environ.get("VESALIUS_SHOTS")
"""A folder for pictures of the page; none are kept when it is not set."""
WEB = Path(__file__).resolve().parents[1] / "web"
WAIT_MS = 30_000


@contextmanager
def chromium() -> Iterator[Callable[..., Any]]:
    """Starts the system's Chromium with given flags, as often as asked; the test is skipped where it or Playwright is missing."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    started: list[Any] = []
    with playwright.sync_playwright() as running:
        def launch(*flags: str) -> Any:
            started.append(running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags]))
            return started[-1]

        try:
            yield launch
        finally:
            for browser in started:
                browser.close()


@contextmanager
def opened(browser: Any, **facts: Any) -> Iterator[Any]:
    """A page of its own; at the end nothing may have been written to the console as an error, refusals of the content policy among them."""
    context = browser.new_context(**({"viewport": {"width": 1100, "height": 700}, "locale": "en-GB", "color_scheme": "light"} | facts))
    context.set_default_timeout(WAIT_MS)
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.expected = []  # what a test provokes on purpose
    try:
        yield page
        left = [text for text in wrong if not any(part in text for part in page.expected)]
        assert left == [], left
    finally:
        context.close()


def shot(page: Any, name: str) -> np.ndarray:
    """What the page shows, ``[Y, X, 3]``; kept as a file where that is asked for."""
    data = page.screenshot()
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        (Path(SHOTS) / f"{name}.png").write_bytes(data)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def keep(page: Any, name: str) -> None:
    """A picture for people, where one is asked for."""
    if SHOTS:
        shot(page, name)


def axe_source(folder: Path) -> str:
    """axe-core of the version that `web/package.json` names, from `web/node_modules` or fetched into ``folder``; skips where neither can be had."""
    here = WEB / "node_modules" / "axe-core" / "axe.min.js"
    if not here.is_file():
        if shutil.which("npm") is None:
            pytest.skip("axe-core is not there and npm neither")
        told = (WEB / "package.json").read_text("utf-8").split('"axe-core": "')[1].split('"')[0]
        words = ["npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), f"axe-core@{told}"]
        if subprocess.run(words, capture_output=True, timeout=120, check=False).returncode:
            pytest.skip("axe-core cannot be fetched here")
        here = folder / "node_modules" / "axe-core" / "axe.min.js"
    return here.read_text("utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """Serious and critical violations of WCAG 2 A and AA and of best practice that axe finds, with the elements."""
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations.map((v) => ({id: v.id, impact: v.impact, nodes: v.nodes.map((n) => n.html)}))")
    return [f"{each['id']}: {each['nodes'][:3]}" for each in found if each["impact"] in ("serious", "critical")]
