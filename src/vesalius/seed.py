"""Randomness is an argument: every random choice is drawn from a stream that has a name.

A stream depends on the run's seed and on what it is for (``"augment", epoch, step``),
never on what was drawn before it, so that a resumed run draws what an
uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for the stream of that name.

    >>> stream_seed(0, "augment", 3) == stream_seed(0, "augment", 3)
    True
    >>> stream_seed(0, "augment", 3) == stream_seed(0, "augment", 4)
    False
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the stream of that name."""
    return np.random.default_rng(stream_seed(seed, *names))
