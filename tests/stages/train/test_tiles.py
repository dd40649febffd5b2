"""Training on tiles: batches are a function of the step, the network learns, a stopped training goes on bit by bit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.core.target import IGNORED
from vesalius.stages.train import train_here_or_spread
from vesalius.stages.train.tilefeed import TileFeed

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tile_job import job_in, plan_of


def quiet(*_: object) -> None:
    """No progress."""



def feed(folder: Path, rank: int = 0, world: int = 1, **train: object) -> TileFeed:
    return TileFeed(job_in(folder, plan_of(**train)), torch.device("cpu"), rank, world)


def test_a_batch_depends_on_the_step_alone(tmp_path: Path) -> None:
    one, other = feed(tmp_path), feed(tmp_path)
    other.batch(0), other.batch(7)
    first, second = one.batch(3), other.batch(3)
    assert torch.equal(first.x, second.x) and torch.equal(first.truth, second.truth)
    assert first.x.shape == (8, 1, 32, 32) and first.truth.dtype == torch.uint8 and not torch.equal(first.x, one.batch(4).x)


def test_processes_share_a_batch(tmp_path: Path) -> None:
    whole = feed(tmp_path).batch(2)
    parts = [feed(tmp_path, rank, 2).batch(2) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.x for part in parts]), torch.cat([whole.x[0::2], whole.x[1::2]]))


def test_each_case_comes_once_in_a_pass(tmp_path: Path) -> None:
    made = feed(tmp_path)
    first = [made._shuffled(place // 12)[place % 12] for place in range(24)]
    assert sorted(first[:12]) == sorted(first[12:]) == list(range(12)) and first[:12] != first[12:]


def test_tiles_are_centred_on_structures_as_often_as_asked(tmp_path: Path) -> None:
    every = torch.cat([feed(tmp_path, foreground=1.0).batch(step).truth for step in range(3)])
    assert bool((every == 1).flatten(1).any(1).all())


def test_validation_sees_all_of_a_case_and_always_the_same(tmp_path: Path) -> None:
    made = feed(tmp_path)
    batches = list(made.validation(3))
    assert [len(b.x) for b in batches][:-1] == [3] * (len(batches) - 1)
    again = list(made.validation(3))
    assert all(torch.equal(a.x, b.x) for a, b in zip(batches, again, strict=True))
    truth = torch.cat([b.truth for b in batches])
    assert len(truth) == 4 * 4 and int((truth != IGNORED).sum()) >= 4 * 40 * 44


@pytest.mark.slow
def test_the_network_learns_its_discs_and_not_shuffled_ones(tmp_path: Path) -> None:
    job = job_in(tmp_path, plan_of(epochs=10))
    result = train_here_or_spread(job, quiet)
    assert result.validation_score > 0.8
    for row in range(16):
        path = job.cache / f"{row}.truth.npy"
        np.save(path, np.roll(np.load(path), (17, 19), (1, 2)))
    lost = train_here_or_spread(replace(job, folder=tmp_path / "other", log=tmp_path / "otherlog"), quiet)
    assert not lost.validation_score > 0.45


def test_a_stopped_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    plan = plan_of(epochs=2)
    whole = train_here_or_spread(job_in(tmp_path / "a", plan), quiet)
    job = replace(job_in(tmp_path / "b", plan), cache=tmp_path / "a" / "store")
    calls = [0]

    def stop(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 11:
            raise KeyboardInterrupt

    monkey = pytest.MonkeyPatch()
    monkey.setattr("vesalius.stages.train.loop.SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_here_or_spread(job, stop)
    monkey.undo()
    resumed = train_here_or_spread(job, quiet)
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)


def test_the_last_average_is_kept_where_a_fold_may_not_choose(tmp_path: Path) -> None:
    result = train_here_or_spread(job_in(tmp_path, plan_of(epochs=3, keep="last")), quiet)
    assert result.epoch == 3 == result.epochs_done
