"""Keep freed memory in the process while training.

Each step makes and frees the same large activations. The C library of Linux (glibc) gives blocks of that size
back to the system at once and gets them again page by page, zeroed: a seventh of a small network's step
(benchmarks/training_speed.py). Two of its settings (mallopt(3)) make it keep them; the process then holds the
memory of its largest step until it ends, which it needs anyway.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEEP_BYTES = 2**31 - 1
LARGEST_MMAP = 32 * 2**20
"""The most that glibc accepts for the size from which blocks come straight from the system."""


def keep_freed_memory() -> bool:
    """Set it; whether this C library knows the settings (another one is left as it is)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP)) and bool(library.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES))
