"""Reading one volume within the memory that there is, and never hanging.

What a prediction needs is worked out before it starts: where it would not fit, fewer tiles go at once, then the labels
and the sums lie in files, and where even that does not fit it is refused with the figures. `apart` runs a
prediction in a process of its own, whose death (also by the system, for want of memory) is an error at once.
"""

from __future__ import annotations

import math
import multiprocessing as mp
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

from vesalius.errors import DataError, RunError, VesaliusError
from vesalius.kernels.tiled_labels import labels_of
from vesalius.kernels.tiling import PIECE_BYTES, Predict, Progress, quiet

T = TypeVar("T")
FLOAT = 4
RESERVE = 0.1
"""Part of the free memory that is left free."""
LOST = ("bad alloc", "bad_alloc", "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "failed to allocate")
"""What engines say when there is no memory left; each has an exception of its own."""
LISTEN_S = 1.0
END_S = 5.0


@dataclass(frozen=True)
class Needs:
    """Memory of one prediction, bytes.

    Parameters
    ----------
    sums: blended values of the planes that tiles still touch.
    tiles: what goes into the network and comes out of it, for one batch.
    network: its own weights and activations, for one batch.
    labels: the answer.
    pieces: raw values that wait for being resampled, and indices for it.
    batch: tiles at once.
    sums_in_file, labels_in_file: these do not count in ``total`` then.
    """

    sums: int
    tiles: int
    network: int
    labels: int
    pieces: int
    batch: int
    sums_in_file: bool = False
    labels_in_file: bool = False

    @property
    def total(self) -> int:
        kept = (0 if self.sums_in_file else self.sums) + (0 if self.labels_in_file else self.labels)
        return kept + self.tiles + self.network + self.pieces


def predicted_bytes(
    shape: Sequence[int], shape_out: Sequence[int], *, channels: int, size: Sequence[int], n_out: int, batch: int = 1, planes: int = 1, network_bytes: int = 0
) -> Needs:
    """What `read_volume` will need besides the image itself.

    Parameters
    ----------
    shape, shape_out: of the prepared image and of the answer.
    network_bytes: of the network for one tile, e.g. `networks.cost`; a batch takes that many times as much.
    """
    plane = n_out * math.prod(shape[1:]) * FLOAT
    cells = math.prod(shape_out[1:]) * (8 * 8 + 4 * 8 + 2 * n_out * FLOAT)  # rows (int64) and weights of corners, two interpolated values a class
    tile = math.prod(size) * FLOAT
    return Needs(
        sums=min(shape[0], size[0]) * plane,
        tiles=batch * (channels + 2 * n_out) * tile + 3 * tile,
        network=batch * network_bytes,
        labels=planes * math.prod(shape_out),
        pieces=3 * max(min(PIECE_BYTES, shape[0] * plane), plane) + 4 * plane + cells,
        batch=batch,
    )


def fitted(needs: Callable[[int], Needs], batch: int, free_bytes: int, *, files: bool) -> Needs:
    """The most comfortable way that fits: fewer tiles at once, then labels and sums in files.

    Parameters
    ----------
    needs: of a batch of so many tiles.
    files: whether there is a folder for files.

    Raises
    ------
    DataError: nothing fits.
    """
    ways = [needs(n) for n in range(batch, 0, -1)]
    if files:
        ways += [replace(ways[-1], labels_in_file=True), replace(ways[-1], labels_in_file=True, sums_in_file=True)]
    for way in ways:
        if way.total <= free_bytes * (1 - RESERVE):
            return way
    least, do = ways[-1], "use a network with smaller tiles, or a machine with more memory"
    raise DataError("not enough memory to read this image", expected=f"{_gb(least.total / (1 - RESERVE))} free", got=_gb(free_bytes), do=do)


def _gb(n: float) -> str:
    return f"{n / 2**30:.3g} GB"


def free_bytes() -> int:
    """Memory that this process may still take: of the machine, and below its own limit on address space where it has one."""
    return min(psutil.virtual_memory().available, _below_limit())


def _below_limit() -> int:
    process = psutil.Process()
    if not hasattr(process, "rlimit"):
        return psutil.virtual_memory().total
    limit = process.rlimit(psutil.RLIMIT_AS)[0]
    return psutil.virtual_memory().total if limit == psutil.RLIM_INFINITY else max(0, limit - process.memory_info().vms)


def read_volume(
    predict: Predict, x: Tensor | np.ndarray, *, size: Sequence[int], n_out: int, shape_out: Sequence[int], batch: int = 1, planes: int = 1,
    network_bytes: int = 0, memory_bytes: int | None = None, folder: Path | None = None, **manner: Any,
) -> np.ndarray:
    """`kernels.tiled_labels.labels_of`, within the memory that there is.

    Parameters
    ----------
    network_bytes: see `predicted_bytes`.
    memory_bytes: how much may be used; None for what is free.
    folder: where large arrays may lie when memory is short; the answer is then a memmap ``labels.npy`` in it.
    manner: all further options of `labels_of` (``decide`` is one).

    Returns
    -------
    uint8 ``[planes, *shape_out]``.

    Raises
    ------
    DataError: not enough memory, before the start or on the way; and those of `labels_of`.
    """
    shape = tuple(x.shape[1:])

    def needs(n: int) -> Needs:
        return predicted_bytes(
            shape, shape_out, channels=x.shape[0], size=size, n_out=n_out, batch=n, planes=planes, network_bytes=network_bytes
        )

    way = fitted(needs, batch, free_bytes() if memory_bytes is None else memory_bytes, files=folder is not None)
    with told_of_memory(way), _files(way, folder, (planes, *shape_out)) as (out, file):
        return labels_of(predict, x, size=size, n_out=n_out, batch=way.batch, shape_out=shape_out, planes=planes, out=out, file=file, **manner)


@contextmanager
def _files(way: Needs, folder: Path | None, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray | None, Path | None]]:
    """A memmap for the labels and a file for the sums, where they are to lie in files; the sums are removed afterwards."""
    out = np.lib.format.open_memmap(folder / "labels.npy", "w+", np.uint8, shape) if folder and way.labels_in_file else None
    if not (folder and way.sums_in_file):
        yield out, None
        return
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield out, Path(place) / "sums"


@contextmanager
def told_of_memory(way: Needs | None = None) -> Iterator[None]:
    """Turn what torch, numpy and other engines say when memory runs out into one error.

    Raises
    ------
    DataError: memory ran out within.
    """
    try:
        yield
    except VesaliusError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and not any(sign in str(error).lower() for sign in LOST):
            raise
        need = f"{_gb(way.total)} by estimate" if way else None
        raise DataError(
            "memory ran out while the image was read", expected=need, got=f"{_gb(free_bytes())} free",
            do="close other programs, use fewer tiles at once, or a machine with more memory",
        ) from error


def apart(work: Callable[..., T], *given: Any, progress: Progress = quiet, **options: Any) -> T:
    """``work(*given, progress=..., **options)`` in a process of its own; its result or its error.

    Everything given and returned must be picklable. Progress is passed on. When the process dies, that is an error within
    a second; when this one is interrupted, the other is ended.

    Raises
    ------
    RunError: the process died, with the signal and what it often means.
    DataError: memory ran out in it. Errors of the work itself come through as they are.
    """
    context = mp.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, work, given, options), daemon=True)
    process.start()
    there.close()
    try:
        return _listen(process, here, progress)
    finally:
        here.close()
        process.join(END_S if process.exitcode is None else 0)
        if process.is_alive():
            process.kill()
            process.join(END_S)


def _listen(process: Any, here: Connection, progress: Progress) -> Any:
    while True:
        ready = wait([here, process.sentinel], LISTEN_S)
        if here in ready:
            try:
                kind, told = here.recv()
            except EOFError:
                raise _death(process) from None
            if kind == "progress":
                progress(*told)
            elif kind == "error":
                raise told
            else:
                return told
        elif process.sentinel in ready and not here.poll():
            raise _death(process)


def _death(process: Any) -> RunError:
    process.join(END_S)  # its pipes close a moment before the system knows how it ended
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = "the system ends processes so when memory runs out" if -code == signal.SIGKILL else "an engine failed"
        return RunError("the process that read the image was ended", got=f"{name} ({why})", do="look at the free memory, or try another backend")
    return RunError("the process that read the image ended without an answer", got=f"exit code {code}", do="try again, or another backend")


def _work(there: Connection, work: Callable[..., Any], given: tuple[Any, ...], options: dict[str, Any]) -> None:
    def tell(done: int, total: int, what: str) -> None:
        there.send(("progress", (done, total, what)))

    try:
        with told_of_memory():
            answer = work(*given, progress=tell, **options)
    except VesaliusError as error:
        there.send(("error", error))
    except Exception as error:
        there.send(("error", RunError("reading the image failed", got=f"{type(error).__name__}: {error}")))
        raise
    else:
        there.send(("answer", answer))
