"""Sentences of the tests of trust, as the page tells them."""

from __future__ import annotations

from pathlib import Path

from vesalius.stages.report.facts import RunFacts, read_run
from vesalius.stages.report.trusted import SIGN, left_out, result_of, said
from vesalius.storage import atomic_json


def row(severity: str, text: str) -> dict[str, str]:
    return {"code": text, "severity": severity, "en": text, "zh": f"{text}。"}


def test_the_gravest_comes_first_and_is_marked() -> None:
    told = said({"sentences": [row("ok", "fine"), row("warning", "beware"), row("error", "wrong")]})
    assert [text.en for text in told] == [f"{SIGN}wrong", f"{SIGN}beware", "fine"] and told[2].zh == "fine。"


def test_what_does_not_apply_says_why() -> None:
    facts = RunFacts(Path("run"), trust={"leak": {"applies": False, "why": {"en": "no twins", "zh": "无"}}, "ok": {"applies": True}})
    section = left_out(facts, "leak", "split")
    assert section is not None and section.lead[0].en == "no twins"
    assert left_out(facts, "ok", "split") is None and left_out(facts, "absent", "split") is None and result_of(facts, "absent") is None


def test_the_record_is_read(tmp_path: Path) -> None:
    atomic_json(tmp_path / "trust.json", {"leak": {"applies": True}})
    assert read_run(tmp_path).trust == {"leak": {"applies": True}}
