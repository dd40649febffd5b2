"""The sections of sets, abstaining and doubtful labels: what the record says stands in the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.texts import say
from vesalius.stages.report.trust_conformal import conformal
from vesalius.stages.report.trust_doubtful import doubtful
from vesalius.stages.report.trust_selective import selective

FIGURE = {"value": 0.91, "low": 0.85, "high": 0.95, "n_images": 120, "n_patients": 60}
SAID = [{"code": "c", "severity": "warning", "en": "Beware.", "zh": "注意。"}]
CONFORMAL = {
    "error": 0.1, "sentences": SAID,
    "by_error": [{"error": 0.1, "coverage": FIGURE, "decided": FIGURE, "size": FIGURE, "error_decided": None, "error_all": FIGURE}],
    "classes": {"ill": {"n_patients": 40, "needed": 9, "bound": 0.8, "promised": [0.82, 0.96], "test": FIGURE},
                "rare": {"n_patients": 4, "needed": 9, "bound": None, "promised": [1.0, 1.0], "test": None}},
}
SELECTIVE = {
    "aurc": FIGURE, "aurc_best": FIGURE, "aurc_chance": 0.3, "curve": {"coverage": [0.5, 1.0], "risk": [0.0, 0.1]}, "sure": 0.95, "n_calibrated": 80,
    "promises": [{"error": 0.01, "threshold": None}, {"error": 0.05, "threshold": 0.7, "test": {"coverage": FIGURE, "error": None}}], "sentences": SAID,
}
DOUBTFUL = {"sentences": SAID, "cases": [
    {"id": "a<b>.png", "split": "test", "label": "ill", "likelier": "well", "p_likelier": 0.97, "convinced": True},
    {"id": "c.png", "split": "train", "label": "1", "likelier": "2", "p_likelier": None, "convinced": False},
]}


def facts(**trust: Any) -> RunFacts:
    return RunFacts(Path("run"), trust=trust)


def test_without_a_result_there_is_no_section() -> None:
    assert conformal(facts()) is None and selective(facts()) is None and doubtful(facts()) is None


def test_what_does_not_apply_says_why() -> None:
    why = {"applies": False, "why": {"en": "Too few.", "zh": "太少。"}}
    for make, name in ((conformal, "conformal"), (selective, "selective"), (doubtful, "doubtful")):
        made = make(facts(**{name: why}))
        assert made is not None and made.lead[0].en == "Too few." and not made.tables and made.title == say(f"h.{name}")


def test_sets_by_class_and_error() -> None:
    made = conformal(facts(conformal=CONFORMAL))
    assert made is not None and made.lead[0].en.endswith("Beware.")
    rows = [[cell.text.en for cell in row] for row in made.tables[0].rows]
    assert rows[0][:3] == ["ill", "40", "0.82 – 0.96"] and "0.91" in rows[0][3].replace(".910", "0.91") and rows[1][2:] == ["–", "–"]
    assert made.tables[1].rows[0][0].text.en == "10%" and made.tables[1].rows[0][4].text.en == "–"


def test_the_curve_and_the_thresholds() -> None:
    made = selective(facts(selective=SELECTIVE))
    assert made is not None and "polyline" in made.figures[0].svg and "80" in made.tables[0].caption.en
    assert made.tables[0].rows[0][1].text == say("selective.never") and made.tables[0].rows[1][1].text.en == "0.700"


def test_doubtful_labels_are_named_and_escaped() -> None:
    made = doubtful(facts(doubtful=DOUBTFUL))
    assert made is not None
    assert [cell.text.en for cell in made.tables[0].rows[0]] == ["a<b>.png", "Test", "ill", "well", "0.97", "yes"]
    assert "a&lt;b&gt;.png" in made.tables[0].rows[0][0].text.html()
    marked = doubtful(facts(doubtful={"sentences": [], "cases": [{"id": "m", "split": "test", "disagreement": 1.0, "en": "Dice 0.1", "zh": "Dice 0.1"}]}))
    assert marked is not None and marked.tables[0].rows[0][2].text.en == "Dice 0.1"
    assert doubtful(facts(doubtful={"sentences": [], "cases": []})).tables == ()
