"""Render a page to pictures and look at it: ``python tests/tools/render.py RUN/report.html OUT.png [WIDTH] [--dark]``.

Needs Chromium and, for Chinese, fonts such as Noto Sans CJK.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def chromium() -> str | None:
    """The browser's command, or None."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


def render(page: Path, out: Path, width: int = 1280, height: int = 6000, dark: bool = False) -> Path:
    """Write a PNG of the page as a headless Chromium shows it; RuntimeError when it does not."""
    browser = chromium()
    if browser is None:
        raise RuntimeError("Chromium is not installed")
    with tempfile.TemporaryDirectory() as home:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={home}", f"--window-size={width},{height}"]
        command += ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = subprocess.run([*command, f"--screenshot={out}", page.resolve().as_uri()], capture_output=True, text=True, timeout=120)
    if not out.is_file():
        raise RuntimeError(f"Chromium wrote no picture: {done.stderr[-500:]}")
    return out


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    size = int(words[2]) if len(words) > 2 else 1280
    sys.stdout.write(f"{render(Path(words[0]), Path(words[1]), size, dark='--dark' in sys.argv)}\n")
