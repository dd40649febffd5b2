"""The checklists as an author gets them: every item once, facts as the run states them, gaps visibly empty."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from vesalius.errors import OptionError, RunError
from vesalius.stages.paperwork import NAMES, all_filled, paperwork
from vesalius.stages.paperwork.base import FOLDER, texts
from vesalius.stages.paperwork.lists import ANSWERS, gaps
from vesalius.stages.paperwork.of_data import excluded
from vesalius.stages.report import read_run
from vesalius.stages.report.summary import number

SIZES = {"claim-2024": (44, 44), "tripod-ai": (52, 27), "stard-ai": (48, 40)}
"""Items with their sub-items, and numbered items."""
TRIPOD = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
"""Sub-items of the items that have some, in the transcribed checklist of January 2024."""
NEVER = {"claim-2024": ("11", "16", "44"), "tripod-ai": ("17", "18a", "18b", "19"), "stard-ai": ("6", "38", "39")}
"""De-identification, annotators, ethics, money: no run knows these."""
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def items(run: Path, name: str) -> dict[str, dict]:
    found = json.loads((run / "paperwork" / "paperwork.json").read_text("utf-8"))["checklists"][name]["items"]
    return {item["number"]: item for item in found}


def said(item: dict, lang: str = "en") -> str:
    return " ".join(each[lang] for each in item["answers"])


@pytest.fixture
def run(run_of) -> Path:
    folder = run_of("binary")
    paperwork(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_item_appears_once_and_in_order(name, run):
    rows, numbered = SIZES[name]
    for lang in ("en", "zh"):
        text = (run / "paperwork" / f"{name}.{lang}.md").read_text("utf-8")
        numbers = re.findall(r"^\| (\d+[a-g]?) \|", text, re.M)
        assert len(numbers) == rows and max(Counter(numbers).values()) == 1
        plain = [int(re.match(r"\d+", each)[0]) for each in numbers]
        assert plain == sorted(plain) and sorted(set(plain)) == list(range(1, numbered + 1))
        assert all(line.count(" | ") == 2 for line in text.splitlines() if re.match(r"^\| \d", line))
    page = (run / "paperwork" / "checklists.html").read_text("utf-8")
    assert len(re.findall(rf'<tr id="{name}-\d+[a-g]?"', page)) == rows


def test_the_items_are_numbered_as_the_published_lists_are(run):
    """CLAIM 2024 has no sub-items; STARD-AI 40 items (Nature Medicine 2025), TRIPOD+AI 27."""
    assert list(items(run, "claim-2024")) == [str(i) for i in range(1, 45)]
    wanted = [f"{i}{letter}" for i in range(1, 28) for letter in ("abcdefg"[: TRIPOD[i]] if i in TRIPOD else [""])]
    assert list(items(run, "tripod-ai")) == wanted
    assert len({re.sub("[a-z]", "", number_) for number_ in items(run, "stard-ai")}) == 40


@pytest.mark.parametrize("name", NAMES)
def test_gaps_are_visibly_empty_and_say_who_must_fill_them(name, run):
    found = items(run, name)
    for number_ in NEVER[name]:
        assert found[number_]["state"] == "gap" and found[number_]["answers"] == []
    text = (run / "paperwork" / f"{name}.en.md").read_text("utf-8")
    open_ = [item for item in found.values() if item["gap"]]
    assert text.count("☐ **OPEN** To be written by the") == len(open_) > 10
    assert (run / "paperwork" / f"{name}.zh.md").read_text("utf-8").count("☐ **待填** 须由") == len(open_)
    assert {item["gap"]["who"] for item in open_} <= {"author", "clinician", "data", "engineer"}
    assert (run / "paperwork" / "checklists.html").read_text("utf-8").count('<p class="gap">') == sum(
        1 for other in NAMES for item in items(run, other).values() if item["gap"])


def test_facts_are_those_of_the_run(run):
    metrics, cohort = json.loads((run / "metrics.json").read_text()), pd.read_parquet(run / "cohort.parquet")
    claim = items(run, "claim-2024")
    for figure in metrics["test"].values():
        assert number(figure["value"]) in said(claim["38"]) and number(figure["low"]) in said(claim["38"])
    counts = metrics["confusion"]["test"]
    assert f"{counts[0][1] + counts[1][0]} of {sum(map(sum, counts))} test images are wrong" in said(claim["39"])
    used = cohort[cohort["split"] != "excluded"]
    assert f"{len(cohort)} images recognised, 1 left out, {len(used)} images of {used['patient'].nunique()} patients used" in said(claim["35"])
    assert "1 images were left out by the check: truncated (1)" in said(claim["8"])
    assert "disjoint by patient" in said(claim["20"]) and "0 patients lie in more than one part" in said(claim["20"])
    assert "0.410 (Youden's index; validation)" in said(claim["38"]) and "Calibration error 0.081 before, 0.029 after" in said(claim["38"])
    assert "HOG and a linear model" in said(claim["28"]) and "Looks at the test set so far: 1" in said(claim["26"])
    facts = read_run(run)
    assert facts.weights_hash in said(claim["43"]) and facts.plan.hash in said(claim["43"])
    assert claim["39"]["answers"][0]["file"] == "metrics.json" and claim["35"]["answers"][0]["file"] == "cohort.parquet"


@pytest.mark.parametrize("kind", ["multiclass", "ordinal", "multilabel", "regression"])
def test_every_kind_of_target_has_its_paperwork(kind, run_of):
    folder = run_of(kind)
    paperwork(folder, "zh")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert number(metrics["test"][metrics["primary"]]["value"]) in said(items(folder, "tripod-ai")["23a"])
    assert '<html lang="zh-Hans">' in (folder / "paperwork" / "checklists.html").read_text("utf-8")


def test_masks_have_theirs(mask_run):
    paperwork(mask_run)
    stard, rows = items(mask_run, "stard-ai"), pd.read_parquet(mask_run / "predictions.parquet")
    test = rows[rows["split"] == "test"]
    true, found = int(test["n_true"].sum()), int(test["n_found"].sum())
    assert f"{true} in the reference, of these {found} found and {true - found} missed" in said(stard["30"])
    assert "Dice" in said(stard["31"]) and "likeliest structure" in said(stard["15c"])
    assert "Cross-validation" in said(items(mask_run, "claim-2024")["32"])


def test_boxes_have_theirs(box_run):
    folder = box_run(2) if callable(box_run) else box_run
    paperwork(folder)
    assert "mAP50" in said(items(folder, "claim-2024")["38"]) and "boxes of" in said(items(folder, "claim-2024")["22"])


def test_what_the_tests_of_trust_said_is_quoted(run):
    said_ = {"subgroups": {"sentences": [{"code": "a", "severity": "warning", "en": "Worse in women.", "zh": "女性较差。"}]}, "leak": {"applies": False}}
    (run / "trust.json").write_text(json.dumps(said_))
    paperwork(run)
    claim = items(run, "claim-2024")
    assert "Worse in women." in said(claim["37"]) and "女性较差。" in said(claim["37"], "zh")
    assert {"trust.json"} == {each["file"] for each in items(run, "tripod-ai")["14"]["answers"]}
    (run / "trust.json").write_text("{")
    with pytest.raises(RunError, match=r"a file of the run folder is damaged \(.*trust.json\)"):
        paperwork(run)


def test_a_reproduction_is_told_once_it_was_done(run):
    (run / "log" / "reproduced.json").write_text(json.dumps({"en": ["Data same.", "All the same.", "x"], "zh": ["数据一致。", "完全一致。", "x"]}))
    paperwork(run)
    assert "Data same. All the same." in said(items(run, "claim-2024")["43"]) and "数据一致。完全一致。" in said(items(run, "claim-2024")["43"], "zh")


def test_clinical_columns_fill_the_demographics(run):
    assert items(run, "claim-2024")["36"]["state"] == "gap"
    cohort = pd.read_parquet(run / "cohort.parquet")
    cohort["age"], cohort["sex"] = range(len(cohort)), ["F", "M"] * (len(cohort) // 2) + ["F"] * (len(cohort) % 2)
    cohort.loc[3, "sex"] = None
    cohort.to_parquet(run / "cohort.parquet")
    paperwork(run)
    age = cohort.loc[cohort["split"] == "test", "age"].mean()
    assert f"test {number(age)} ±" in said(items(run, "claim-2024")["36"]) and "sex: training" in said(items(run, "claim-2024")["36"])
    assert "sex (1)" in said(items(run, "claim-2024")["12"])


def test_the_card_holds_what_travels_with_the_weights_and_what_must_be_written(run):
    card = (run / "paperwork" / "model_card.md").read_text("utf-8")
    assert "## To be filled before use" in card and "## 使用前须填写" in card and read_run(run).weights_hash in card
    assert "intended patients, place in the care pathway" in card and "☐ **待填** 须由临床医生填写：目标患者" in card
    assert "(*from metrics.json*)" in card


def test_the_page_stands_alone_and_escapes_what_the_run_says(run):
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    metrics["notes"].append({"code": "x", "en": "<script>a|b</script>", "zh": "<script>甲</script>"})
    (run / "metrics.json").write_text(json.dumps(metrics))
    paperwork(run)
    page = (run / "paperwork" / "checklists.html").read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "http" not in page and "<link" not in page
    assert "a\\|b" in (run / "paperwork" / "claim-2024.en.md").read_text("utf-8")


def test_pages_say_how_far_their_numbering_was_checked(run):
    for name in NAMES:
        assert "check" in next(line for line in (run / "paperwork" / f"{name}.en.md").read_text("utf-8").splitlines() if line.startswith("> "))
    assert "not with the publication itself: check them before you submit" in (run / "paperwork" / "checklists.html").read_text("utf-8")


def test_no_chinese_in_english_and_the_other_way_round(run_of):
    for found in all_filled(read_run(run_of("ordinal"))):
        assert not CHINESE.search(found.full.en + found.checked.en) and CHINESE.search(found.full.zh)
        for item in found.items:
            assert not CHINESE.search(item.asks.en) and CHINESE.search(item.asks.zh)
            assert item.gap is None or (not CHINESE.search(item.gap.wants.en) and CHINESE.search(item.gap.wants.zh))


def test_what_is_no_finished_run_or_no_language_is_refused(run, tmp_path):
    with pytest.raises(OptionError, match="there is no paperwork in this language: expected en or zh, got fr"):
        paperwork(run, "fr")
    with pytest.raises(RunError, match="this is no run folder"):
        paperwork(tmp_path)
    (run / "metrics.json").unlink()
    with pytest.raises(RunError, match="the run has no figures yet .*expected metrics.json"):
        paperwork(run)


def test_every_text_has_both_languages_with_the_same_facts_and_is_used():
    code = "\n".join(path.read_text("utf-8") for path in [*FOLDER.glob("*.py"), FOLDER / "checklists.html"])
    put_together = ("input.", "train.", "card.", "who.", "state.", "col.", "partition.", "threshold.", "output.")
    for key, (en, zh) in texts().items():
        assert sorted(set(re.findall(r"{(\w+)}", en))) == sorted(set(re.findall(r"{(\w+)}", zh))), key
        assert not CHINESE.search(en), key
        assert f'"{key}"' in code or f"'{key}'" in code or key.startswith(put_together), key


def test_every_answer_and_gap_is_asked_for_by_a_list():
    lists = "\n".join((FOLDER / "lists" / f"{name}.toml").read_text("utf-8") for name in NAMES)
    assert [name for name in ANSWERS if f'"{name}"' not in lists] == []
    assert [name for name in gaps() if f'gap = "{name}"' not in lists] == []


def test_why_images_were_left_out_is_told_in_both_languages(tmp_path, run):
    folder = shutil.copytree(run, tmp_path / "other")
    cohort = pd.read_parquet(folder / "cohort.parquet")
    cohort.loc[cohort["split"] == "excluded", "excluded_because"] = "truncated file"
    cohort.to_parquet(folder / "cohort.parquet")
    told = excluded(read_run(folder)).text
    assert told.en.endswith("truncated file (1).") and "文件不完整（1）" in told.zh
