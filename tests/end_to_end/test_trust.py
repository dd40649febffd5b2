"""Tests of trust are part of every fit: each was done or says why not, and the page shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vesalius.stages.trust import TRUST


@pytest.mark.slow
def test_every_test_of_trust_was_done_and_told(run: Path) -> None:
    record = json.loads((run / "trust.json").read_text(encoding="utf-8"))
    assert set(record) == set(TRUST.names())
    assert {name: found.get("why") for name, found in record.items() if found.get("failed")} == {}
    page = (run / "report.html").read_text(encoding="utf-8")
    for name in ("leak", "shortcuts", "sites"):
        assert f'<section id="{name}">' in page
    told = [row for found in record.values() for row in found.get("sentences", [])]
    assert told and all(row["severity"] in ("error", "warning", "info", "ok") and row["en"] and row["zh"] for row in told)
    seconds = json.loads((run / "environment.json").read_text(encoding="utf-8"))["seconds"]
    assert seconds["trust"] > 0
