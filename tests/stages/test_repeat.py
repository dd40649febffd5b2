import json

import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.kernels.figures import Ranked
from vesalius.seed import generator, stream_seed
from vesalius.stages.repeat import band_of, read_repeats, repeat_training, to_repeat
from vesalius.stages.request import Request
from vesalius.stages.run import RunFolder
from vesalius.stages.trust import Trust
from vesalius.stages.trust.noise import least_difference, noise
from vesalius.stages.work import Work
from vesalius.storage import atomic_json

BINARY = TargetSpec("binary", ("healthy", "ill"))


def predictions(seed, n=80, splits=("validation", "test")):
    rng = generator(seed, "repeat")
    truth = np.arange(n) % 2
    p = 1 / (1 + np.exp(-(rng.normal(size=n) + truth)))
    facts = {"id": [f"i{i}" for i in range(n)], "patient": [f"p{i}" for i in range(n)], "split": [splits[i // 2 % len(splits)] for i in range(n)]}
    return pd.DataFrame(facts | {"truth": truth, "p_healthy": 1 - p, "p_ill": p})


def work_in(tmp_path, repeat):
    run = RunFolder(tmp_path)
    if not run.metrics.is_file():
        atomic_json(run.metrics, {"primary": "auc", "operating_point": {"threshold": 0.5}})
        predictions(0).to_parquet(run.predictions)
    return Work(run, Request(data="somewhere", seed=3, repeat=repeat), lambda *_: None, {})


def trained(seen):
    def once(again):
        seen.append(again)
        return predictions(again.number)

    return once


def auc_of(table):
    rows = table[table["split"] == "validation"]
    return Ranked(rows["p_ill"].to_numpy(), rows["truth"].to_numpy())(np.ones((len(rows), 1)))["auc"][0]


def test_the_first_seed_is_the_run_and_the_others_are_judged_on_validation(tmp_path):
    seen = []
    work = work_in(tmp_path, 3)
    repeat_training(work, BINARY, trained(seen))
    record = read_repeats(work.run)
    assert [each["seed"] for each in record["runs"]] == [3, stream_seed(3, "repeat", 1), stream_seed(3, "repeat", 2)]
    expected = [auc_of(predictions(k)) for k in range(3)]
    assert [each["figures"]["auc"] for each in record["runs"]] == pytest.approx(expected)
    band = record["band"]["auc"]
    assert (band["mean"], band["sd"]) == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
    assert (band["low"], band["high"], band["n"]) == pytest.approx((min(expected), max(expected), 3))
    assert record["part"] == "validation" and len({(each.checkpoints, each.log) for each in seen}) == 2


def test_what_was_trained_is_not_trained_again_and_more_may_be_asked_for(tmp_path):
    seen = []
    for repeat in (2, 2, 4):
        work = work_in(tmp_path, repeat)
        repeat_training(work, BINARY, trained(seen))
        assert not to_repeat(work)
    assert [each.number for each in seen] == [1, 2, 3] and len(read_repeats(work.run)["runs"]) == 4


def test_a_kill_costs_one_training(tmp_path):
    seen = []

    def dies(again):
        if again.number == 2:
            raise KeyboardInterrupt
        return trained(seen)(again)

    with pytest.raises(KeyboardInterrupt):
        repeat_training(work_in(tmp_path, 4), BINARY, dies)
    repeat_training(work_in(tmp_path, 4), BINARY, trained(seen))
    assert [each.number for each in seen] == [1, 2, 3]


def test_without_repeat_nothing_is_trained(tmp_path):
    work = work_in(tmp_path, 1)
    repeat_training(work, BINARY, trained([]))
    assert not (tmp_path / "repeats.json").exists()


def test_the_option_is_checked_and_may_change_in_a_finished_run():
    with pytest.raises(OptionError, match="--repeat must be positive"):
        Request(data="x", repeat=0)
    assert "repeat" not in Request(data="x", repeat=5).remembered()


def test_a_figure_that_a_seed_lacks_is_of_the_others():
    band = band_of([{"figures": {"auc": 0.8, "f1": 0.5}}, {"figures": {"auc": 0.9}}])
    assert set(band) == {"auc"} and band["auc"]["sd"] == pytest.approx(0.0707, abs=1e-4)


def trust_in(tmp_path, table, target=BINARY, **plain):
    class Alone:
        networks = (None,)

    return Trust(RunFolder(tmp_path), Alone(), table[["id", "patient", "split"]], None, table, target, {})


def test_the_band_of_seeds_is_told_and_asked_anew_after_more_seeds(tmp_path):
    work = work_in(tmp_path, 1)
    found = noise(trust_in(tmp_path, predictions(0)))
    assert found["applies"] is False and "--repeat 5" in found["why"]["en"] and "--repeat 5" in found["why"]["zh"]
    atomic_json(tmp_path / "trust.json", {"noise": found, "leak": {}})
    work = work_in(tmp_path, 4)
    repeat_training(work, BINARY, trained([]))
    assert json.loads((tmp_path / "trust.json").read_text()) == {"leak": {}}
    found = noise(trust_in(tmp_path, predictions(0)))
    band = read_repeats(work.run)["band"]["auc"]
    assert (found["from"], found["n"], found["metric"]) == ("seeds", 4, "auc") and found["band"]["auc"] == band
    assert found["least"] == pytest.approx(least_difference(band["sd"], 4)) and "4 seeds" in found["sentences"][0]["en"]


def test_folds_bound_the_noise(tmp_path):
    rng, rows = generator(0, "folds"), []
    for i in range(40):
        dice = float(rng.uniform(0.7, 0.9))
        row = {"id": f"c{i}", "patient": f"p{i}", "split": "validation", "fold": i % 4, "class": "liver", "auc": np.nan}
        row |= dict.fromkeys(("dice", "nsd", "sensitivity", "ppv", "iou", "specificity"), dice) | {"hd95": 1.0, "size_true": 1.0, "size_predicted": 1.0}
        rows.append(row | {"n_true": 1, "n_found": 1, "n_false": 0, "unit": "mm", "note": ""})
    table = pd.DataFrame(rows)
    atomic_json(tmp_path / "metrics.json", {"primary": "dice"})
    found = noise(trust_in(tmp_path, table, TargetSpec("mask", ("liver",), values=((1,),))))
    means = table.groupby("fold")["dice"].mean()
    assert (found["from"], found["n"]) == ("folds", 4) and found["band"]["dice"]["sd"] == pytest.approx(means.std())
    assert "at most" in found["sentences"][0]["en"]


def test_two_runs_of_the_same_plan_differ_by_more_than_that_in_one_of_twenty():
    rng = generator(0, "least")
    drawn = rng.normal(size=(4000, 5))
    least = np.array([least_difference(sd, 5) for sd in drawn.std(1, ddof=1)])
    assert 0.035 < (np.abs(rng.normal(size=4000) - rng.normal(size=4000)) > least).mean() < 0.065


def test_folds_of_whole_images_bound_the_noise_and_no_network_is_asked_what_it_has_learnt(tmp_path):
    table = predictions(0, 160)
    table["fold"] = np.where(table["split"] == "validation", np.arange(160) // 4 % 4, -1)
    atomic_json(tmp_path / "metrics.json", {"primary": "auc", "operating_point": {"threshold": 0.5}})
    trust = trust_in(tmp_path, table)
    trust.images = np.zeros((160, 1, 4, 4), np.uint8)
    trust.mapping.networks = (None,) * 4
    found = noise(trust)
    each = [auc_of(rows) for _, rows in table[table["fold"] >= 0].groupby("fold")]
    assert (found["from"], found["n"]) == ("folds", 4) and found["values"] == pytest.approx(each)
    assert found["band"]["auc"]["sd"] == pytest.approx(np.std(each, ddof=1))
