"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure() -> None:
    """Each of several workers keeps to cores of its own, with all that it starts: threads that spin while they wait for a core hold up the
    worker that has it.
    """
    worker, n_workers = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if worker and len(cores) >= n_workers:
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % n_workers :: n_workers])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no real data beside the checkout (shared/data)")
    return SHARED


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: compressed ones hold the time of collection, and two workers would not agree on the names of their tests."""
    return argname if isinstance(val, bytes | bytearray) else None
