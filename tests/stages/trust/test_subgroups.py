import json

import numpy as np
import pandas as pd
import pytest

from box_cases import CELLS
from box_cases import table as box_table
from vesalius.core.cohort import Case, Source
from vesalius.core.target import TargetSpec
from vesalius.errors import LabelError
from vesalius.kernels.figures import Ranked
from vesalius.seed import generator
from vesalius.stages.judged import judged_of
from vesalius.stages.run import RunFolder
from vesalius.stages.trust import TRUST, Trust
from vesalius.stages.trust import subgroups as subgroups_module
from vesalius.stages.trust._grouping import column_of, columns_of
from vesalius.stages.trust.subgroups import groups_of
from vesalius.storage import atomic_json

BINARY = TargetSpec("binary", ("healthy", "ill"))
MASK = TargetSpec("mask", ("liver",), values=((1,),))
METRICS = {"primary": "auc", "operating_point": {"threshold": 0.5}}


def table(n=300, gap=0.0, seed=0, images=1):
    """Test predictions with a site of every patient; at site B the score knows less by ``gap``."""
    rng = generator(seed, "subgroups")
    people = n // images
    truth, site = rng.integers(0, 2, people), np.where(rng.random(people) < 0.4, "B", "A")
    signal = np.where(site == "B", 2.0 - gap, 2.0)
    rows = []
    for person in range(people):
        own = rng.normal()
        for k in range(images):
            score = signal[person] * truth[person] + 0.8 * own + 0.6 * rng.normal() - 1
            p = 1 / (1 + np.exp(-score))
            rows.append({"id": f"{person}-{k}", "patient": f"p{person}", "split": "test", "truth": int(truth[person]), "p_healthy": 1 - p, "p_ill": p,
                         "site": site[person], "sex": "FM"[person % 2], "age": int(20 + person % 60), "rare": "x" if person < 4 else "y", "empty": None})
    return pd.DataFrame(rows)


def found_in(frame, target=BINARY, **options):
    judged = judged_of(frame, METRICS, target)
    return groups_of(judged, frame, target, **({"n": 300, "columns": ["site", "sex", "age", "rare"]} | options))


def codes_of(found):
    return [each["code"] for each in found["sentences"]]


def test_a_planted_gap_is_found_and_named():
    found = found_in(table(400, gap=1.5))
    (gap,) = [gap for gap in found["gaps"] if gap["column"] == "site"]
    assert gap["p_holm"] < 0.05 and gap["value"] > 0 and (gap["group"], gap["against"]) == ("A", "B") and gap["low"] <= gap["value"] <= gap["high"]
    assert (found["worst"]["column"], found["worst"]["group"]) == ("site", "B")
    assert "gap" in codes_of(found) and "no-gap" not in codes_of(found)
    said = next(each for each in found["sentences"] if each["code"] == "gap")
    assert said["severity"] == "warning" and "Better for site A than for B" in said["en"] and "site" in said["zh"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_a_gap_it_says_what_would_have_been_seen():
    found = found_in(table(300))
    assert "no-gap" in codes_of(found) and all(gap["p_holm"] >= 0.05 for gap in found["gaps"])
    assert all(0.05 < gap["detectable"] < 0.5 for gap in found["gaps"])


def test_figures_of_a_group_are_those_of_its_cases():
    frame = table()
    found = found_in(frame)
    mine = frame[frame["site"] == "B"]
    auc = Ranked(mine["p_ill"].to_numpy(), mine["truth"].to_numpy())(np.ones((len(mine), 1)))["auc"][0]
    group = found["columns"]["site"]["groups"]["B"]
    assert group["figures"]["auc"]["value"] == pytest.approx(auc) and group["n_patients"] == len(mine)
    assert {"sensitivity", "specificity", "ppv", "brier"} <= set(group["figures"])


def test_small_groups_are_said_to_be_small():
    found = found_in(table())
    rare = found["columns"]["rare"]["groups"]["x"]
    assert rare["figures"] == {} and rare["why"]["en"] == "4 patients; at least 10 are needed"
    assert not [gap for gap in found["gaps"] if gap["column"] == "rare"]
    assert "rare x" in next(each["en"] for each in found["sentences"] if each["code"] == "small-groups")


def test_a_group_with_one_class_has_no_auc():
    frame = table()
    frame["site"] = np.where((frame["truth"] == 1) & (frame.index < 60), "ward", "other")
    assert found_in(frame, columns=["site"])["columns"]["site"]["groups"]["ward"]["why"]["en"] == "0 patients of class 'healthy'"


def test_all_empty_columns_are_one_clear_message():
    frame = table()
    with pytest.raises(LabelError, match="the column 'empty' holds nothing: expected a value for some of the cases, got 300 empty cells; fill the column"):
        found_in(frame, columns=["empty"])
    with pytest.raises(LabelError, match="there is no column 'height' to make groups of"):
        found_in(frame, columns=["height"])
    told = found_in(frame.drop(columns=["truth"]).assign(truth=frame["truth"]), columns=["site", "sex"])
    assert "empty-column" not in codes_of(told)


def test_empty_columns_among_others_are_told():
    frame = table()
    rows = frame[["id", "patient", "site", "empty"]]
    found = groups_of(judged_of(frame, METRICS, BINARY), rows, BINARY, n=100)
    assert set(found["columns"]) == {"site", "empty"} and "These columns hold nothing: empty." in [each["en"] for each in found["sentences"]]


def test_no_column_is_not_a_result():
    frame = table(60)
    found = groups_of(judged_of(frame, METRICS, BINARY), frame[["id", "patient"]], BINARY)
    assert found["applies"] is False and "no column" in found["why"]["en"]


def test_values_become_groups():
    def groups(name, cells):
        made = column_of(name, pd.Series(cells, dtype=object))
        return made.groups, list(made.group)

    assert groups("age", [3, 25.0, "080Y", None, "18"]) == (("0–17", "18–39", "80+"), ["0–17", "18–39", "80+", "", "18–39"])
    assert groups("grade", [1, 2.0, 1, 2]) == (("1", "2"), ["1", "2", "1", "2"])
    thirds = column_of("weight", pd.Series(range(30)))
    assert len(thirds.groups) == 3 and [(thirds.group == name).sum() for name in thirds.groups] == [10, 10, 10]
    assert column_of("name", pd.Series([f"x{i}" for i in range(30)])).why == ("it has 30 different values", "该列有 30 个不同的值")
    assert column_of("site", pd.Series(["a", "a", None])).why[0] == "all cases have the same value"
    assert column_of("stage", pd.Series([1, 1])).why[0] == "all cases have the same value"
    assert column_of("usage", pd.Series(range(30))).groups != column_of("age", pd.Series(range(30))).groups
    assert [each.name for each in columns_of(pd.DataFrame({"id": ["a"], "label": ["x"], "sex": ["F"]}))] == ["sex"]


def test_images_of_a_patient_do_not_make_gaps():
    """Ten images a patient, no gap: no comparison of eight studies may speak up more than now and then."""
    false = sum(found_in(table(600, seed=seed, images=10), columns=["site"], n=100)["gaps"][0]["p"] < 0.05 for seed in range(8))
    assert false <= 2


def test_masks_by_group():
    rng, rows = generator(0, "masks"), []
    for i in range(60):
        bad = i % 3 == 0
        dice = float(np.clip(0.9 - 0.25 * bad + 0.05 * rng.normal(), 0, 1))
        row = {"id": f"c{i}", "path": "x", "patient": f"p{i}", "split": "test", "fold": -1, "class": "liver", "site": "B" if bad else "A"}
        row |= dict.fromkeys(("dice", "nsd", "sensitivity", "ppv"), dice) | {"iou": dice / (2 - dice), "hd95": 1.0, "specificity": 0.99, "auc": np.nan}
        rows.append(row | {"size_true": 10.0, "size_predicted": 11.0, "n_true": 1, "n_found": 1, "n_false": 0, "unit": "mm", "note": ""})
    frame = pd.DataFrame(rows)
    found = groups_of(judged_of(frame, {}, MASK), frame[["id", "patient", "site"]], MASK, n=300)
    assert found["metric"] == "dice" and found["worst"]["group"] == "B" and found["gaps"][0]["p_holm"] < 0.01
    expected = frame[frame["site"] == "B"]["dice"].mean()
    assert found["columns"]["site"]["groups"]["B"]["figures"]["dice"]["value"] == pytest.approx(expected)


def test_boxes_by_group():
    good, bad = box_table(n=30, seed=1), box_table(n=30, seed=2)
    bad = bad.assign(id="b" + bad["id"], patient="b" + bad["patient"].astype(str), found="[]")
    frame = pd.concat([good, bad], ignore_index=True).assign(split="test")
    metrics = {"operating_point": dict.fromkeys(CELLS.classes, {"threshold": 0.5}), "matching": {"rule": "IoU >= 0.5"}}
    rows = frame[["id", "patient"]].assign(scanner=["new"] * 30 + ["old"] * 30)
    found = groups_of(judged_of(frame, metrics, CELLS), rows, CELLS, n=100)
    assert found["metric"] == "map50" and found["worst"]["group"] == "old" and found["worst"]["value"] == 0
    assert {"map50", "sensitivity", "precision"} & set(found["columns"]["scanner"]["groups"]["new"]["figures"])
    assert found["gaps"][0]["p_holm"] < 0.05


def test_it_is_a_part_of_the_tests_of_trust(tmp_path):
    frame = table(120)
    run = RunFolder(tmp_path)
    atomic_json(run.metrics, METRICS)
    cohort = frame[["id", "patient", "site", "sex"]].assign(split="test", label="ill")
    trust = Trust(run, None, cohort, None, frame, BINARY, {"0-0": Case("0-0", Source("raster", "x"), "p0")})
    found = TRUST.get("subgroups")(trust)
    assert set(found["columns"]) == {"site", "sex"} and found["n_patients"] == 120


def test_dicom_files_tell_the_machine(tmp_path, monkeypatch):
    frame = table(120)
    run = RunFolder(tmp_path)
    atomic_json(run.metrics, METRICS)
    made = {name: "Old" if i % 3 else "New" for i, name in enumerate(frame["id"])}
    monkeypatch.setattr(subgroups_module, "acquisition", lambda source: {"manufacturer": made[source.path], "view": "PA", "sex": "other"})
    cases = {name: Case(name, Source("dicom", name), name) for name in frame["id"]}
    trust = Trust(run, None, frame[["id", "patient", "sex"]].assign(split="test", label="ill"), None, frame, BINARY, cases)
    found = TRUST.get("subgroups")(trust)
    assert set(found["columns"]) == {"sex", "manufacturer"} and set(found["columns"]["manufacturer"]["groups"]) == {"New", "Old"}
    assert set(found["columns"]["sex"]["groups"]) == {"F", "M"}


def test_few_draws_and_many_columns_still_find_a_large_gap():
    """The least p of few permutations would not survive the correction: there are more where there are more comparisons."""
    frame = table(300, gap=2.0)
    rng = generator(0, "many columns")
    frame = frame.assign(**{f"c{k}": rng.choice(["x", "y"], len(frame)) for k in range(6)})
    found = found_in(frame, columns=["site", *(f"c{k}" for k in range(6))], n=40)
    assert [gap["column"] for gap in found["gaps"] if gap["p_holm"] < 0.05] == ["site"]
