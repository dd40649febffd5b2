"""Another set scored with a sealed model; the model is a stand-in whose answer is the brightness of the image."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError, RunError
from vesalius.mapping import Mapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.seed import generator
from vesalius.stages.cohortfile import write_cohort
from vesalius.stages.external import evaluate as module
from vesalius.stages.external import evaluate_external, words
from vesalius.stages.external.shift import acquisition_of, compare_numbers, compare_values, shift_of
from vesalius.stages.fitfor import learn
from vesalius.stages.report.externalpage import external_page, external_text
from vesalius.storage import atomic_json

TARGET = TargetSpec("binary", ("healthy", "ill"))


class Brightness(torch.nn.Module):
    """Raw value of "ill": the mean of the image."""

    def forward(self, x):
        seen = x.mean((1, 2, 3))
        return torch.stack([-4 * seen, 4 * seen], 1)


def picture(rng, ill, light=0.0, size=24, signal=40):
    level = 110 + signal * ill + 30 * rng.normal() + light
    return np.clip(level + 8 * rng.normal(size=(size, size)), 0, 255).astype(np.uint8)


def make_set(folder, seed, n=60, names=("healthy", "ill"), signal=40, light=0.0, size=24, share=0.5, columns=True, **more):
    rng, rows = generator(seed, "external"), []
    (folder / "images").mkdir(parents=True)
    for i in range(n):
        ill = int(rng.random() < share)
        Image.fromarray(picture(rng, ill, light, size, signal)).save(folder / "images" / f"{seed}-{i}.png")
        row = {"image": f"images/{seed}-{i}.png", "patient": f"s{seed}p{i}", "label": names[ill]}
        rows.append(row | ({"sex": "FM"[i % 2], "age": round(55 + 10 * rng.normal()), **more} if columns else {}))
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run, with 120 test images judged by the stand-in."""
    plan = Plan({})
    for name, value in {"split.seal": "a" * 64, "input.mean": [0.5], "input.std": [0.2]}.items():
        plan = plan.decide(name, value, "test")
    mapping = Mapping(Reads((24, 24), mean=(0.5,), std=(0.2,)), [Brightness()], output_for(TARGET), plan)
    monkeypatch.setattr(module.Mapping, "load", lambda *_: mapping)
    folder, rng = tmp_path / "run", generator(0, "own")
    folder.mkdir()
    truth = np.arange(120) % 2
    raw = np.array([mapping.raw(mapping.encode_array(picture(rng, ill)[None])) for ill in truth])
    p = mapping.output.probabilities(raw)
    ids = [f"i{i}" for i in range(120)]
    facts = {"id": ids, "path": ids, "patient": ids, "split": "test", "label": [TARGET.classes[t] for t in truth]}
    pd.DataFrame(facts | {"truth": truth, "p_healthy": p[:, 0], "p_ill": p[:, 1]}).to_parquet(folder / "predictions.parquet")
    own = {"member": None, "hash": [f"h{i}" for i in range(120)], "official_split": None, "duplicate_cluster": -1, "excluded_because": None}
    write_cohort(pd.DataFrame(facts | own | {"sex": ["F", "M"] * 60, "age": 55.0 + 10 * generator(1, "age").normal(size=120)}), folder / "cohort.parquet")
    atomic_json(folder / "metrics.json", {"target": TARGET.to_dict(), "primary": "auc", "operating_point": {"threshold": 0.5}, "looks_at_test": 1})
    atomic_json(folder / "audit.json", {"sizes": [{"shape": [24, 24], "n": 120}], "modalities": {"not stated": 120}, "bits": {"8 bit grey": 120}})
    return folder


def scored(run, data, **options):
    return evaluate_external(run, data, n_boot=200, jobs=1, **options)


def codes_of(record):
    return [each["code"] for each in record["sentences"]]


def test_a_like_set_shows_no_drop_and_no_shift(run, tmp_path):
    found = scored(run, make_set(tmp_path / "like", 1, n=100))
    record = found.record
    table = pd.read_parquet(found.folder / "predictions.parquet")
    assert len(table) == 100 and set(table["split"]) == {"external"} and record["n_patients"] == 100
    assert "external-no-drop" in codes_of(record) and "no-shift" in codes_of(record) and record["drop"]["auc"]["low"] <= 0 <= record["drop"]["auc"]["high"]
    assert record["drop"]["auc"]["value"] == pytest.approx(record["own"]["auc"]["value"] - record["external"]["auc"]["value"])
    assert {"sensitivity", "specificity", "brier"} <= set(record["external"]) and {"sex", "age"} <= set(record["subgroups"]["columns"])
    assert json.loads((found.folder / "external.json").read_text("utf-8")) == record


def test_a_worse_set_shows_the_drop_and_what_shifted(run, tmp_path):
    data = make_set(tmp_path / "other", 2, n=120, signal=5, light=60.0, size=32, share=0.25)
    record = scored(run, data).record
    assert record["drop"]["auc"]["low"] > 0 and "external-drop" in codes_of(record)
    shifted = {row["name"] for row in [*record["shift"], *record["acquisition"]] if row["shifted"]}
    assert {"label", "sizes", "brightness", "p_ill"} <= shifted and not {"sex", "modalities", "bits"} & shifted
    assert next(row for row in record["acquisition"] if row["name"] == "sizes")["new"] == 1.0


def test_it_is_no_look_at_the_own_test_and_has_a_count_of_its_own(run, tmp_path):
    data = make_set(tmp_path / "like", 1)
    first, second = scored(run, data), scored(run, data)
    assert not (run / "log" / "looks.jsonl").exists() and json.loads((run / "metrics.json").read_text())["looks_at_test"] == 1
    assert (first.record["looks"], second.record["looks"]) == (1, 2) and "external-again" in codes_of(second.record)
    assert scored(run, make_set(tmp_path / "third", 3)).record["looks"] == 1
    assert len((run / "external" / "looks.jsonl").read_text().splitlines()) == 3 and first.folder == second.folder


def test_other_class_names_are_one_clear_error(run, tmp_path):
    data = make_set(tmp_path / "named", 1, n=20, names=("normal", "sick"))
    with pytest.raises(LabelError, match=r"the classes of the external set are not those of the model \(.*named.*\): expected the model's healthy, ill, "
                                         r"got the set's normal, sick; rename the labels"):
        scored(run, data)
    assert not (run / "external").exists()


def test_a_group_column_without_values_is_one_clear_error(run, tmp_path):
    data = make_set(tmp_path / "empty", 1, n=30, scanner="")
    with pytest.raises(LabelError, match="the column 'scanner' holds nothing: expected a value for some of the cases, got 30 empty cells"):
        scored(run, data, columns=["scanner"])
    assert not (run / "external").exists()


def test_what_the_model_has_seen_is_left_out(run, tmp_path):
    data = make_set(tmp_path / "like", 1, n=40)
    hashes = pd.DataFrame(scored(run, data).record["excluded"], index=[0])
    assert hashes.empty
    cohort = pd.read_parquet(run / "cohort.parquet")
    seen = module.audit_cohort(module.recognise(str(data))).hashes
    cohort.loc[:4, "hash"] = list(seen.values())[:5]
    write_cohort(cohort, run / "cohort.parquet")
    record = scored(run, data).record
    assert record["excluded"] == {"in the run's own data": 5} and record["n_images"] == 35 and "external-left-out" in codes_of(record)
    cohort["hash"] = (list(seen.values()) * 3)[:120]
    write_cohort(cohort, run / "cohort.parquet")
    with pytest.raises(DataError, match="nothing of the external set can be scored .*got 40 in the run's own data"):
        scored(run, data)


def test_one_class_alone_has_no_auc(run, tmp_path):
    record = scored(run, make_set(tmp_path / "one", 1, n=30, share=0.0), label="label").record
    assert "auc" not in record["drop"] and codes_of(record)[0] == "external-undefined" and "specificity" in record["external"]
    assert "External set: one" in external_page(record)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="this is not a finished run"):
        evaluate_external(tmp_path, tmp_path)


def test_another_kind_of_truth_is_refused(run, tmp_path, monkeypatch):
    data = make_set(tmp_path / "like", 1, n=20)
    cohort = module.recognise(str(data))
    marked = module.replace(cohort, target=TargetSpec("mask", TARGET.classes, values=((1,), (2,))))
    monkeypatch.setattr(module, "recognise", lambda *_, **__: marked)
    with pytest.raises(DataError, match="the external set is marked in another way than the model answers .*expected binary, got mask"):
        scored(run, data)


def test_values_and_numbers_are_compared():
    same = compare_values(["F"] * 50 + ["M"] * 50, ["F"] * 49 + ["M"] * 51)
    other = compare_values(["F"] * 50 + ["M"] * 50, ["F"] * 90 + ["M"] * 10)
    assert same["p"] > 0.5 and same["effect"] == pytest.approx(0.01) and other["p"] < 1e-6 and other["effect"] == pytest.approx(0.4)
    assert other["external"]["F"]["value"] == 0.9 and other["external"]["F"]["low"] < 0.9 < other["external"]["F"]["high"]
    rng = generator(0, "shift")
    moved = compare_numbers(rng.normal(50, 10, 300), rng.normal(56, 10, 300))
    assert moved["effect"] == pytest.approx(0.6, abs=0.2) and moved["p"] < 1e-3 and compare_values(["a"], ["a"])["p"] == 1.0


def test_shift_finds_what_was_planted_and_little_else():
    """Twenty sets without a shift of ten columns: Holm keeps the alarms near one in twenty."""
    def frame(seed, planted=0.0):
        rng = generator(seed, "columns")
        made = {f"c{k}": rng.normal(size=150) for k in range(9)} | {"sex": rng.choice(["F", "M"], 150)}
        made["c0"] = made["c0"] + planted
        return pd.DataFrame(made | {"patient": range(150), "label": rng.choice(TARGET.classes, 150)})

    false = sum(any(row["shifted"] for row in shift_of(frame(s), frame(100 + s), (pd.DataFrame(), pd.DataFrame()), TARGET)) for s in range(20))
    found = [[row["name"] for row in shift_of(frame(s), frame(100 + s, 0.7), (pd.DataFrame(), pd.DataFrame()), TARGET) if row["shifted"]] for s in range(10)]
    assert false <= 3 and sum("c0" in names for names in found) >= 9


def test_several_labels_are_compared_one_by_one():
    several = TargetSpec("multilabel", ("a", "b"))
    own, other = (pd.DataFrame({"patient": range(100), "label": labels}) for labels in (["a"] * 50 + [""] * 50, ["a|b"] * 50 + [""] * 50))
    rows = shift_of(own, other, (pd.DataFrame(), pd.DataFrame()), several)
    assert [(row["name"], row["shifted"]) for row in rows] == [("a", False), ("b", True)]


def test_audits_without_facts_say_nothing():
    assert acquisition_of({}, {"sizes": []}, Plan({}), None) == []


def test_the_page_shows_all_in_both_languages(run, tmp_path):
    record = scored(run, make_set(tmp_path / "other", 2, n=60, signal=5, light=60.0, size=32)).record
    page = external_page(record, "zh")
    for text in ("External set: other", "外部数据：other", "Own test", "自身测试集", "brightness", "亮度", "sex: F", "AUC"):
        assert text in page
    assert record["sentences"][0]["en"] in external_text(record) and "<script" not in page


@pytest.fixture
def remembering(run, tmp_path, monkeypatch):
    """The same run, whose model remembers what its pictures were like."""
    mapping, rng = module.Mapping.load(run), generator(5, "seen")
    films = [Study(picture(rng, i % 2)[None], Grid.plain((24, 24))) for i in range(120)]
    opened = [lambda film=film: film for film in films]
    (tmp_path / "model").mkdir()
    learn(mapping, opened[:80], opened[80:]).save(tmp_path / "model")
    mapping.folder = tmp_path / "model"
    return run


def test_what_the_model_would_refuse_is_counted_and_the_figures_are_given_without_it(remembering, tmp_path):
    data = make_set(tmp_path / "mixed", 1, n=60)
    for i in range(12):
        Image.fromarray((255 * (np.indices((24, 24)).sum(0) % 2)).astype(np.uint8)).save(data / "images" / f"1-{i}.png")
    record = scored(remembering, data, columns=[]).record
    found = record["fitness"]
    assert found["n"] == 60 and len(found["ids"]) in (12, 13) and all(any(name.endswith(f"/1-{i}.png") for name in found["ids"]) for i in range(12))
    assert found["refused"]["low"] < 0.2 < found["refused"]["high"] and sum(row["n"] for row in found["reasons"]) == len(found["ids"])
    assert found["fit"]["auc"]["n_images"] == 60 - len(found["ids"]) and found["fit"]["auc"]["value"] > record["external"]["auc"]["value"]
    told = next(row for row in record["sentences"] if row["code"] == "external-unfit")
    assert f"refuse {len(found['ids'])} of 60 cases" in told["en"] and f"Without them auc {found['fit']['auc']['value']:.3f}" in told["en"]
    page = external_page(record)
    assert "Without what it refuses" in page and "不计被拒绝者" in page and found["reasons"][0]["zh"] in page


def test_a_like_set_is_read_and_a_model_without_statistics_says_so(remembering, tmp_path):
    record = scored(remembering, make_set(tmp_path / "like", 1, n=40)).record
    assert "external-fits" in codes_of(record) or len(record["fitness"]["ids"]) <= 1
    module.Mapping.load(remembering).folder = None
    again = scored(remembering, make_set(tmp_path / "other", 2, n=20)).record
    assert again["fitness"] == {"applies": False} and "external-unjudged" in codes_of(again) and "Without what it refuses" not in external_page(again)


def test_what_was_left_out_is_told_in_both_languages():
    (said,) = words._left_out({"excluded": {"truncated file": 2, "in the run's own data": 3}})
    assert said["en"] == "Left out: 2 (truncated file); 3 (in the run's own data)."
    assert said["zh"] == "未计入：2（文件不完整）；3（已在本次训练数据中）。"
