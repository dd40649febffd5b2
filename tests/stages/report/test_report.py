"""The page as a reader gets it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vesalius.errors import OptionError, RunError
from vesalius.plan import Plan
from vesalius.stages.report import report
from vesalius.stages.report.card import model_card

KINDS = ["binary", "multiclass", "ordinal", "multilabel", "regression"]
every = pytest.mark.parametrize("kind", KINDS)
VOID = {"meta", "input", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """What a browser would find: elements, ids, and tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def all(self, tag):
        return [attrs for name, attrs in self.seen if name == tag]


def read(run, lang="en"):
    return report(run, lang).read_text("utf-8")


def changed(run: Path, file: str, **facts):
    path = run / file
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | facts), "utf-8")


@every
def test_page_is_whole_small_and_self_contained(kind, run_of):
    run = run_of(kind)
    text = read(run)
    page = Page(text)
    assert not page.wrong and not page.open
    assert len(text.encode()) < 5_000_000
    outside = [v for _, attrs in page.seen for k, v in attrs.items() if k in ("src", "href", "srcset", "action") and not v.startswith(("data:", "#"))]
    assert not outside and not page.all("script") and not page.all("link") and "@import" not in text and "url(" not in text


@every
def test_page_can_be_read_with_a_screen_reader(kind, run_of):
    page = Page(read(run_of(kind)))
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(attrs.get("alt") for attrs in page.all("img")) and page.all("img")
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th")) and len(page.all("caption")) == len(page.all("table"))
    plots = [attrs for attrs in page.all("svg") if attrs.get("class") == "plot"]
    assert plots and all(attrs["role"] == "img" and attrs["aria-labelledby"] in ids for attrs in plots)
    assert len(page.all("h1")) == 1 and all(attrs["href"][1:] in ids for attrs in page.all("a"))


SECTIONS = {"summary", "figures", "curves", "baselines", "cases", "data", "split", "training", "datasize", "plan", "model", "paperwork", "environment"}


@every
def test_each_kind_has_its_sections(kind, run_of):
    sections = {attrs["id"] for attrs in Page(read(run_of(kind))).all("section")}
    extra = {"regression": set(), "multilabel": {"classes"}}.get(kind, {"classes", "confusion"})
    assert sections == SECTIONS | extra


@every
def test_each_kind_has_its_figures(kind, run_of):
    ids = {attrs.get("id") for attrs in Page(read(run_of(kind))).all("figcaption")}
    common = {"cap-forest", "cap-loss", "cap-score", "cap-datasize"}
    kinds = {"regression": {"cap-scatter"}, "binary": {"cap-roc", "cap-pr", "cap-reliability", "cap-histogram"}}
    assert common | kinds.get(kind, {"cap-roc", "cap-pr", "cap-reliability"}) == ids - {None}


def test_both_languages_are_inside_and_the_chosen_one_is_shown_first(run_of):
    run = run_of()
    english, chinese = read(run, "en"), read(run, "zh")
    for text in (english, chinese):
        assert "Research use only: a doctor decides." in text and "仅供科研使用：诊断由医生作出。" in text
    assert re.search(r'id="lang-en" class="switch" checked', english) and not re.search(r'id="lang-zh" class="switch" checked', english)
    assert re.search(r'id="lang-zh" class="switch" checked', chinese) and '<html lang="zh-Hans">' in chinese


def test_summary_says_what_was_found(run_of):
    text = read(run_of())
    figure = json.loads((run_of() / "metrics.json").read_text("utf-8"))["test"]["auc"]
    summary = re.search(r'<p class="summary">(.*?)</p>', text, re.S)[1]
    assert f"the AUC was {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})" in summary
    assert "666 images of 333 patients were used: 420 for training, 90 for validation and 156 for the test." in summary
    assert "The best baseline (HOG and a linear model) is beaten" in summary and "looked at once" in summary


@pytest.mark.parametrize(("low", "high", "metric", "said"), [
    (-0.01, 0.05, "auc", "Whether the network is better"), (0.01, 0.05, "auc", "is beaten"), (-0.09, -0.01, "auc", "The network is worse"),
    (-2.0, -1.0, "mae", "is beaten"), (1.0, 2.0, "mae", "The network is worse"), (None, None, "auc", "Whether the network is better"),
])
def test_verdict_over_the_baseline_follows_the_interval(low, high, metric, said, run_of):
    run = run_of()
    changed(run, "metrics.json", gain={"over": "hog", "metric": metric, "value": 0.02, "low": low, "high": high, "p": 0.1, "method": "bootstrap"})
    assert said in re.search(r'<p class="summary">(.*?)</p>', read(run), re.S)[1]


def test_clean_run_has_no_red_banner(run_of):
    assert 'class="banner"' not in read(run_of())


def test_split_by_image_is_red(run_of):
    run = run_of()
    Plan.load(run / "plan.toml").decide("split.by", "image", "asked for").save(run / "plan.toml")
    text = read(run)
    assert 'class="banner"' in text and "Split by image" in text and "按图像划分" in text


def test_leaking_official_split_is_red(run_of):
    run = run_of()
    cohort = pd.read_parquet(run / "cohort.parquet")
    cohort.loc[cohort.index[:2], "patient"] = "same"
    cohort.loc[[0, 450], "duplicate_cluster"] = 7
    cohort.loc[0, "patient"] = cohort.loc[450, "patient"]
    cohort.to_parquet(run / "cohort.parquet")
    text = read(run)
    assert text.count('class="banner"') == 2 and "1 patients lie in more than one part" in text and "1 groups of duplicate images" in text


def test_looks_and_unknown_patients_are_said(run_of):
    run = run_of()
    changed(run, "metrics.json", looks_at_test=4)
    changed(run, "audit.json", patient_known=False)
    text = read(run)
    assert "looked at 4 times" in text and "已被查看 4 次" in text and "Nothing in the data names the patient" in text and "each image counts as one" in text


def test_what_a_run_folder_says_is_escaped(run_of):
    run, evil = run_of(), "<script>alert(1)</script>"
    for file in ("metrics.json", "audit.json"):
        path = run / file
        path.write_text(path.read_text("utf-8").replace("pneumonia", evil.replace("/", "\\/")), "utf-8")
    cases = json.loads((run / "explain" / "cases.json").read_text("utf-8"))
    cases[0] |= {"id": f'"><img src=x onerror=1>{evil}', "label": evil}
    (run / "explain" / "cases.json").write_text(json.dumps(cases), "utf-8")
    predictions = pd.read_parquet(run / "predictions.parquet").rename(columns=lambda c: c.replace("pneumonia", evil))
    predictions.to_parquet(run / "predictions.parquet")
    text = read(run)
    assert "<script" not in text and "&lt;script&gt;" in text and "<img src=x" not in text


def test_pictures_come_from_the_folder_explain_alone(run_of):
    run = run_of()
    (run / "secret.png").write_bytes(b"secret")
    cases = json.loads((run / "explain" / "cases.json").read_text("utf-8"))
    cases[0]["image"] = "../secret.png"
    (run / "explain" / "cases.json").write_text(json.dumps(cases), "utf-8")
    assert "c2VjcmV0" not in read(run)


def test_page_stays_small_with_many_large_pictures(run_of):
    run = run_of()
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    for path in (run / "explain").glob("*.png"):
        Image.fromarray(noise).save(path)
    text = read(run)
    assert len(text.encode()) < 5_000_000 and "further pictures are in the folder explain/" in text


FILES = ["audit.json", "cohort.parquet", "metrics.json", "predictions.parquet", "explain", "log", "model", "environment.json", "plan.toml", "baselines.parquet"]


@pytest.mark.parametrize("file", FILES)
def test_what_is_missing_is_left_out_with_a_reason(file, run_of):
    run = run_of()
    shutil.rmtree(run / file) if (run / file).is_dir() else (run / file).unlink()
    text = read(run)
    page = Page(text)
    assert not page.wrong and not page.open
    named = {"explain": "explain/cases.json", "log": "log/history.csv", "model": "model/weights.safetensors"}.get(file, file)
    if file not in ("predictions.parquet", "baselines.parquet"):
        assert f"the run folder has no {named}" in text


def test_figures_without_intervals_are_shown_alone(run_of):
    run = run_of()
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    for figure in metrics["test"].values():
        figure["low"] = figure["high"] = None
    (run / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    assert f"the AUC was {metrics['test']['auc']['value']:.3f}." in read(run)


def test_many_classes_are_drawn_and_said(run_of):
    run = run_of("multiclass")
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    roc = metrics["curves"]["test"]["roc"]
    metrics["curves"]["test"]["roc"] = {f"class {i}": next(iter(roc.values())) for i in range(11)}
    (run / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    assert "Only the first 8 of 11 classes are drawn." in read(run)


def test_ranking_is_shown(run_of):
    run = run_of()
    rows = {"network": ["small-resnet", "vgg11"], "validation_loss": [0.1, float("inf")], "validation_score": [0.9, float("nan")], "epochs": [3, 0]}
    pd.DataFrame(rows).to_csv(run / "log" / "ranking.csv", index=False)
    assert "Networks trained under equal budget" in read(run)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_was_loaded_of_given_weights_is_said(lang, run_of):
    run = run_of()
    told = {"en": "26 tensors were loaded from start.npz; trained from the start: head.weight.", "zh": "从start.npz载入了 26 个张量。"}
    assert told[lang] not in read(run, lang)
    (run / "log" / "weights.json").write_text(json.dumps(told), "utf-8")
    assert told[lang] in read(run, lang)


@pytest.mark.parametrize(("lang", "said"), [
    ("en", "fcn could not be trained and is last: the loss is nan at step 7."),
    ("zh", "fcn 未能训练，列于最后：the loss is nan at step 7。"),
])
def test_a_network_that_could_not_be_trained_is_named_with_the_reason(lang, said, run_of):
    run = run_of("binary")
    rows = [{"network": "unet", "validation_loss": 0.3, "validation_score": 0.8, "epochs": 4, "seconds": 9.0, "reason": ""},
            {"network": "fcn", "validation_loss": None, "validation_score": None, "epochs": 0, "seconds": 0.0, "reason": "the loss is nan at step 7"}]
    pd.DataFrame(rows).to_csv(run / "log" / "ranking.csv", index=False)
    text = read(run, lang)
    assert said in text and "unet could not" not in text and "unet 未能训练" not in text



def test_unknown_language(run_of):
    with pytest.raises(OptionError, match="there is no report in this language: expected en or zh, got fr"):
        report(run_of(), "fr")


def test_no_run_folder(tmp_path):
    with pytest.raises(RunError, match="this is no run folder .*: expected a folder with plan.toml and metrics.json; give the folder that"):
        report(tmp_path)


@pytest.mark.parametrize("file", ["metrics.json", "cohort.parquet", "plan.toml", "log/history.csv"])
def test_damaged_file_is_named(file, run_of):
    run = run_of()
    (run / file).write_bytes(b"" if file.endswith("csv") else b"{\x80 broken")
    with pytest.raises(RunError, match=rf"damaged \(.*{file}\)"):
        report(run)


@every
def test_model_card(kind, run_of):
    run = run_of(kind)
    card = model_card(run)
    name = "mean absolute error" if kind == "regression" else "AUC"
    assert name in card and "a doctor decides" in card and "诊断由医生作出" in card
    assert all(f"## {title}" in card for title in ("Summary", "摘要", "Data", "Results", "Intended use", "Limits", "Record"))
    assert Plan.load(run / "plan.toml").hash in card and "sha256 of the weights" in card


def test_model_card_before_the_figures_are_written(run_of):
    run = run_of()
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    whole = model_card(run)
    (run / "metrics.json").unlink()
    assert model_card(run, metrics) == whole and "AUC" not in model_card(run)


def test_model_card_escapes_and_warns(run_of):
    run = run_of()
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    metrics["per_class"]["test"] = {"<b>|x": metrics["per_class"]["test"]["normal"]}
    Plan.load(run / "plan.toml").decide("split.by", "image", "asked for").save(run / "plan.toml")
    card = model_card(run, metrics)
    assert "&lt;b&gt;\\|x" in card and "<b>" not in card and "> **Split by image" in card


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_page_renders_in_a_browser(lang, run_of, tmp_path):
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from render import chromium, render

    if chromium() is None:
        pytest.skip("Chromium is not installed")
    picture = np.asarray(Image.open(render(report(run_of(), lang), tmp_path / "page.png", 1280, 3000)).convert("RGB"))
    assert picture.shape == (3000, 1280, 3)
    assert (picture.reshape(-1, 3).max(1) < 90).mean() > 0.005, "text is drawn"
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
