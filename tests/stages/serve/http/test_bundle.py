"""The page that lies in the package is the one that `web/` gives, whole, small, and without an address of anybody else."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
WEB, STATIC = ROOT / "web", ROOT / "src" / "vesalius" / "stages" / "serve" / "http" / "static"
SOURCES = ("src", "notices", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")
FILES = ["index.css", "index.html", "notices.html", "page.js"]
MOST_BYTES = 3_000_000


def source_hash(web: Path) -> str:
    """As `web/vite.config.ts` computes it."""
    paths = [path for name in SOURCES for path in ([web / name] if (web / name).is_file() else (web / name).rglob("*")) if path.is_file()]
    made = hashlib.sha256()
    for name in sorted(path.relative_to(web).as_posix() for path in paths):
        made.update(name.encode() + b"\0" + (web / name).read_bytes() + b"\0")
    return made.hexdigest()


def test_the_bundle_is_that_of_the_sources() -> None:
    recorded = re.search(r'name="source" content="([0-9a-f]{64})"', (STATIC / "index.html").read_text("utf-8"))
    assert recorded is not None and recorded[1] == source_hash(WEB), "the sources of the page have changed: run make page and commit both"


def test_another_source_gives_another_hash(tmp_path: Path) -> None:
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("node_modules"))
    assert source_hash(tmp_path / "web") == source_hash(WEB)
    (tmp_path / "web" / "src" / "main.ts").write_text("changed", "utf-8")
    assert source_hash(tmp_path / "web") != source_hash(WEB)


def test_the_bundle_is_complete_small_and_names_no_other_host() -> None:
    assert sorted(path.name for path in STATIC.iterdir()) == FILES
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < MOST_BYTES
    start = (STATIC / "index.html").read_text("utf-8")
    assert "<noscript>" in start and "http:" not in start and "https:" not in start
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", (STATIC / "index.css").read_text("utf-8"))


def test_the_licences_of_what_is_bundled_are_there() -> None:
    notices = (STATIC / "notices.html").read_text("utf-8")
    versions = json.loads((WEB / "package.json").read_text("utf-8"))["dependencies"]
    for name, version in versions.items():
        assert f"{name} {version} (BSD-2-Clause)" in notices
    assert notices.count("Copyright") >= 7


def test_the_lock_file_names_no_registry() -> None:
    lock = (WEB / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock and "registry" not in lock
    held = json.loads(lock)["packages"]
    assert all("integrity" in facts for name, facts in held.items() if name)


def _node_is_new() -> bool:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    major, minor = (int(part) for part in told.lstrip("v").split(".")[:2])
    return (major, minor) >= (20, 19)


@pytest.mark.slow
@pytest.mark.skipif(not _node_is_new(), reason="no Node 20.19 or newer")
def test_types_lint_unit_tests_and_the_same_bundle_again(tmp_path: Path) -> None:
    """The sources pass their own checks, and building them again gives the committed files byte for byte."""
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules"))
    if (WEB / "node_modules").is_dir():
        (web / "node_modules").symlink_to(WEB / "node_modules")
    elif _npm(web, "install", "--no-save", "--ignore-scripts").returncode:
        pytest.skip("the packages of the page cannot be fetched here")
    for words in (("run", "check"), ("test",), ("run", "build", "--", "--outDir", str(tmp_path / "static"), "--emptyOutDir")):
        done = _npm(web, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert filecmp.cmpfiles(STATIC, tmp_path / "static", FILES, shallow=False) == (FILES, [], [])


def _npm(web: Path, *words: str) -> subprocess.CompletedProcess[str]:
    quiet = os.environ | {"NO_COLOR": "1", "CI": "1"}
    return subprocess.run(["npm", *words], cwd=web, env=quiet, capture_output=True, text=True, timeout=240, check=False)
