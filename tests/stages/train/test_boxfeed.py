"""Training on tiles with boxes: batches are a function of the step, validation is always the same, the network learns, a stop changes nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.core.reads import Reads
from vesalius.stages.train import train_here_or_spread
from vesalius.stages.train.boxfeed import VALIDATION_TILES, BoxFeed

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from box_job import job_in, picture, plan_of

PLAIN = {"augment": {"flip_axes": [], "tone_share": 0.0, "spatial_share": 0.0}, "mosaic": 0.0}


def quiet(*_: object) -> None:
    """No progress."""


def feed(folder: Path, rank: int = 0, world: int = 1, shape: tuple[int, ...] = (56, 60), size: tuple[int, ...] = (48, 48), **train: object) -> BoxFeed:
    return BoxFeed(job_in(folder, plan_of(**train), shape=shape, size=size), torch.device("cpu"), rank, world)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Also where both are NaN: the risk that nobody knows."""
    return a.shape == b.shape and torch.equal(a.nan_to_num(-7), b.nan_to_num(-7))


def test_a_batch_depends_on_the_step_alone(tmp_path: Path) -> None:
    one, other = feed(tmp_path), feed(tmp_path)
    other.batch(0), other.batch(9)
    first, second = one.batch(3), other.batch(3)
    assert torch.equal(first.x, second.x) and same(first.truth, second.truth)
    assert first.x.shape == (8, 1, 48, 48) and first.x.dtype == first.truth.dtype == torch.float32 and first.truth.shape[::2] == (8, 7)
    assert not torch.equal(first.x, one.batch(4).x)


def test_another_seed_gives_other_tiles(tmp_path: Path) -> None:
    one = feed(tmp_path)
    other = BoxFeed(replace(one.job, seed=6), torch.device("cpu"))
    assert not torch.equal(one.batch(0).x, other.batch(0).x)


def test_processes_share_a_batch(tmp_path: Path) -> None:
    whole = feed(tmp_path).batch(2)
    parts = [feed(tmp_path, rank, 3).batch(2) for rank in range(3)]
    assert [len(part.x) for part in parts] == [3, 3, 2]
    assert all(torch.equal(part.x, whole.x[rank::3]) for rank, part in enumerate(parts))
    for rank, part in enumerate(parts):
        n = part.truth.shape[1]
        assert same(part.truth, whole.truth[rank::3, :n]) and (whole.truth[rank::3, n:, 4] == -1).all()


def test_each_case_comes_once_in_a_pass(tmp_path: Path) -> None:
    made = feed(tmp_path)
    first = [made._row(place) for place in range(24)]
    assert sorted(first[:12]) == sorted(first[12:]) == list(range(12)) and first[:12] != first[12:]


@pytest.mark.parametrize("train", [PLAIN, {}, {"mosaic": 1.0}])
def test_boxes_lie_on_bright_discs(tmp_path: Path, train: dict[str, object]) -> None:
    """In the middle of a judged box it is bright, at the corners dark, however the tile was varied."""
    middles, corners = [], []
    made = feed(tmp_path, **train)
    for step in range(4):
        batch = made.batch(step)
        for x, rows in zip(batch.x[:, 0], batch.truth, strict=True):
            for row in rows[(rows[:, 4] >= 0) & (rows[:, 5] == 0)].numpy():
                low, high = row[:2], row[2:4]
                if (high - low).min() < 5 or (low < 1).any() or (high > 47).any():
                    continue
                middles.append(float(x[tuple(int(v) for v in (low + high) / 2)]))
                corners.append(float(x[tuple(int(v) for v in low)]))
    assert len(middles) > 15 and np.median(middles) > 1.1 and np.mean(np.array(middles) > 0.7) > 0.9 and np.median(corners) < 0.5


def test_mosaics_end_before_training_does(tmp_path: Path) -> None:
    """The last fifth of the steps sees pictures as they are."""
    with_, without = feed(tmp_path, mosaic=1.0), feed(tmp_path, mosaic=0.0)
    assert not torch.equal(with_.batch(0).x, without.batch(0).x)
    late = int(0.8 * with_.job.total_steps) + 1
    assert torch.equal(with_.batch(late).x, without.batch(late).x)


def test_tiles_are_about_objects_as_often_as_asked(tmp_path: Path) -> None:
    """In large studies, where most places hold nothing."""
    shape = (300, 320)
    held = [[bool((rows[:, 4] >= 0).any()) for step in range(4) for rows in feed(tmp_path, shape=shape, foreground=share, **PLAIN).batch(step).truth]
            for share in (1.0, 0.0)]
    assert np.mean(held[0]) > 0.7 and np.mean(held[1]) < 0.4


def test_tiles_of_volumes_hold_their_boxes(tmp_path: Path) -> None:
    made = feed(tmp_path, shape=(30, 40, 44), size=(16, 32, 32), foreground=1.0, **PLAIN)
    batch = made.batch(0)
    assert batch.x.shape == (8, 1, 16, 32, 32) and batch.truth.shape[2] == 9 and (batch.truth[..., 6] >= 0).any()
    assert batch.truth[..., :6].min() >= 0 and (batch.truth[..., 3:6] <= torch.tensor([16, 32, 32])).all()


def test_validation_is_always_the_same_and_not_varied(tmp_path: Path) -> None:
    made = feed(tmp_path)
    batches = list(made.validation(3))
    made.batch(5)
    again = list(made.validation(3))
    assert [len(b.x) for b in batches][:-1] == [3] * (len(batches) - 1)
    assert all(torch.equal(a.x, b.x) and same(a.truth, b.truth) for a, b in zip(batches, again, strict=True))
    image, rows = picture(12)
    first = torch.cat([b.x for b in batches])[0, 0].numpy()
    assert np.array_equal(first, image[0, :48, :48].astype(np.float16).astype(np.float32))
    assert len(rows) == 3


def test_few_tiles_of_a_large_study_are_looked_at_while_training(tmp_path: Path) -> None:
    made = feed(tmp_path, shape=(300, 320))
    assert sum(len(batch.x) for batch in made.validation(4)) == 4 * VALIDATION_TILES


def test_a_mapping_for_whole_images_has_no_tiles(tmp_path: Path) -> None:
    job = replace(job_in(tmp_path, plan_of()), reads=Reads((32, 32)))
    with pytest.raises(TypeError, match="tiles need TileReads"):
        BoxFeed(job, torch.device("cpu"))


@pytest.mark.slow
def test_the_network_learns_its_discs_and_not_those_of_other_pictures(tmp_path: Path) -> None:
    job = job_in(tmp_path, plan_of(epochs=25), n=40)
    assert train_here_or_spread(job, quiet).validation_score > 0.7
    held = [np.load(job.cache / f"{row}.rows.npy") for row in range(40)]
    for row in range(40):
        np.save(job.cache / f"{row}.rows.npy", held[(row * 7 + 3) % 40])
    lost = train_here_or_spread(replace(job, folder=tmp_path / "other", log=tmp_path / "otherlog"), quiet)
    assert not lost.validation_score > 0.3


def test_a_stopped_training_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(epochs=2, steps_per_epoch=4, batch=4)
    whole = train_here_or_spread(job_in(tmp_path / "a", plan), quiet)
    job = replace(job_in(tmp_path / "b", plan), cache=tmp_path / "a" / "store")
    calls = [0]

    def stop(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("vesalius.stages.train.loop.SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_here_or_spread(job, stop)
    monkeypatch.undo()
    resumed = train_here_or_spread(job, quiet)
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
