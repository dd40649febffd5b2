"""A heat map that nobody asked for by name is one that passed its test."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vesalius.stages.explain import trusted_map

PASSED, FAILED = {"shown": True, "tested": True}, {"shown": False, "tested": True}
LATE = {"shown": True, "tested": False}


@pytest.mark.parametrize(("methods", "name"), [
    ({"gradcam": PASSED, "occlusion": PASSED}, "gradcam"),
    ({"gradcam": FAILED, "occlusion": PASSED}, "occlusion"),
    ({"gradcam": FAILED, "occlusion": LATE, "integrated-gradients": PASSED}, "integrated-gradients"),
    ({"gradcam": LATE, "occlusion": FAILED}, "gradcam"),
    ({"gradcam": FAILED, "occlusion": FAILED}, None),
    ({"gradcam": FAILED, "of a later version": PASSED}, None),
    ({}, "gradcam"),
])
def test_the_first_that_passed(tmp_path: Path, methods: dict[str, Any], name: str | None) -> None:
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain" / "warrant.json").write_text(json.dumps({"methods": methods, "by_default": ["gradcam", "occlusion"]}))
    assert trusted_map(SimpleNamespace(folder=tmp_path / "model")) == name


def test_a_model_without_a_record_shows_gradcam(tmp_path: Path) -> None:
    assert trusted_map(SimpleNamespace(folder=tmp_path / "model")) == "gradcam" == trusted_map(SimpleNamespace(folder=None))
