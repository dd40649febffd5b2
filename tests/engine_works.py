"""What the tests of the engine run in a process of its own (a started process must be able to import it)."""

from __future__ import annotations

import os
import resource
import signal

import numpy as np
import torch
from torch import Tensor

from vesalius.errors import OptionError
from vesalius.kernels.resample import largest
from vesalius.kernels.tiling import Progress
from vesalius.stages.tiled.engine import read_volume


def three(x: Tensor) -> Tensor:
    return torch.cat([x, -x, x * x - 0.3], 1)


def killed(progress: Progress) -> None:
    progress(1, 9, "tile")
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(progress: Progress) -> None:
    os._exit(3)


def greedy(progress: Progress) -> int:
    """Ask for more than the process may have."""
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    return len(torch.zeros(2**40))


def greedy_array(progress: Progress) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    return len(np.ones(2**40))


def too_large(progress: Progress) -> np.ndarray:
    """A volume whose sums do not fit below the limit."""
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    x = np.broadcast_to(np.zeros((), np.float32), (1, 64, 4000, 4000))
    return read_volume(three, x, size=(64, 64, 64), n_out=3, shape_out=(64, 4000, 4000), decide=largest, progress=progress)


def wrong(progress: Progress) -> None:
    raise OptionError("no such tile", got="x")


def broken(progress: Progress) -> None:
    raise KeyError("lost")


def adds(a: int, b: int, progress: Progress) -> np.ndarray:
    progress(1, 1, "sum")
    return np.array([a + b])
