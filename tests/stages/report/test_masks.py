"""The page of a mask run."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from maskrun import CLASSES, write_mask_run
from PIL import Image
from test_report import Page, changed, read

from vesalius.core.target import TargetSpec
from vesalius.errors import RunError
from vesalius.stages.report import read_run, report
from vesalius.stages.report.card import model_card
from vesalius.stages.report.kinds import LAYOUTS, ONE_CLASS, layout_of, sections_of
from vesalius.stages.report.maskcharts import log_ticks
from vesalius.stages.report.maskfacts import doubted, limits, rows_of, tolerance_of, unit_of
from vesalius.stages.report.summary import doubt_share
from vesalius.stages.summary import summary
from vesalius.stages.tiled.figures import mask_metrics

SECTIONS = ["summary", "figures", "classes", "cases", "sizes", "uncertainty", "data", "split", "training", "plan", "model", "paperwork", "environment"]
CHARTS = {"cap-byclass", "cap-dicesize", "cap-agreement", "cap-risk", "cap-doubt", "cap-loss", "cap-score", "cap-minutes"}
TABLES = {"figures", "classes", "lesions", "worst", "sizes", "audited", "masks", "issues", "labels", "model", "environment"}


def frame(run: Path, **columns) -> None:
    """Change columns of the predictions."""
    path = run / "predictions.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_page_is_whole_small_and_can_be_read_aloud(mask_run):
    text = read(mask_run)
    page = Page(text)
    assert not page.wrong and not page.open and not page.all("script") and len(text.encode()) < 5_000_000
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert len(page.all("img")) == 50 and all(attrs["alt"] for attrs in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) and all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))
    plots = [attrs for attrs in page.all("svg") if attrs.get("class") == "plot"]
    assert len(plots) == len(CHARTS) and all(attrs["aria-labelledby"] in ids for attrs in plots)


def test_sections_charts_and_tables_of_masks(mask_run):
    page = Page(read(mask_run))
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    assert {attrs.get("id") for attrs in page.all("figcaption")} - {None} == CHARTS
    assert TABLES <= {attrs["id"][4:] for attrs in page.all("caption")}


def test_what_means_nothing_for_masks_is_left_out_without_an_apology(mask_run):
    text = re.sub(r'src="[^"]*"', "", read(mask_run))
    for word in ("Left out", "ROC", "Confusion", "calibration", "best baseline", "HOG", "more patients help"):
        assert word not in text, word


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_key_is_left_untranslated(lang, mask_run):
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>|src=\"[^\"]*\"", "", read(mask_run, lang), flags=re.S)
    assert not re.findall(r">\s*(?:cap|col|axis|h|key|metric|note|fact|unit|role|method|doubt|case|masks|figures)\.[a-z_]+\s*<", body)
    shown = re.sub(r'<span class="(?:en|zh)" lang="(?:en|zh-Hans)">.*?</span>', "", body, flags=re.S)
    assert "Dice" not in re.sub(r"<[^>]+>", "", shown).replace("Task04", "")


def test_summary_keeps_test_and_cross_validation_apart(mask_run):
    metrics = json.loads((mask_run / "metrics.json").read_text("utf-8"))
    text = read(mask_run)
    summary = re.search(r'<p class="summary">(.*?)</p>', text, re.S)[1]
    figure = metrics["test"]["dice"]
    assert f"the mean Dice was {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})" in summary
    assert "In cross-validation (20 images of 10 patients" in summary and "0.812 (95 % interval 0.801 to 0.823). It is another figure" in summary
    assert "By structure: anterior" in summary and "ordering by it gains 76 %" in summary
    assert "mean Dice, cross-validation" in text and "平均 Dice 系数（交叉验证）" in text
    without = read(write_mask_run(mask_run.parent / "plain", folds=False))
    assert "ross-validation" not in without and "交叉验证" not in without


@pytest.mark.parametrize(("aurc", "said"), [(0.07, "tells which cases"), (0.1, "tells only a little"), (0.112, "does not tell"), (0.15, "gains 0 %")])
def test_the_verdict_on_the_uncertainty_follows_the_figures(aurc, said, mask_run):
    changed(mask_run, "metrics.json", uncertainty={"aurc": aurc, "aurc_best": 0.058, "aurc_chance": 0.112, "spearman": 0.1})
    assert said in read(mask_run)


def test_the_uncertainty_may_have_intervals(mask_run):
    figures = {name: {"value": v, "low": v - 0.01, "high": v + 0.01} for name, v in (("aurc", 0.07), ("aurc_best", 0.058), ("aurc_chance", 0.112))}
    changed(mask_run, "metrics.json", uncertainty=figures | {"spearman": {"value": 0.5, "low": 0.2, "high": 0.7}})
    assert "tells which cases" in read(mask_run) and "0.500 (95 % interval 0.200 to 0.700)" in read(mask_run)
    changed(mask_run, "metrics.json", uncertainty=figures | {"spearman": {"value": 0.2, "low": -0.1, "high": 0.4}})
    assert "It is not shown that the uncertainty tells" in read(mask_run)


def test_empty_masks_are_counted_once(mask_run):
    changed(mask_run, "metrics.json", notes=[{"code": "both-empty", "en": "1 of 44 test cases do not hold it", "zh": "1 例"}])
    assert "Empty masks of" not in read(mask_run) and "1 of 44 test cases" in read(mask_run)


@pytest.mark.parametrize("found", [None, {}, {"aurc": None, "aurc_best": 0.1, "aurc_chance": 0.2}, {"aurc": 0.1, "aurc_best": 0.1, "aurc_chance": 0.1}])
def test_no_verdict_without_figures(found, mask_run):
    changed(mask_run, "metrics.json", uncertainty=found)
    assert doubt_share(read_run(mask_run)) is None and "ordering by it" not in read(mask_run)


def test_empty_masks_are_said(mask_run):
    text = read(mask_run)
    assert "Empty masks of “anterior” in the test (44 cases): in truth and prediction 1 (right, without a Dice)" in text
    assert "in the truth alone 1 (false alarms, Dice 0)" in text and "0.000 (truth empty)" in text and "真实为空" in text


def test_labels_count_structures_nothing_and_unmarked(mask_run):
    table = re.search(r'id="tab-labels".*?</table>', read(mask_run), re.S)[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    counts = {re.sub(r"<[^>]+>", "|", row[0]): row[1:] for row in rows}
    assert counts["anterior"] == ["70", "20", "43", "133"]
    assert next(v for k, v in counts.items() if "Nothing to be found" in k) == ["0", "0", "1", "1"]
    assert next(v for k, v in counts.items() if "Not marked" in k) == ["1", "0", "0", "1"]


def test_sizes_agree_by_class(mask_run):
    rows = rows_of(read_run(mask_run))
    mine = rows[(rows["class"] == "anterior") & (rows["size_true"] > 0)]
    gaps = (mine["size_predicted"] - mine["size_true"]).to_numpy()
    bias, low, high = limits(gaps)
    assert bias == pytest.approx(gaps.mean()) and high - bias == pytest.approx(bias - low) == pytest.approx(1.96 * gaps.std(ddof=1))
    assert f"{bias:.4g}" in re.search(r'id="tab-sizes".*?</table>', read(mask_run), re.S)[0]
    assert np.isnan(limits(np.array([2.0]))[1])


def test_units_follow_the_spacing_and_the_axes(mask_run):
    facts = read_run(mask_run)
    assert unit_of(facts, rows_of(facts)).name.en == "mm³" and tolerance_of(facts).en == "1 mm"
    frame(mask_run, size_true=40_000.0)
    facts = read_run(mask_run)
    assert (unit_of(facts, rows_of(facts)).name.en, unit_of(facts, rows_of(facts)).divisor) == ("mL", 1000)
    facts.plan.decide("input.size", [64, 64], "pictures").save(mask_run / "plan.toml")
    facts = read_run(mask_run)
    assert unit_of(facts, rows_of(facts)).name.en == "cm²"
    frame(mask_run, unit="pixel")
    changed(mask_run, "metrics.json", tolerance={"value": 2.0, "unit": "pixel"})
    assert unit_of(read_run(mask_run), rows_of(read_run(mask_run))).name.en == "pixels or voxels"
    text = read(mask_run)
    assert "within 2 pixels" in text and "2 像素" in text and "Distances are in pixels" in text
    changed(mask_run, "metrics.json", tolerance=None)
    assert "Distances are in pixels." in read(mask_run) and "counts as right" not in read(mask_run)


def test_risk_orders_the_cases_by_uncertainty():
    rows = pd.DataFrame({"id": ["a", "a", "b", "c", "d"], "dice": [0.9, 0.7, 0.5, 0.6, np.nan], "uncertainty": [0.1, 0.1, 0.3, 0.2, 0.0]})
    found = doubted(rows)
    assert found.errors.tolist() == pytest.approx([0.2, 0.4, 0.5]) and found.risks.tolist() == pytest.approx([0.2, 0.3, 1.1 / 3])
    assert doubted(rows.assign(uncertainty=0.1)) is None and doubted(rows.drop(columns="uncertainty")) is None and doubted(rows[:2]) is None


def test_classes_of_very_different_size_are_compared_in_per_cent(mask_run):
    rows = pd.read_parquet(mask_run / "predictions.parquet")
    big = rows["class"] == "anterior"
    for column in ("size_true", "size_predicted"):
        rows.loc[big, column] *= 50
    rows.to_parquet(mask_run / "predictions.parquet")
    assert "Predicted − true (% of the mean)" in read(mask_run)


def test_many_structures_are_tabled_row_by_row(mask_run):
    metrics = json.loads((mask_run / "metrics.json").read_text("utf-8"))
    one = metrics["per_class"]["test"]["anterior"]
    metrics["per_class"]["test"] = {f"organ {i}": one for i in range(20)}
    (mask_run / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    table = re.search(r'id="tab-classes".*?</table>', read(mask_run), re.S)[0]
    assert table.count("<tr>") == 21 and "organ 19" in table


FILES = {"metrics.json": "metrics.json", "predictions.parquet": "predictions.parquet", "explain": "explain/cases.json", "audit.json": "audit.json",
         "cohort.parquet": "cohort.parquet", "log": "log/history.csv", "plan.toml": "plan.toml", "model": "model/weights.safetensors",
         "environment.json": "environment.json"}


@pytest.mark.parametrize("file", FILES)
def test_what_is_missing_is_left_out_with_a_reason(file, mask_run):
    shutil.rmtree(mask_run / file) if (mask_run / file).is_dir() else (mask_run / file).unlink()
    text = read(mask_run)
    page = Page(text)
    assert not page.wrong and not page.open
    if file not in ("explain", "model"):
        assert f"the run folder has no {FILES[file]}" in text
    assert 'id="sizes"' in text, "the audit and the plan also say that it is a mask run"


def test_predictions_without_the_scores_of_masks_say_so(mask_run):
    path = mask_run / "predictions.parquet"
    pd.read_parquet(path).drop(columns="dice").to_parquet(path)
    assert "predictions.parquet holds no such figures" in read(mask_run)


def test_an_old_plain_table_of_masks_is_shown_too(mask_run):
    changed(mask_run, "audit.json", masks={"anterior": {"n": 3, "share": 0.5, "known": True, "values": [1, 2]}, "background": None})
    table = re.search(r'id="tab-masks".*?</table>', read(mask_run), re.S)[0]
    assert "anterior" in table and "0.5" in table and "1, 2" in table and "是" in table and "–" in table


def test_what_a_run_folder_says_is_escaped(mask_run):
    evil = "<script>alert(1)</script>"
    for file in ("metrics.json", "audit.json"):
        path = mask_run / file
        path.write_text(path.read_text("utf-8").replace("anterior", evil.replace("/", "\\/")), "utf-8")
    rows = pd.read_parquet(mask_run / "predictions.parquet").replace("anterior", evil)
    rows.assign(id=rows["id"] + evil).to_parquet(mask_run / "predictions.parquet")
    cases = json.loads((mask_run / "explain" / "cases.json").read_text("utf-8"))
    cases[0] |= {"id": f'"><img src=x onerror=1>{evil}', "class": evil}
    (mask_run / "explain" / "cases.json").write_text(json.dumps(cases), "utf-8")
    text = read(mask_run)
    assert "<script" not in text and "&lt;script&gt;" in text and "<img src=x" not in text
    card = model_card(mask_run)
    assert "<script" not in card and "&lt;script&gt;" in card


def test_large_pictures_are_made_lighter_before_any_is_left_out(mask_run):
    y, x = np.mgrid[:384, :384]
    rng = np.random.default_rng(0)
    for path in (mask_run / "explain").glob("*.png"):
        noise = (128 + 60 * np.sin(x / 30) + rng.normal(0, 9, x.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(np.stack([noise, noise[::-1], noise.T], -1)).save(path)
    text = read(mask_run)
    assert text.count("data:image/jpeg") == 50 and len(text.encode()) < 5_000_000 and "further pictures" not in text
    for path in (mask_run / "explain").glob("*.png"):
        path.write_bytes(b"no picture" * 40_000)
    with pytest.raises(RunError, match=r"a picture of the run folder is damaged \(.*\.png\).*run 'vesalius fit' again"):
        read(mask_run)


def test_model_card_of_masks(mask_run):
    card = model_card(mask_run)
    assert "mean Dice was" in card and "平均 Dice" in card and "it marks structures" in card and "Bland-Altman" in card
    assert "Cross-validation (20 images, 10 patients)" in card and "Empty masks" in card and "calibrated" not in card
    assert all(f"## {title}" in card for title in ("Summary", "摘要", "Data", "Results", "Intended use", "Limits", "Record"))


def test_kinds_are_told_apart_in_one_table(mask_run):
    assert layout_of("binary") is layout_of("ordinal") is layout_of("") is ONE_CLASS and set(LAYOUTS) == {"multilabel", "regression", "mask", "boxes"}
    assert ["summary", *(s.name for s in sections_of(read_run(mask_run)))] == SECTIONS


def test_baselines_and_data_size_are_shown_where_there_are_some(mask_run):
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n_images": 44, "n_patients": 22}
    sizes = [{"n_patients": n, "n_images": n, "value": v, "low": v, "high": v} for n, v in ((5, 0.7), (10, 0.8))]
    changed(mask_run, "metrics.json", baselines={"my_model": {"test": {"dice": figure}, "validation": {}}}, data_size=sizes)
    ids = [attrs["id"] for attrs in Page(read(mask_run)).all("section")]
    assert {"baselines", "datasize"} <= set(ids)


@pytest.mark.parametrize(("lang", "lead", "said"), [
    ("en", "The baseline judges every sample by itself", "The best baseline (boosted trees on filters) is beaten: the difference in Dice is +0.040"),
    ("zh", "基线模型不使用神经网络，逐个像素判断", "滤波特征 + 梯度提升树"),
])
def test_what_the_network_adds_is_said_in_both_languages(mask_run, lang, lead, said):
    figure = {"value": 0.75, "low": 0.72, "high": 0.79, "n_patients": 8, "n_images": 16}
    gain = {"over": "boosted", "metric": "dice", "value": 0.04, "low": 0.01, "high": 0.07, "p": 0.01, "method": "paired patient bootstrap"}
    changed(mask_run, "metrics.json", baselines={"boosted": {"test": {"dice": figure}, "validation": {"dice": figure}}}, gain=gain)
    text = read(mask_run, lang)
    assert 'id="baselines"' in text and lead in text and said in text and "baseline.boosted" not in text



def test_ticks_of_a_logarithmic_axis():
    assert log_ticks(8, 15) == [10.0] and log_ticks(0.8, 6) == [1.0, 2.0, 5.0] and log_ticks(1, 1e9) == [1.0, 100.0, 1e4, 1e6, 1e8]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_page_renders_in_a_browser(lang, mask_run, tmp_path):
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from render import chromium, render

    if chromium() is None:
        pytest.skip("Chromium is not installed")
    picture = np.asarray(Image.open(render(report(mask_run, lang), tmp_path / "page.png", 1280, 3000)).convert("RGB"))
    assert picture.shape == (3000, 1280, 3) and (picture.reshape(-1, 3).max(1) < 90).mean() > 0.005


def test_report_of_real_figures(mask_run):
    rows = pd.read_parquet(mask_run / "predictions.parquet")
    rows.loc[rows["split"] == "test", "fold"] = -1
    metrics = mask_metrics(rows, TargetSpec("mask", CLASSES), tolerance=1.0, n_boot=60)
    (mask_run / "metrics.json").write_text(json.dumps(metrics | {"looks_at_test": 1}), "utf-8")
    text = read(mask_run)
    figure, crossed = metrics["test"]["dice"]["value"], metrics["cross_validation"]["dice"]["value"]
    assert f"the mean Dice was {figure:.3f} (95 % interval" in text and f"the mean Dice was {crossed:.3f} (95 % interval" in text
    assert "size bias" in text and "ordering by it gains" in text and metrics["notes"] and "within 1 mm of the true one" in text
    assert "Cross-validation" in summary(mask_run) and "mean Dice" in summary(mask_run)
