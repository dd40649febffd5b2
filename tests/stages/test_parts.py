"""Members and folds: who learns from what."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from vesalius.core.target import TargetSpec
from vesalius.errors import TooFewError
from vesalius.plan import Plan
from vesalius.seed import generator
from vesalius.stages.compete import Material, mapping_of
from vesalius.stages.parts import Part, keep_training, parts_of, trained_seconds, unseen_of
from vesalius.stages.train import Trained

BINARY = TargetSpec("binary", ("healthy", "ill"))


def cohort(n=120, images=2, seed=0):
    """Images of patients, every tenth patient a duplicate of the one before."""
    patient = np.arange(n) // images
    split = np.array(["train", "train", "train", "validation", "test"])[generator(seed, "split").permutation(patient.max() + 1) % 5][patient]
    twins = np.where(patient % 10 < 2, patient // 10, -1)
    split = np.where(twins >= 0, "train", split)
    label = [BINARY.classes[int(value)] for value in patient // 2 % 2]
    facts = {"id": [f"i{i}" for i in range(n)], "patient": [f"p{i}" for i in patient], "label": label, "split": split, "duplicate_cluster": twins}
    return pd.DataFrame(facts)


def plan_of(folds=None, members=1):
    plan = Plan().decide("train.members", members, "a test")
    return plan if folds is None else plan.decide("train.folds", folds, "a test")


def test_without_folds_members_share_the_split_also_in_an_older_plan():
    frame = cohort()
    for plan in (plan_of(members=2), plan_of(0, 2)):
        parts = parts_of(plan, frame, BINARY, 0)
        assert [(part.name, part.fold) for part in parts] == [("member-0", -1), ("member-1", -1)]
        for part in parts:
            assert set(frame["split"].iloc[part.train_rows]) == {"train"} and set(frame["split"].iloc[part.validation_rows]) == {"validation"}
            assert len(part.train_rows) == (frame["split"] == "train").sum()


def test_every_patient_outside_of_the_test_is_held_out_once_with_its_duplicates():
    frame = cohort()
    parts = parts_of(plan_of(4), frame, BINARY, 3)
    held = np.concatenate([part.validation_rows for part in parts])
    assert sorted(held) == list(np.flatnonzero(frame["split"] != "test")) and [part.name for part in parts] == [f"fold-{k}-member-0" for k in range(4)]
    for part in parts:
        mine, others = frame.iloc[part.validation_rows], frame.iloc[part.train_rows]
        assert len(mine) + len(others) == (frame["split"] != "test").sum() and set(mine["label"]) == set(others["label"]) == set(BINARY.classes)
        assert not set(mine["patient"]) & set(others["patient"])
        assert not set(mine["duplicate_cluster"]) & set(others["duplicate_cluster"]) - {-1}


def test_the_seed_deals_and_the_members_of_a_fold_share_it():
    frame = cohort()
    several, again, other = (parts_of(plan_of(3, 2), frame, BINARY, seed) for seed in (1, 1, 2))
    assert [(part.name, part.fold) for part in several[:3]] == [("fold-0-member-0", 0), ("fold-0-member-1", 0), ("fold-1-member-0", 1)]
    assert all((a.validation_rows == b.validation_rows).all() for a, b in zip(several, again, strict=True))
    assert (several[0].train_rows == several[1].train_rows).all() and set(several[0].validation_rows) != set(other[0].validation_rows)


def test_fewer_patients_than_folds_are_refused():
    with pytest.raises(TooFewError, match=r"too few patients for the folds.*at least 90 independent patients.*use fewer folds"):
        parts_of(plan_of(90), cohort(), BINARY, 0)


def test_each_fold_is_shown_to_the_networks_that_have_not_seen_it():
    frame = cohort()
    parts = parts_of(plan_of(3, 2), frame, BINARY, 0)
    made = unseen_of(lambda some: tuple(some), frame, parts, list(range(6)))
    assert [(fold, networks) for fold, networks, _ in made] == [(0, (0, 1)), (1, (2, 3)), (2, (4, 5))]
    for (fold, _, rows), part in zip(made, parts[::2], strict=True):
        assert part.fold == fold and list(rows.index) == list(part.validation_rows) and set(rows["split"]) == {"validation"}


def test_networks_that_are_averaged_share_the_scale_of_a_regression(tmp_path):
    frame, target = cohort().assign(label=np.arange(120.0)), TargetSpec("regression", (), "age")
    plan = plan_of(3).decide("train.class_weights", [], "").decide("train.focal", 0.0, "").decide("train.label_smoothing", 0.0, "")
    plan = plan.decide("train.mirror", [], "").decide("network.name", "small-cnn", "").decide("network.options", {}, "")
    for name, value in {"size": [16, 16], "channels": 1, "letterbox": False, "window": "full", "low": 0.0, "high": 255.0, "levels": 255}.items():
        plan = plan.decide(f"input.{name}", value, "")
    inner = frame["split"] != "test"
    material = Material(None, frame, target, tmp_path, tmp_path)
    parts = parts_of(plan, frame, target, 0)
    outputs = [mapping_of(plan, material, parts, some).output.facts for some in ([], list[Trained]())]
    assert outputs[0] == outputs[1] and outputs[0]["centre"] == pytest.approx(frame.loc[inner, "label"].mean())
    alone = [Part("member-0", np.flatnonzero(frame["split"] == "train"), np.zeros(0, int), -1)]
    assert mapping_of(plan, material, alone, []).output.facts["centre"] == pytest.approx(frame.loc[frame["split"] == "train", "label"].mean())


def test_the_time_of_training_is_that_of_all_networks_and_outlives_the_process(tmp_path):
    work = SimpleNamespace(run=SimpleNamespace(log=tmp_path))
    parts = [Part(f"member-{i}", np.arange(2), np.arange(2), -1) for i in range(2)]
    keep_training(work, parts, [Trained({}, 0.1, 0.9, 1, 1, seconds, "done") for seconds in (12.5, 30.0)])
    assert trained_seconds(SimpleNamespace(run=SimpleNamespace(log=tmp_path))) == 42.5
