from pathlib import Path

from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_subgroups import noise, subgroups
from vesalius.stages.trust import not_for, sentence


def figure(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n_patients": 40, "n_images": 40}


GROUPS = {
    "metric": "auc", "draws": 400, "n_patients": 84,
    "columns": {"site": {"groups": {"A": {"n_patients": 40, "n_images": 40, "figures": {"auc": figure(0.9), "sensitivity": figure(0.8)}},
                                    "B": {"n_patients": 40, "n_images": 40, "figures": {"auc": figure(0.7), "sensitivity": figure(0.6)}},
                                    "C": {"n_patients": 4, "n_images": 4, "figures": {}, "why": {"en": "4 patients", "zh": "4 名患者"}}}, "missing": 0},
                "empty": {"groups": {}, "missing": 84, "why": {"en": "it holds nothing", "zh": "空"}}},
    "gaps": [{"column": "site", "group": "A", "against": "", "value": 0.2, "low": 0.1, "high": 0.3, "p": 0.001, "p_holm": 0.002, "detectable": 0.15}],
    "worst": None, "sentences": [sentence("no", "ok", "fine", "好"), sentence("gap", "warning", "worse at B", "B 较差")],
}
BAND = {"metric": "auc", "from": "seeds", "n": 5, "band": {"auc": {"mean": 0.8, "sd": 0.012, "low": 0.78, "high": 0.82, "n": 5}}, "values": [], "least": 0.03,
        "sentences": [sentence("noise-seeds", "info", "five seeds", "五个种子")]}


def facts(**trust):
    return RunFacts(Path("run"), metrics={"test": {"auc": figure(0.8)}, "target": {"kind": "binary", "classes": ["a", "b"], "name": "x"}}, trust=trust)


def test_groups_gaps_and_what_is_too_small_are_shown():
    made = subgroups(facts(subgroups=GROUPS))
    assert made.title.en == "Is it as good for everyone?" and made.lead[0].en == "⚠ worse at B" and "400 draws" in made.lead[-1].en
    groups, gaps = made.tables
    assert [row[0].text.en for row in groups.rows] == ["site: A", "site: B", "site: C"] and groups.rows[2][2].text.zh == "4 名患者"
    assert "0.700" in groups.rows[1][2].text.en and [cell.en for cell in groups.head[2:]] == ["AUC", "sensitivity"]
    assert gaps.rows[0][0].text.en == "site: A less the others" and gaps.rows[0][0].text.zh == "site：A 减 其他" and gaps.rows[0][2].text.en == "0.002"
    assert "site: B" in str(made.figures[0].svg) and "site: C" not in str(made.figures[0].svg)


def test_the_band_of_seeds_is_shown():
    made = noise(facts(noise=BAND))
    assert made.lead[0].en == "five seeds" and [cell.text.en for cell in made.tables[0].rows[0]] == ["AUC", "0.800", "0.012", "0.780 … 0.820", "5"]


def test_absent_results_make_no_section_and_why_not_is_told():
    assert subgroups(facts()) is None and noise(facts()) is None
    why = not_for("no column", "没有列")
    assert subgroups(facts(subgroups=why)).lead[0].zh == "没有列" and noise(facts(noise=why)).lead[0].en == "no column"
