"""Batches: what comes together is run together, alone means at once, errors belong to their batch, answers to their study."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from vesalius.stages.serve.work.batching import Batcher, largest


def doubled(seen: list[int]):
    def run(batch: torch.Tensor) -> np.ndarray:
        seen.append(len(batch))
        return (batch.flatten(1).sum(1, keepdim=True) * 2).numpy()

    return run


def test_every_study_gets_its_own_answer_in_any_mixture():
    seen: list[int] = []
    batcher = Batcher(doubled(seen), (1, 4, 16))
    xs = [torch.full((1, 2, 2), float(i)) for i in range(200)]

    def one(i: int) -> float:
        with batcher.coming():
            made = batcher.submit(xs[i])
        return float(made.result(20)[0])

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(one, range(200))) == [8.0 * i for i in range(200)]
    batcher.close()
    assert sum(seen) == 200 and set(seen) <= {1, 4, 16} and batcher.batches == {n: seen.count(n) for n in set(seen)}


def test_what_waits_during_a_batch_goes_together_next():
    seen, gate = [], threading.Event()

    def run(batch: torch.Tensor) -> np.ndarray:
        seen.append(len(batch))
        gate.wait(10)
        return np.zeros((len(batch), 1))

    batcher = Batcher(run, (1, 4, 16))
    first = batcher.submit(torch.zeros(1))
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        time.sleep(0.001)
    rest = [batcher.submit(torch.zeros(1)) for _ in range(21)]
    gate.set()
    for made in (first, *rest):
        made.result(10)
    batcher.close()
    assert seen == [1, 16, 4, 1]


def test_a_lone_study_does_not_wait_for_the_window():
    batcher = Batcher(doubled([]), (1, 4), window_s=5.0)
    start = time.monotonic()
    with batcher.coming():
        made = batcher.submit(torch.ones(1))
    made.result(4)
    assert time.monotonic() - start < 2
    batcher.close()


def test_the_window_is_used_while_others_are_on_their_way():
    seen: list[int] = []
    batcher = Batcher(doubled(seen), (1, 2), window_s=20.0)
    with batcher.coming():
        first = batcher.submit(torch.ones(1))
        assert not first.done()
        second = batcher.submit(torch.ones(1))
    first.result(10)
    second.result(10)
    batcher.close()
    assert seen == [2]


def test_an_error_reaches_every_study_of_its_batch_and_the_next_one_works():
    calls = []

    def run(batch: torch.Tensor) -> np.ndarray:
        calls.append(len(batch))
        if len(calls) == 1:
            raise ValueError("broken")
        return np.ones((len(batch), 1))

    batcher = Batcher(run, (1,))
    with pytest.raises(ValueError, match="broken"):
        batcher.submit(torch.zeros(1)).result(10)
    assert batcher.submit(torch.zeros(1)).result(10)[0] == 1
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(torch.zeros(1))


def test_sizes():
    assert [largest(n, (1, 4, 16)) for n in (1, 3, 4, 15, 16, 99)] == [1, 1, 4, 4, 16, 16]
