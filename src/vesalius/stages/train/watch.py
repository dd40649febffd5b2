"""Guards of a training: a loss that is not a number or diverges, and an interruption that loses nothing."""

from __future__ import annotations

import math
import signal
import threading
from types import FrameType
from typing import Any

from vesalius.errors import TrainingError

DIVERGED = 4.0
"""An epoch whose mean loss is this many times the first epoch's has diverged."""
PATIENCE = 2
"""Epochs in a row that must have diverged before training stops."""


def refuse_nan(loss: float, step: int) -> None:
    """TrainingError when the loss is not a finite number."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {step}", expected="a finite number",
            do="look for images with extreme values in 'vesalius check', or lower the learning rate (--learning-rate) or use --precision 32-true",
        )


def refuse_divergence(history: list[dict[str, float]]) -> None:
    """TrainingError when the training loss has grown far above its start."""
    if len(history) <= PATIENCE:
        return
    first = max(history[0]["train_loss"], 1e-6)
    if all(row["train_loss"] > DIVERGED * first for row in history[-PATIENCE:]):
        raise TrainingError(
            "the training diverges", expected=f"a loss below its start ({first:.3g})", got=f"{history[-1]['train_loss']:.3g}",
            do="lower the learning rate (--learning-rate)",
        )


class Interruption:
    """Within the block Ctrl-C only sets ``asked``, so that the loop can stop between two steps and save first.

    A second Ctrl-C interrupts at once. Outside the main thread it does nothing.
    """

    def __enter__(self) -> Interruption:
        self.asked = False
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before: Any = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)
