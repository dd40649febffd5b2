"""Dynamic batches: studies that come at the same time go through the network together.

A lone study never waits: the window is only used while others are being decoded. Between two batches everything that has
come meanwhile is taken, in the largest of a few sizes that engines were built for, so that nothing is filled up with zeros.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import torch

Run = Callable[[torch.Tensor], np.ndarray]
WINDOW_S = 0.004
"""Longest wait for a batch to grow while others are under way to it."""


def largest(n: int, sizes: Sequence[int]) -> int:
    """The largest size that ``n`` studies fill; the smallest where none is filled.

    >>> largest(7, (1, 4, 16)), largest(40, (1, 4, 16)), largest(2, (4, 16))
    (4, 16, 4)
    """
    return max((size for size in sizes if size <= n), default=min(sizes))


class Batcher:
    """Gathers encoded studies ``[C, (Z,) Y, X]`` and runs them together in one thread.

    Parameters
    ----------
    run: ``[B, C, (Z,) Y, X]`` to raw values ``[B, n_out]``, for any B up to the largest size.
    sizes: batch sizes that ``run`` does well, each at least 1.
    window_s: see `WINDOW_S`.
    threads: that torch may use in the batcher's own thread.
    """

    def __init__(self, run: Run, sizes: Sequence[int] = (1, 4, 16), *, window_s: float = WINDOW_S, threads: int = 1) -> None:
        self.run, self.sizes, self.window_s, self.threads = run, tuple(sizes), window_s, threads
        self.batches: dict[int, int] = {}
        self._waiting: deque[tuple[torch.Tensor, Future[np.ndarray]]] = deque()
        self._coming = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._go, name="batches", daemon=True)
        self._thread.start()

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Inside, a study is being decoded: a batch may wait for it. `submit` within ends the waiting too."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify()

    def submit(self, x: torch.Tensor) -> Future[np.ndarray]:
        """The raw values ``[n_out]`` to come; what ``run`` raises is raised for every study of the batch."""
        made: Future[np.ndarray] = Future()
        with self._changed:
            if self._ended:
                raise RuntimeError("the batcher has been closed")
            self._waiting.append((x, made))
            self._changed.notify()
        return made

    def close(self) -> None:
        """Finish what is waiting, then end the thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _go(self) -> None:
        torch.set_num_threads(self.threads)
        while taken := self._take():
            self._together(taken)

    def _take(self) -> list[tuple[torch.Tensor, Future[np.ndarray]]]:
        """The next batch; empty when closed."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            stop = time.perf_counter() + self.window_s
            while self._worth_waiting() and (left := stop - time.perf_counter()) > 0:
                self._changed.wait(left)
            n = largest(len(self._waiting), self.sizes)
            return [self._waiting.popleft() for _ in range(min(n, len(self._waiting)))]

    def _worth_waiting(self) -> bool:
        return bool(self._waiting) and len(self._waiting) < max(self.sizes) and self._coming > 0 and not self._ended

    def _together(self, taken: list[tuple[torch.Tensor, Future[np.ndarray]]]) -> None:
        self.batches[len(taken)] = self.batches.get(len(taken), 0) + 1
        try:
            raw = self.run(torch.stack([x for x, _ in taken]))
        except Exception as error:  # noqa: BLE001 - whatever an engine raises belongs to the studies of this batch, not to the thread
            for _, made in taken:
                made.set_exception(error)
            return
        for (_, made), row in zip(taken, raw, strict=True):
            made.set_result(row)
