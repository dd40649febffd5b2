"""The engine: what fits is known beforehand; a dead process or a full memory is an error within seconds."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine_works import adds, broken, greedy, greedy_array, killed, leaves, three, too_large, wrong
from vesalius.errors import DataError, OptionError, RunError
from vesalius.kernels.resample import largest
from vesalius.kernels.tiled_labels import labels_of
from vesalius.stages.tiled.engine import Needs, apart, fitted, free_bytes, predicted_bytes, read_volume, told_of_memory

VOLUME = {"size": (8, 8, 8), "n_out": 3, "shape_out": (20, 31, 22), "decide": largest}


def image() -> Tensor:
    return torch.randn(1, 15, 20, 17, generator=torch.Generator().manual_seed(0))


def test_a_volume_is_read_as_the_kernel_reads_it() -> None:
    done: list[tuple[int, int, str]] = []
    got = read_volume(three, image(), batch=2, progress=lambda *each: done.append(each), **VOLUME)
    assert np.array_equal(got, labels_of(three, image(), **VOLUME))
    assert done[-1][0] == done[-1][1] == len(done)


def test_with_little_memory_the_labels_and_the_sums_lie_in_files(tmp_path: Path) -> None:
    needs = predicted_bytes((15, 20, 17), (20, 31, 22), channels=1, size=(8, 8, 8), n_out=3)
    short = math.ceil((needs.total - needs.sums - needs.labels) / 0.9)
    got = read_volume(three, image(), batch=4, memory_bytes=short, folder=tmp_path, **VOLUME)
    assert isinstance(got, np.memmap) and Path(str(got.filename)) == tmp_path / "labels.npy"
    assert [each.name for each in tmp_path.iterdir()] == ["labels.npy"]
    assert np.array_equal(got, labels_of(three, image(), **VOLUME))


def test_a_memmap_larger_than_the_memory_given_is_read_through_files(tmp_path: Path) -> None:
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1, 600, 160, 160))
    x[0, ::7] = 1
    memory = 90 * 2**20
    assert x.nbytes + 600 * 160 * 160 > 0.8 * memory
    got = read_volume(three, x, size=(16, 64, 64), n_out=3, overlap=0.0, shape_out=(600, 160, 160), decide=largest, memory_bytes=memory, folder=tmp_path)
    assert np.array_equal(got[0, :, 5, 5], largest(three(torch.from_numpy(x[None, :, :, 5, 5]))[0])[0])


def test_fewer_tiles_at_once_when_more_do_not_fit() -> None:
    def needs(n: int) -> Needs:
        return predicted_bytes((64, 64, 64), (64, 64, 64), channels=1, size=(32, 32, 32), n_out=4, batch=n, network_bytes=2**28)

    assert fitted(needs, 4, 2**33, files=False).batch == 4
    assert fitted(needs, 4, 700 * 2**20, files=False).batch == 2
    one = needs(1)
    filed = fitted(needs, 4, math.ceil((one.total - one.sums - one.labels) / 0.9), files=True)
    assert filed.batch == 1 and filed.labels_in_file and filed.sums_in_file
    with pytest.raises(DataError, match=r"not enough memory to read this image: expected 0\.\d+ GB free, got 0\.0977 GB; use a network with smaller tiles"):
        fitted(needs, 4, 100 * 2**20, files=True)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read where Linux tells it")
def test_what_is_predicted_bounds_what_is_taken(tmp_path: Path) -> None:
    """Peak memory of a process that reads a volume, over that of one that only makes ready to."""
    code = """
from pathlib import Path
import torch
from vesalius.kernels.resample import largest
from vesalius.stages.tiled.engine import predicted_bytes, read_volume
torch.set_num_threads(1)
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
weights = torch.linspace(-1, 1, 16).reshape(1, 16, 1, 1, 1)
x = torch.randn(1, 96, 128, 128, generator=torch.Generator().manual_seed(0))
options = dict(size=(32, 64, 64), n_out=16, decide=largest)
read_volume(lambda t: t * weights, x[:, :32, :64, :64], shape_out=(32, 64, 64), **options)
before = peak()
read_volume(lambda t: t * weights, x, shape_out=(96, 200, 200), **options)
taken = (peak() - before) * 1024
print(taken, predicted_bytes((96, 128, 128), (96, 200, 200), channels=1, size=(32, 64, 64), n_out=16).total)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    taken, predicted = map(int, told.stdout.split())
    whole = 16 * 96 * 200 * 200 * 4
    assert taken <= 1.1 * predicted < whole


@pytest.mark.slow
def test_a_process_of_its_own_gives_its_answer_and_its_progress() -> None:
    done: list[tuple[int, int, str]] = []
    assert apart(adds, 2, b=3, progress=lambda *each: done.append(each)).tolist() == [5]
    assert done == [(1, 1, "sum")]


@pytest.mark.slow
def test_a_killed_process_is_an_error_within_ten_seconds() -> None:
    told: list[float] = []
    with pytest.raises(RunError, match=r"the process that read the image was ended: got SIGKILL \(the system ends processes so when memory runs out\)"):
        apart(killed, progress=lambda *_: told.append(time.monotonic()))
    assert time.monotonic() - told[0] < 10


@pytest.mark.slow
def test_a_process_that_leaves_is_an_error() -> None:
    with pytest.raises(RunError, match="the process that read the image ended without an answer: got exit code 3"):
        apart(leaves)


@pytest.mark.slow
@pytest.mark.parametrize("work", [greedy, greedy_array])
def test_memory_that_runs_out_is_an_error(work: object) -> None:
    with pytest.raises(DataError, match=r"memory ran out while the image was read: got .* GB free; close other programs"):
        apart(work)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_volume_too_large_for_the_limit_is_refused_before_it_starts() -> None:
    done: list[int] = []
    with pytest.raises(DataError, match="not enough memory to read this image: expected .* GB free, got .* GB"):
        apart(too_large, progress=lambda *_: done.append(1))
    assert done == []


@pytest.mark.slow
def test_errors_of_the_work_come_through() -> None:
    with pytest.raises(OptionError, match="no such tile: got x"):
        apart(wrong)
    with pytest.raises(RunError, match="reading the image failed: got KeyError: 'lost'"):
        apart(broken)


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), told_of_memory():
        raise RuntimeError("shapes differ")
    with pytest.raises(DataError, match="memory ran out"), told_of_memory():
        raise RuntimeError("std::bad_alloc")


def test_free_memory_is_that_of_the_machine() -> None:
    assert 2**20 < free_bytes() < 2**50
