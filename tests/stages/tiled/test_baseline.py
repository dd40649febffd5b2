from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from vesalius.core.cohort import Case, Cohort
from vesalius.core.reads import TileReads
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.formats import recognise
from vesalius.formats.cases import open_case
from vesalius.kernels.maskscores import score_study
from vesalius.phantoms import make_phantom
from vesalius.seed import generator
from vesalius.stages.request import Request
from vesalius.stages.tiled import rival
from vesalius.stages.tiled.baseline import Boosted, Examples, best_shift, examples_of, small_of
from vesalius.stages.tiled.evaluate import Judge
from vesalius.stages.tiled.rival import LEAST_SAMPLES, MOST_SAMPLES, NAME, judged_baseline, learnt_baseline, recipe_for
from vesalius.stages.tiled.store import TileStore, prepare_cases

ONE, TWO = TargetSpec("mask", ("disc",), values=((1,),)), TargetSpec("mask", ("disc", "spot"), values=((1,), (2,)))
OVER = replace(TWO, exclusive=False)
READS = TileReads((32, 32), schemes=("none",), low=(0.0,), high=(1.0,), mean=(0.0,), std=(1.0,))


def picture(seed: int, *, exclusive: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc and a dark spot; overlapping, the spot lies within what is also disc."""
    rng, (y, x) = generator(seed, "picture"), np.indices((48, 56))
    image, truth = rng.normal(0, 0.3, (1, 48, 56)), np.zeros((1 if exclusive else 2, 48, 56), np.uint8)
    disc, spot = ((y - rng.uniform(15, 30)) ** 2 + (x - rng.uniform(10, 20)) ** 2 < 81), ((y - 30) ** 2 + (x - rng.uniform(38, 50)) ** 2 < 16)
    if not exclusive:
        disc = disc | spot
    image[0][disc] += 2
    image[0][spot] -= 4
    if exclusive:
        truth[0][disc], truth[0][spot] = 1, 2
    else:
        truth[0], truth[1] = disc, spot
    return image.astype(np.float32), truth


def examples(target: TargetSpec, n: int = 6, change=lambda truth: truth, **options: bool) -> Examples:
    made = (picture(i, **options) for i in range(n))
    return Examples.joined([examples_of(x, change(y), target, READS, 10**6, 600, generator(i, "draw")) for i, (x, y) in enumerate(made)])


def dice(found: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def test_samples_are_drawn_evenly_and_counted_as_they_are() -> None:
    image, truth = picture(0)
    truth[:, :4] = IGNORED
    made = examples_of(image, truth, TWO, READS, 10**6, 90, generator(0, "draw"))
    assert np.bincount(made.truth[:, 0]).tolist() == [30, 30, 30] and made.features.shape == (90, 31)
    assert made.held.tolist() == [(truth == 1).sum(), (truth == 2).sum()] and set(made.judged) == {(truth != IGNORED).sum()}


def test_what_is_not_judged_is_not_learnt_from() -> None:
    def spoilt(truth: np.ndarray) -> np.ndarray:
        truth[:, :, 34:] = IGNORED
        return truth

    made = examples(TWO, change=spoilt)
    assert set(np.unique(made.truth)) == {0, 1} and made.held[1] == 0
    columns = made.features[:, -1]
    assert columns.max() < 2 * 34 / 55 - 0.9
    model = Boosted(made, TWO, READS, most=10**6, trees=30, seed=0)
    raw = model.raw(*small_of(picture(99)[0], READS, 10**6))
    assert raw.shape == (3, 48, 56) and raw.argmax(0).max() == 1


@pytest.mark.parametrize("exclusive", [True, False])
def test_structures_are_learnt_also_where_they_overlap(exclusive: bool) -> None:
    target = TWO if exclusive else OVER
    model = Boosted(examples(target, exclusive=exclusive), target, READS, most=10**6, trees=20, seed=0)
    image, truth = picture(50, exclusive=exclusive)
    found = model.task.decide(torch.from_numpy(model.raw(*small_of(image, READS, 10**6)))).numpy()
    for k in range(2):
        own = (found[0] == k + 1, truth[0] == k + 1) if exclusive else (found[k] == 1, truth[k] == 1)
        assert dice(*own) > 0.9


def test_probabilities_are_as_frequent_as_the_structures_and_not_as_the_drawn_samples() -> None:
    """Noise that tells nothing: the mean probability is the share of the structure, although half of the drawn samples are of it."""
    rng = generator(0, "noise")
    parts = []
    for i in range(8):
        truth = np.zeros((1, 64, 64), np.uint8)
        truth[0].flat[rng.choice(64 * 64, 200, replace=False)] = 1
        parts.append(examples_of(rng.normal(size=(1, 64, 64)).astype(np.float32), truth, ONE, READS, 10**6, 400, generator(i, "draw")))
    model = Boosted(Examples.joined(parts), ONE, READS, most=10**6, trees=5, seed=0)
    p = model.task.probabilities(model.raw(rng.normal(size=(1, 64, 64)).astype(np.float32), (1.0, 1.0))[None])
    assert p.mean() == pytest.approx(200 / 64**2, rel=0.3)


def test_the_odds_are_moved_to_where_dice_is_best_on_validation() -> None:
    model = Boosted(examples(ONE, change=lambda truth: (truth == 1).astype(np.uint8)), ONE, READS, most=10**6, trees=5, seed=0)
    truth = (picture(3)[1] == 1).astype(np.uint8)
    sure, timid = (np.stack([np.zeros((48, 56)), np.where(truth[0] == 1, inside, -5.0)]).astype(np.float32) for inside in (1.0, -0.4))
    assert best_shift(model, [(sure, truth)]) == 0.0
    assert best_shift(model, [(timid, truth)]) > 0 and model.shifted(best_shift(model, [(timid, truth)]))[1] > 0.4
    assert best_shift(model, []) == 0.0 and best_shift(model, [(sure, np.zeros_like(truth))]) == 0.0


def test_one_class_alone_is_what_it_says() -> None:
    made = examples(ONE, change=lambda truth: np.zeros_like(truth))
    model = Boosted(made, ONE, READS, most=10**6, trees=5, seed=0)
    assert (model.raw(*small_of(picture(1)[0], READS, 10**6)).argmax(0) == 0).all()


def test_more_cases_are_looked_at_more_coarsely() -> None:
    def cohort(test: int) -> pd.DataFrame:
        return pd.DataFrame({"split": ["train"] * 80 + ["validation"] * 20 + ["test"] * test})

    few, many, most = (recipe_for(cohort(n), TWO, READS, None) for n in (20, 1000, 10**6))
    assert few.samples > many.samples > most.samples == LEAST_SAMPLES and few.cases == 60
    assert recipe_for(cohort(1000), TWO, READS, 36_000.0).samples > many.samples
    assert recipe_for(cohort(1), TWO, READS, 1e9).samples == MOST_SAMPLES
    fourteen = replace(TWO, classes=tuple("abcdefghijklmn"), values=tuple((i,) for i in range(1, 15)))
    assert recipe_for(cohort(20), fourteen, READS, None).trees == 20


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return recognise(str(make_phantom("organs", tmp_path_factory.mktemp("organs") / "p", seed=2, n=8, size=40).data))


def rows_of(cases: list[Case]) -> pd.DataFrame:
    splits = ["train"] * 5 + ["validation"] + ["test"] * 2
    return pd.DataFrame([{"id": c.id, "path": c.id, "patient": f"p{i}", "split": splits[i]} for i, c in enumerate(cases[:8])])


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A quarter of the samples and half of the trees are enough for what is tested here."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(rival, "DRAWN", 10_000)
        changed.setattr(rival, "MOST_TREES", 90)
        yield


@pytest.fixture(scope="module")
def made(organs: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[Boosted, TileStore, pd.DataFrame, Path]:
    folder, cases = tmp_path_factory.mktemp("run"), list(organs.cases)[:8]
    used = rows_of(cases)
    reads = TileReads((24, 24, 24), spacing_mm=(1.0, 1.0, 1.0), schemes=("zscore",), low=(0.0,), high=(1.0,), mean=(0.0,), std=(1.0,))
    store = prepare_cases(cases[:6], list(map(str, range(6))), organs.target, reads, folder / "cache")
    frame = used[used["split"] != "test"].reset_index(drop=True)
    return learnt_baseline(store, frame, used, organs.target, Request("data"), folder / "log", lambda *_: None), store, used, folder


def test_it_finds_organs_and_its_figures_are_those_of_its_masks(organs: Cohort, made: tuple[Boosted, TileStore, pd.DataFrame, Path]) -> None:
    model, _, used, folder = made
    judge = Judge({case.id: case for case in organs.cases}, organs.target, 1.0)
    table = judged_baseline(model, used[used["split"] == "test"], judge, folder / "log", lambda *_: None)
    assert set(table["model"]) == {NAME} and len(table) == 4
    assert table["dice"].mean() > 0.5 and table.groupby("class")["dice"].mean().min() > 0.3  # marking everything reaches 0.05
    for name, rows in table.groupby("id"):
        study, truth = judge.opened(str(name))
        with np.load(next(p for p in sorted((folder / "log" / "baseline" / "masks" / "test").iterdir()) if same(p, model, judge, str(name)))) as kept:
            direct = score_study(truth, kept["labels"], organs.target, spacing_mm=study.grid.spacing_mm, tolerance_mm=1.0)
        assert [row["dice"] for row in direct] == rows["dice"].tolist() and [row["hd95"] for row in direct] == rows["hd95"].tolist()


def same(path: Path, model: Boosted, judge: Judge, name: str) -> bool:
    """Whether a kept mask is what the baseline marks in that case, by the study itself."""
    found = model.segment(open_case(judge.cases[name])).labels
    with np.load(path) as kept:
        return kept["labels"].shape == found.shape and bool((kept["labels"] == found).all())


def test_a_finished_baseline_is_not_made_again(organs: Cohort, made: tuple[Boosted, TileStore, pd.DataFrame, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, store, used, folder = made
    monkeypatch.setattr("vesalius.stages.tiled.rival.examples_of", None)
    monkeypatch.setattr("vesalius.stages.tiled.rival.best_shift", None)
    frame = used[used["split"] != "test"].reset_index(drop=True)
    again = learnt_baseline(store, frame, used, organs.target, Request("data"), folder / "log", lambda *_: None)
    assert again.hash == model.hash and again.task.facts == model.task.facts
    small = small_of(store.image(0), store.reads, model.most)
    assert np.array_equal(again.raw(*small), model.raw(*small))
