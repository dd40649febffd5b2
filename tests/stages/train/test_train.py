"""The training loop: learns, resumes bit-exactly, refuses what cannot be trained, spreads over processes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import vesalius.stages.train.loop as loop
from training_job import job_in, plan_of
from vesalius.errors import RunError, TrainingError
from vesalius.mapping import network_of
from vesalius.stages.train import checkpoint, train, train_here_or_spread
from vesalius.stages.train.feed import Feed
from vesalius.stages.train.launch import make_fabric

HERE = Path(__file__).parent


def quiet(*_: object) -> None:
    pass


def test_learns_its_pictures_but_not_shuffled_labels(tmp_path):
    plan = plan_of(epochs=12, steps_per_epoch=16, augment=plan_of()["train.augment"] | {"noise": {"sigma": 0.0}})
    learnt = train_here_or_spread(job_in(tmp_path / "true", plan, n=360), quiet)
    job = job_in(tmp_path / "shuffled", plan, n=360)
    np.random.default_rng(0).shuffle(job.train_truth)
    guessed = train_here_or_spread(job, quiet)
    assert learnt.validation_score > 0.95
    assert guessed.validation_score < 0.7


def test_history_and_curves_are_written(tmp_path):
    result = train_here_or_spread(job_in(tmp_path, plan_of()), quiet)
    table = pd.read_csv(tmp_path / "log" / "history.csv")
    assert table["epoch"].tolist() == [1, 2, 3] and table["step"].tolist() == [4, 8, 12]
    assert table["validation_loss"].min() == pytest.approx(result.validation_loss)
    assert list((tmp_path / "log").glob("events.out.tfevents.*"))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["small-cnn", "small-resnet"])
def test_killed_at_any_step_it_ends_with_the_same_bits(tmp_path, network):
    whole = train_here_or_spread(job_in(tmp_path / "whole", plan_of(network)), quiet)
    for kills in range(1, 4):
        _run_and_kill(tmp_path / "killed", network, after=3 * kills - 1)
    resumed = train_here_or_spread(job_in(tmp_path / "killed", plan_of(network)), quiet)
    assert resumed.epoch == whole.epoch and resumed.validation_loss == whole.validation_loss
    assert all(torch.equal(value, resumed.state[name]) for name, value in whole.state.items())
    last = [checkpoint.read(tmp_path / name / "checkpoint")[0] for name in ("whole", "killed")]
    assert last[0].keys() == last[1].keys() and all(torch.equal(last[0][k], last[1][k]) for k in last[0])


def _run_and_kill(folder: Path, network: str, after: int) -> None:
    child = subprocess.Popen([sys.executable, str(HERE / "kill_me.py"), str(folder), network], stdout=subprocess.PIPE, text=True, env=os.environ)
    for line in child.stdout:
        if line.strip().isdigit() and int(line) >= after:
            child.send_signal(signal.SIGKILL)
            break
    assert child.wait() == -signal.SIGKILL


def test_interruption_saves_between_two_steps_and_goes_on(tmp_path):
    """In a process of its own: a signal that comes a moment late must not end that of the tests."""
    whole = train_here_or_spread(job_in(tmp_path / "whole", plan_of()), quiet)
    words = [sys.executable, str(HERE / "kill_me.py"), str(tmp_path / "stopped"), "small-cnn", "6"]
    told = subprocess.run(words, capture_output=True, text=True, env=os.environ, check=True, timeout=300)
    assert told.stdout.split()[-1] == "interrupted", told.stderr
    job = job_in(tmp_path / "stopped", plan_of())
    assert checkpoint.read(job.folder)[1].step in (6, 7)
    resumed = train_here_or_spread(job, quiet)
    assert all(torch.equal(value, resumed.state[name]) for name, value in whole.state.items())


def test_what_was_and_was_not_loaded_of_given_weights_is_told_and_kept(tmp_path):
    job = job_in(tmp_path, plan_of(epochs=1))
    state = {name: value for name, value in network_of(job.plan, job.reads, 2).state_dict().items() if not name.startswith("0.")}
    save_file(state | {"foreign": torch.ones(2)}, tmp_path / "given.safetensors")
    told: list[str] = []
    train_here_or_spread(replace(job, weights=str(tmp_path / "given.safetensors")), lambda done, total, what: told.append(what))
    kept = json.loads((tmp_path / "log" / "weights.json").read_text())
    assert sorted(kept["loaded"]) == sorted(state) and kept["unexpected"] == ["foreign"]
    assert kept["missing"] and all(name.startswith("0.") for name in kept["missing"])
    assert told[0] == kept["en"] and f"{len(state)} tensors were loaded from given.safetensors" in told[0] and "not used: foreign" in told[0]
    assert "载入了" in kept["zh"]
    train_here_or_spread(job_in(tmp_path / "plain", plan_of(epochs=1)), quiet)
    assert (tmp_path / "plain" / "log" / "history.csv").exists() and not (tmp_path / "plain" / "log" / "weights.json").exists()


def test_finished_training_is_not_repeated(tmp_path):
    job = job_in(tmp_path, plan_of())
    first = train_here_or_spread(job, quiet)
    steps: list[int] = []
    again = train_here_or_spread(job, lambda done, *_: steps.append(done))
    assert steps == [] and again.validation_loss == first.validation_loss and again.seconds == first.seconds


def test_stops_early_when_validation_does_not_improve(tmp_path):
    job = job_in(tmp_path, plan_of(epochs=60, patience=3, learning_rate=0.05, warmup_steps=1))
    result = train_here_or_spread(job, quiet)
    assert result.epochs_done < 60 and result.epochs_done - result.epoch == 3
    assert "has not improved for 3 epochs" in result.why_stopped


def test_a_loss_that_is_not_a_number_stops_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("vesalius.outputs.classify.Classify.loss", lambda self, network, batch: network(batch.x).sum(1) * float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan at step 1.*--learning-rate"):
        train_here_or_spread(job_in(tmp_path, plan_of()), quiet)


def test_a_diverging_loss_stops_with_a_reason():
    from vesalius.stages.train.watch import refuse_divergence

    refuse_divergence([{"train_loss": v} for v in (0.7, 9.0, 0.6, 9.0)])
    with pytest.raises(TrainingError, match="the training diverges: expected a loss below its start"):
        refuse_divergence([{"train_loss": v} for v in (0.7, 0.5, 9.0, 9.0)])


def test_a_checkpoint_of_another_plan_is_refused_and_a_damaged_one_too(tmp_path):
    train_here_or_spread(job_in(tmp_path, plan_of()), quiet)
    with pytest.raises(RunError, match="another plan or other data"):
        train_here_or_spread(job_in(tmp_path, plan_of(epochs=4)), quiet)
    (tmp_path / "checkpoint" / checkpoint.FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        train_here_or_spread(job_in(tmp_path, plan_of()), quiet)


def test_every_case_is_seen_once_a_pass_and_balanced_sampling_evens_classes(tmp_path):
    job = job_in(tmp_path, plan_of())
    feed = Feed(job, torch.device("cpu"))
    assert sorted(np.concatenate([feed.chosen(step) for step in range(4)]).tolist()) == list(range(64))
    rare = job_in(tmp_path, plan_of(sampling="balanced"))
    rare.train_truth[:] = 0
    rare.train_truth[:4] = 1
    drawn = np.concatenate([Feed(rare, torch.device("cpu")).chosen(step) for step in range(50)])
    assert 0.4 < rare.train_truth[drawn].mean() < 0.6


def test_average_follows_weights_and_copies_counters():
    a, b = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        b.weight.fill_(3.0)
        b.num_batches_tracked.fill_(7)
    loop.follower(a, b)(0.75)
    assert a.weight.tolist() == [1.5, 1.5] and int(a.num_batches_tracked) == 7


def test_gradients_in_another_memory_layout_update_the_right_weights():
    updated = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = torch.nn.Linear(6, 4, bias=False)
        network.weight.grad = torch.randn(6, 4).t()
        loop.lay_gradients_as_weights(network)
        torch.optim.AdamW(network.parameters(), fused=fused).step()
        updated.append(network.weight.detach())
    torch.testing.assert_close(*updated)


def gradients_of(job, rank: int = 0, world: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = network_of(job.plan, job.reads, 2)
    batch = Feed(job, torch.device("cpu"), rank, world).batch(0)
    job.task().loss(network, batch).mean().backward()
    return {name: p.grad for name, p in network.named_parameters()}


def test_shares_of_a_batch_average_to_its_gradient(tmp_path):
    job = job_in(tmp_path, plan_of())
    whole, parts = gradients_of(job), [gradients_of(job, rank, 2) for rank in range(2)]
    for name, gradient in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one_would(tmp_path):
    one = train_here_or_spread(job_in(tmp_path / "one", plan_of(epochs=2)), quiet)
    seen: list[tuple[int, int, str]] = []
    two = train_here_or_spread(job_in(tmp_path / "two", plan_of(epochs=2, machine={"devices": 2, "threads": 2})), lambda *told: seen.append(told))
    for name, value in one.state.items():
        torch.testing.assert_close(two.state[name], value, rtol=2e-3, atol=2e-4)
    assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-3)


@pytest.mark.slow
def test_words_of_an_error_in_a_worker_reach_the_user(tmp_path):
    job = job_in(tmp_path, plan_of(machine={"devices": 2, "threads": 2}))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / checkpoint.FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        train_here_or_spread(job, quiet)


def test_fabric_is_made_as_planned(tmp_path):
    fabric = make_fabric(job_in(tmp_path, plan_of(precision="bf16-mixed")))
    fabric.launch()
    assert fabric.world_size == 1
    assert train(job_in(tmp_path, plan_of(precision="bf16-mixed")), fabric, quiet).epochs_done == 3
