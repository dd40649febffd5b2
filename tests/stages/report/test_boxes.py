"""The page of a run with boxes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from boxrun import CLASSES
from PIL import Image
from test_report import Page, changed, read

from vesalius.stages.report import read_run, report
from vesalius.stages.report.boxfacts import counts_of, errors_by_image, sized, tally, thresholds_of
from vesalius.stages.report.card import model_card
from vesalius.stages.report.kinds import sections_of
from vesalius.stages.report.summary import number, rule_in_words
from vesalius.stages.summary import summary

SECTIONS = ["summary", "figures", "classes", "cases", "counting", "scores", "baselines",
            "data", "split", "training", "plan", "model", "paperwork", "environment"]
CHARTS = {"cap-froc", "cap-pr", "cap-byclass", "cap-bysize", "cap-counts0", "cap-counts1", "cap-counts2", "cap-reliability", "cap-forest", "cap-loss",
          "cap-score", "cap-minutes"}
TABLES = {"figures", "classes", "operating", "worst", "counts", "calibration", "baselines", "audited", "boxes", "issues", "labels", "model", "environment"}


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text("utf-8"))


def table(text: str, name: str) -> str:
    return re.search(rf'id="tab-{name}".*?</table>', text, re.S)[0]


def test_page_is_whole_small_and_can_be_read_aloud(box_run):
    text = read(box_run)
    page = Page(text)
    assert not page.wrong and not page.open and not page.all("script") and len(text.encode()) < 5_000_000
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert len(page.all("img")) == 55 and all(attrs["alt"] for attrs in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) and all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))
    plots = [attrs for attrs in page.all("svg") if attrs.get("class") == "plot"]
    assert len(plots) == len(CHARTS) and all(attrs["aria-labelledby"] in ids for attrs in plots)


def test_sections_charts_and_tables_of_boxes(box_run):
    page = Page(read(box_run))
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS == ["summary", *(s.name for s in sections_of(read_run(box_run)))]
    assert {attrs.get("id") for attrs in page.all("figcaption")} - {None} == CHARTS
    assert TABLES <= {attrs["id"][4:] for attrs in page.all("caption")}


def test_what_means_nothing_for_boxes_is_left_out_without_an_apology(box_run):
    text = re.sub(r'src="[^"]*"', "", read(box_run))
    for word in ("Left out", "ROC curve:", "Confusion", "Dice", "HOG", "more patients help", "structure"):
        assert word not in text.replace("FROC", ""), word


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_key_is_left_untranslated(lang, box_run):
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>|src=\"[^\"]*\"", "", read(box_run, lang), flags=re.S)
    assert not re.findall(r">\s*(?:cap|col|axis|h|key|metric|note|fact|boxfact|boxcase|boxes|role|method|rule|case|figures)\.[a-z_0-9]+\s*<", body)
    shown = re.sub(r'<span class="(?:en|zh)" lang="(?:en|zh-Hans)">.*?</span>', "", body, flags=re.S)
    assert "FROC" not in re.sub(r"<[^>]+>", "", shown)


def test_summary_in_plain_sentences(box_run):
    facts, text = metrics(box_run), read(box_run)
    said = re.search(r'<p class="summary">(.*?)</p>', text, re.S)[1]
    figure, sure, right = (facts["test"][name] for name in ("map50", "sensitivity", "precision"))
    assert f"the mAP50 was {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})" in said
    each = ", ".join(f"{name} {facts['per_class']['test'][name]['ap50']['value']:.3f}" for name in CLASSES)
    assert f"By class (AP50): {each}." in said
    found = tally(read_run(box_run))
    assert f"the sensitivity was {sure['value']:.3f}" in said and f"the precision {right['value']:.3f}" in said
    assert f"with {found.false_per_image:.3f} false boxes in an image on average (over 36 images)" in said
    assert "At one false positive an image the sensitivity was" in said and "most with RBC" in said and "The best baseline (blobs" in said
    assert "平均每张图像 1 个假阳性时" in said and "“RBC”最大" in said


def test_large_numbers_keep_their_names(box_run):
    text = read(box_run)
    assert re.search(r'class="key main named"><dt>.*?mAP50, test', text) and "count error (MAE), test" in text and "over the best baseline" in text
    assert re.search(r'class=" named"><span class="en" lang="en">mAP50|class=" named">mAP50', table(text, "figures"))


def test_the_tally_is_that_of_the_figures(box_run):
    facts, truth = read_run(box_run), metrics(box_run)
    for name in CLASSES:
        found, boxes = tally(facts, name), truth["boxes"]["test"][name]
        assert found.n_true == boxes["true"] and found.n_found + found.n_false == boxes["found"] and found.n_images == 36
        figures = truth["per_class"]["test"][name]
        assert found.sensitivity == pytest.approx(figures["sensitivity"]["value"])
        assert found.n_found / (found.n_found + found.n_false) == pytest.approx(figures["precision"]["value"])
    whole = tally(facts)
    assert whole.n_true == sum(boxes["true"] for boxes in truth["boxes"]["test"].values())
    by_image = errors_by_image(facts)
    assert by_image["n_missed"].sum() == whole.n_true - whole.n_found and by_image["n_false"].sum() == whole.n_false
    assert by_image["wrong"].is_monotonic_decreasing and len(by_image) == 36


def test_counts_are_those_of_the_figures(box_run):
    facts, truth = read_run(box_run), metrics(box_run)["counts"]["test"]
    for name in CLASSES:
        true, found = counts_of(facts, name)
        assert np.abs(found - true).mean() == pytest.approx(truth[name]["mae"]) and (found - true).mean() == pytest.approx(truth[name]["bias"])
    row = re.search(r"<tr><th[^>]*>RBC</th>(.*?)</tr>", table(read(box_run), "counts"))[1]
    assert number(truth["RBC"]["bias"]) in row and ">36<" in row


def test_sensitivity_by_size_counts_each_true_box_once(box_run):
    found, whole = sized(read_run(box_run)), tally(read_run(box_run))
    assert len(found.rows) == whole.n_true and found.rows["met"].sum() == whole.n_found and found.unit.en == "pixels"


def test_sizes_are_in_mm_where_the_spacing_is_known(nodule_run):
    found = sized(read_run(nodule_run))
    cases = pd.read_parquet(nodule_run / "cases.parquet")
    first = next(box for cell in cases.loc[cases["split"] == "test", "truth"] for box in json.loads(cell))
    low, high = np.split(np.array(first["box"]), 2)
    assert found.unit.en == "mm" and found.rows["size"].iloc[0] == pytest.approx(float(np.prod((high - low) * (1.5, 1, 1)) ** (1 / 3)))


def test_operating_point_and_its_rule_in_words(box_run):
    text = read(box_run)
    row = re.search(r"<tr><th[^>]*>WBC</th>(.*?)</tr>", table(text, "operating"))[1]
    assert "the best F1" in row and f"{thresholds_of(read_run(box_run))['WBC']:.3f}" in row
    assert rule_in_words("fp_per_image<=1") == ("false positives an image of at most 1", "每张图像假阳性数不高于 1")
    assert rule_in_words("0.5 (nothing to choose on)").en == "0.5: nothing to choose on"
    assert rule_in_words("sensitivity>=0.9").en == "sensitivity of at least 0.9"


def test_volumes_have_cpm_mm_and_a_risk(nodule_run):
    text = read(nodule_run)
    assert "the CPM was" in text and "the AUC for “malignant” was" in text and "AUC of “malignant”, test" in text and "Mean side of the true box (mm)" in text
    assert "its middle lies inside a true lesion" in text and "By class" not in text and 'id="baselines"' not in text
    assert Page(text).wrong == [] and 'id="cap-froc"' in text and "all classes" not in text
    assert "malignant" in model_card(nodule_run) and "CPM" in summary(nodule_run).splitlines()[1]


def test_the_froc_curve_is_drawn_on_a_logarithmic_axis_with_its_band(box_run):
    path = box_run / "metrics.json"
    curve = {"fp_per_image": [0.0, 0.125, 1.0, 8.0], "sensitivity": [0.1, 0.4, 0.7, 0.9], "low": [0.0, 0.3, 0.6, 0.8], "high": [0.2, 0.5, 0.8, 1.0]}
    changed(box_run, "metrics.json", froc={"test": {"all": curve}})
    svg = re.search(r"<svg[^>]*cap-froc.*?</svg>", read(box_run), re.S)[0]
    points = [tuple(map(float, p.split(","))) for p in re.search(r'polyline class="line s0" points="([^"]*)"', svg)[1].split()]
    assert len(points) == 5 and svg.count('class="band s0"') == 1
    steps = np.diff([x for x, _ in points[1:4]])
    assert steps[0] == pytest.approx(steps[1], abs=0.05), "an eighth to one is as far as one to eight"
    assert points[0][1] > points[1][1] > points[2][1] > points[3][1] == points[4][1]
    for ends in ({"low": [], "high": []}, {}):
        changed(box_run, "metrics.json", froc={"test": {"all": {k: v for k, v in curve.items() if k not in ("low", "high")} | ends}})
        assert 'class="band s0"' not in re.search(r"<svg[^>]*cap-froc.*?</svg>", read(box_run), re.S)[0]
    assert path.is_file()


def test_scores_are_compared_with_the_share_of_true_boxes_also_from_the_detections_alone(box_run):
    stated = re.search(r"<svg[^>]*cap-reliability.*?</svg>", read(box_run), re.S)[0]
    curves = metrics(box_run)["curves"]
    curves["test"].pop("reliability")
    changed(box_run, "metrics.json", curves=curves)
    counted = re.search(r"<svg[^>]*cap-reliability.*?</svg>", read(box_run), re.S)[0]
    dots = [re.findall(r'<circle[^>]*cx="([\d.]+)" cy="([\d.]+)"', svg) for svg in (stated, counted)]
    assert len(dots[1]) >= 5 and "expected calibration error" in read(box_run) and "temperature" in read(box_run)


def test_cases_say_what_went_wrong(box_run):
    text = read(box_run)
    heads = re.findall(r"<h3>.*?</h3>", text)
    order = [next(i for i, head in enumerate(heads) if word in head) for word in ("Missed", "Found where nothing is", "Surest right ones")]
    assert order == sorted(order)
    for said in ("no box meets it", "taken for: platelets", "seen, but below the chosen score (0.210)", "in truth: RBC", "漏检", "被误认为：platelets",
                 "D-RISE", "whole image"):
        assert said in text, said


def test_many_classes_are_tabled_row_by_row(box_run):
    facts = metrics(box_run)
    facts["per_class"]["test"] = {f"cell {i}": facts["per_class"]["test"]["RBC"] for i in range(20)}
    (box_run / "metrics.json").write_text(json.dumps(facts), "utf-8")
    shown = table(read(box_run), "classes")
    assert shown.count("<tr>") == 21 and "cell 19" in shown and "AP50-95" in shown and "count bias" not in shown


FILES = {"metrics.json": "metrics.json", "detections.parquet": "detections.parquet", "explain": "explain/cases.json", "audit.json": "audit.json",
         "cohort.parquet": "cohort.parquet", "log": "log/history.csv", "plan.toml": "plan.toml", "model": "model/weights.safetensors",
         "environment.json": "environment.json", "cases.parquet": None}


@pytest.mark.parametrize("file", FILES)
def test_what_is_missing_is_left_out_with_a_reason(file, box_run):
    shutil.rmtree(box_run / file) if (box_run / file).is_dir() else (box_run / file).unlink()
    text = read(box_run)
    page = Page(text)
    assert not page.wrong and not page.open and 'id="counting"' in text, "the audit and the plan also say that it is a run with boxes"
    if FILES[file] and file not in ("explain", "model", "detections.parquet"):
        assert f"the run folder has no {FILES[file]}" in text
    assert model_card(box_run)


def test_a_run_without_any_box_found_says_so(box_run):
    rows = pd.read_parquet(box_run / "detections.parquet")
    rows[rows["score"].isna()].to_parquet(box_run / "detections.parquet")
    text = read(box_run)
    assert not Page(text).wrong and "with 0.000 false boxes in an image" in text
    rows.iloc[:0].to_parquet(box_run / "detections.parquet")
    assert not Page(read(box_run)).wrong


def test_what_a_run_folder_says_is_escaped(box_run):
    evil = "<script>alert(1)</script>"
    for file in ("metrics.json", "audit.json"):
        path = box_run / file
        path.write_text(path.read_text("utf-8").replace("WBC", evil.replace("/", "\\/")), "utf-8")
    for file in ("detections.parquet", "cases.parquet"):
        rows = pd.read_parquet(box_run / file)
        rows = rows.replace("WBC", evil) if "class" in rows else rows.assign(truth=rows["truth"].str.replace("WBC", evil))
        rows.assign(id=rows["id"] + evil).to_parquet(box_run / file)
    cases = json.loads((box_run / "explain" / "cases.json").read_text("utf-8"))
    cases[0] |= {"id": f'"><img src=x onerror=1>{evil}', "class": evil, "taken_for": evil}
    (box_run / "explain" / "cases.json").write_text(json.dumps(cases), "utf-8")
    text, card = read(box_run), model_card(box_run)
    assert "<script" not in text and "&lt;script&gt;" in text and "<img src=x" not in text
    assert "<script" not in card and "&lt;script&gt;" in card


def test_data_section_tells_of_the_boxes(box_run):
    text = read(box_run)
    assert "4,155" in table(text, "boxes") and "101 × 104.5" in table(text, "boxes") and "set aside" in table(text, "issues")
    assert "像素" in table(text, "boxes") and "无任何目标" in table(text, "labels")
    assert "Nothing to be found" in table(text, "labels") and "boxes in Pascal VOC files" in text


def test_model_card_of_boxes(box_run):
    card = model_card(box_run)
    assert "the mAP50 was" in card and "it finds and counts objects" in card and "Bland-Altman" in card and "What the chosen scores do" in card
    assert all(f"## {title}" in card for title in ("Summary", "摘要", "Data", "Results", "Intended use", "Limits", "Record"))


def test_the_terminal_says_each_class_and_its_count(box_run):
    facts = metrics(box_run)
    lines = summary(box_run).splitlines()
    value = facts["test"]["map50"]
    assert lines[0] == "Test set (36 images of 18 patients, looked at 1 times):"
    assert lines[1] == f"  mAP50                {value['value']:.3f} ({value['low']:.3f} - {value['high']:.3f})"
    assert any(line.startswith("  AP50 of each class: RBC 0.") for line in lines) and any(line.startswith("  count error of each class: RBC") for line in lines)
    assert "各类别 AP50：RBC" in summary(box_run, "zh") and "各类别计数误差：" in summary(box_run, "zh")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_page_renders_in_a_browser(lang, box_run, tmp_path):
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from render import chromium, render

    if chromium() is None:
        pytest.skip("Chromium is not installed")
    picture = np.asarray(Image.open(render(report(box_run, lang), tmp_path / "page.png", 1280, 3000)).convert("RGB"))
    assert picture.shape == (3000, 1280, 3) and (picture.reshape(-1, 3).max(1) < 90).mean() > 0.005
