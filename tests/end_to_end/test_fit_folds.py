"""``--folds`` of whole images: every patient outside of the test set is judged by a network that has not seen it, the test set by all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import vesalius
from vesalius.errors import OptionError, TooFewError
from vesalius.mapping import Mapping
from vesalius.phantoms import make_phantom
from vesalius.plan import Plan
from vesalius.stages.fitfor.record import FitFor
from vesalius.stages.nodes import material_of
from vesalius.stages.parts import parts_of
from vesalius.stages.predict import raw_values
from vesalius.stages.report import report
from vesalius.stages.run import RunFolder

from .conftest import Command

K = 3
SMALL = {"epochs": 2, "size": 24, "network": ("small-cnn",), "precision": "32-true"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_phantom("binary-folders", tmp_path_factory.mktemp("films") / "p", seed=1, n=72).data)


@pytest.fixture(scope="module")
def folded(cli: Command, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds") / "run"
    told = cli("fit", films, "--out", out, "--folds", K, "--epochs", 2, "--size", 24, "--network", "small-cnn", "--precision", "32-true")
    assert told.returncode == 0, told.stderr
    assert "Cross-validation (another figure than the test's" in told.stdout
    return out


def test_every_image_outside_of_the_test_is_judged_once(folded: Path) -> None:
    table, cohort = pd.read_parquet(folded / "predictions.parquet"), pd.read_parquet(folded / "cohort.parquet").set_index("id")
    held, test = table[table["fold"] >= 0], table[table["fold"] < 0]
    assert set(held["fold"]) == set(range(K)) and (held["split"] == "validation").all() and (test["split"] == "test").all()
    assert not table["id"].duplicated().any() and table.notna().all(axis=None)
    assert set(held["id"]) == set(cohort.index[cohort["split"].isin(["train", "validation"])])
    assert set(test["id"]) == set(cohort.index[cohort["split"] == "test"])
    assert held.groupby("patient")["fold"].nunique().max() == 1
    twins = cohort.loc[held["id"], "duplicate_cluster"].to_numpy()
    assert (twins >= 0).any() and held[twins >= 0].groupby(twins[twins >= 0])["fold"].nunique().max() == 1


def test_folds_are_judged_by_their_own_network_and_the_test_by_all(folded: Path) -> None:
    plan, table = Plan.load(folded / "plan.toml"), pd.read_parquet(folded / "predictions.parquet").set_index("id")
    whole, material = Mapping.load(folded / "model"), material_of(RunFolder(folded), plan)
    assert len(whole.networks) == K
    raw = [f"raw_{name}" for name in whole.output.target.classes]
    parts = parts_of(plan, material.frame, material.target, 0)
    assert [part.name for part in parts] == [f"fold-{k}-member-0" for k in range(K)] and all((folded / "checkpoints" / part.name).is_dir() for part in parts)
    for fold, part in enumerate(parts):
        ids, alone = material.frame["id"].iloc[part.validation_rows], replace(whole, networks=[whole.networks[fold]])
        assert set(table.loc[ids, "fold"]) == {fold}
        said = raw_values(alone, material.prepared.images, part.validation_rows)
        assert (said == table.loc[ids, raw].to_numpy()).all() and (raw_values(whole, material.prepared.images, part.validation_rows) != said).any()
    rows = np.flatnonzero(material.frame["split"] == "test")
    mine = table.loc[material.frame["id"].iloc[rows]]
    assert (raw_values(whole, material.prepared.images, rows) == mine[raw].to_numpy()).all()
    assert (whole.output.probabilities(mine[raw].to_numpy()) == mine[[name.replace("raw", "p") for name in raw]].to_numpy()).all()


def test_the_record_says_that_validation_is_cross_validated(folded: Path) -> None:
    metrics, table = json.loads((folded / "metrics.json").read_text()), pd.read_parquet(folded / "predictions.parquet")
    held = table[table["fold"] >= 0]
    assert metrics["cross_validated"] == K and metrics["validation"]["auc"]["n_images"] == len(held)
    assert metrics["validation"]["auc"]["n_patients"] == held["patient"].nunique() and metrics["calibration"]["chosen_on"] == "validation"
    assert {"cross-validated", "chosen-on-folds"} <= {each["code"] for each in metrics["notes"]} and metrics["looks_at_test"] == 1
    training = json.loads((folded / "log" / "training.json").read_text())
    assert [(each["name"], each["fold"]) for each in training] == [(f"fold-{k}-member-0", k) for k in range(K)]
    rivals = pd.read_parquet(folded / "baselines.parquet")
    assert all(set(rows["id"]) == set(table["id"]) for _, rows in rivals.groupby("model"))


def test_what_is_said_of_the_model_rests_on_images_that_it_has_not_seen(folded: Path) -> None:
    table, trust = pd.read_parquet(folded / "predictions.parquet"), json.loads((folded / "trust.json").read_text())
    assert trust["noise"]["from"] == "folds" and trust["noise"]["n"] == K and not [name for name, found in trust.items() if found.get("failed")]
    assert [each["code"] for each in trust["conformal"]["sentences"]][-1] == "conformal-folds"
    known = FitFor.load(folded / "model")
    assert known is not None and known.facts["n_held"] == (table["fold"] == 0).sum() and known.facts["n_train"] == (table["fold"] > 0).sum()
    assert not [name for name in known.reference if name.startswith("answer.")], "one fold answers otherwise than the average of all"
    near = trust["explanations"].get("nearest")
    assert near is None or near["of_training"] == (table["fold"] >= 0).sum()


def test_report_card_and_paperwork_say_it_in_both_languages(folded: Path) -> None:
    n = int((pd.read_parquet(folded / "predictions.parquet")["fold"] >= 0).sum())
    for lang in ("en", "zh"):
        text = report(folded, lang).read_text("utf-8")
        assert f"In cross-validation ({n} images of" in text and "每张均由未用它训练的那一折网络评价" in text
        assert f"of the first of {K} networks" in text and f"{K} 个网络中的第一个" in text
        assert "Cross-validation (" in text and "chosen on cross-validation" in text and "依据交叉验证" in text and "chosen on validation" not in text
    card, papers = (folded / "model" / "card.md").read_text("utf-8"), [path.read_text("utf-8") for path in (folded / "paperwork").glob("*.md")]
    assert "In cross-validation" in card and "交叉验证" in card and f"from {K} folds" in card
    assert any(f"Cross-validation ({n} images of" in each for each in papers) and not any(f"Validation ({n} images" in each for each in papers)
    assert any(f"{K} networks from {K} folds" in each for each in papers)


def test_too_few_patients_or_folds_are_told_before_anything_is_prepared(films: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewError, match=r"too few patients for the folds: expected at least 60 independent patients"):
        vesalius.fit(films, tmp_path / "many", folds=60, **SMALL)
    assert not (tmp_path / "many" / "plan.toml").exists()
    with pytest.raises(OptionError, match="--folds must be at least 2"):
        vesalius.fit(films, tmp_path / "one", folds=1, **SMALL)


@pytest.mark.slow
def test_a_stopped_run_goes_on_at_its_fold_with_the_same_bits(folded: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run_trust", "keep_fit_for", "paperwork", "report", "_explain"):
        monkeypatch.setattr(f"vesalius.stages.fit.{name}", lambda *_, **__: None)
    seen: list[str] = []

    def stops(done: int, total: int, what: str) -> None:
        if what.startswith("network 2 of 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vesalius.fit(films, tmp_path / "run", plan=str(folded / "plan.toml"), progress=stops)
    assert not (tmp_path / "run" / "metrics.json").exists()
    vesalius.fit(films, tmp_path / "run", plan=str(folded / "plan.toml"), progress=lambda done, total, what: seen.append(what))
    assert any(what.startswith("network 3 of 3") for what in seen) and not any(what.startswith("network 1 of 3") for what in seen)
    whole, again = Mapping.load(folded / "model"), Mapping.load(tmp_path / "run" / "model")
    for ours, theirs in zip(again.networks, whole.networks, strict=True):
        assert all((a == b).all() for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    figures = [json.loads((each / "metrics.json").read_text()) for each in (folded, tmp_path / "run")]
    assert figures[0]["test"] == figures[1]["test"] and figures[0]["validation"] == figures[1]["validation"]
