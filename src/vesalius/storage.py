"""Writing that loses nothing: a file is either the old one or the whole new one.

The bytes go to a temporary file beside the target, are flushed to the disk and
take the target's name in one step (POSIX ``rename``). What the operating system
refuses becomes one sentence for the user.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import RunError

REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT)
MB = 1_000_000


@contextmanager
def telling(path: str | Path, needed: int | None = None) -> Iterator[None]:
    """Turn what the operating system says while ``path`` is written into one `RunError`.

    Parameters
    ----------
    path: the file or folder being written.
    needed: bytes that were to be written, where known; they are named when the disk is full.

    Raises
    ------
    RunError: disk full (with free and needed megabytes), read-only, or another refusal.
    """
    try:
        yield
    except OSError as error:
        raise _told(Path(path), error, needed) from error


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` as a whole or not at all; missing folders are made.

    Raises
    ------
    RunError: see `telling`; the old file, if any, is unchanged.
    """
    atomic_file(path, lambda part: _put(part, data), needed=len(data))


def atomic_json(path: str | Path, obj: Any) -> None:
    """Write ``obj`` as JSON (UTF-8, two spaces); numpy values and NaN (as null) are understood.

    Raises
    ------
    RunError: see `telling`; the old file, if any, is unchanged.
    """
    text = json.dumps(plain(obj), ensure_ascii=False, indent=2, allow_nan=False)
    atomic_write(path, (text + "\n").encode())


def atomic_file(path: str | Path, write: Callable[[Path], object], *, needed: int | None = None) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then give it that name in one step.

    For writers that want a file name (parquet, safetensors). What ``write`` raises, other than
    `OSError`, goes through unchanged; the temporary file is removed in every case.

    Raises
    ------
    RunError: see `telling`; the old file, if any, is unchanged.
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:12]}.part")
    with telling(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            _sync(part)
            os.replace(part, path)
            _sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def append_line(path: str | Path, text: str) -> None:
    """Add one line to a ledger and flush it to the disk before returning.

    Raises
    ------
    RunError: see `telling`.
    """
    path, line = Path(path), (text.rstrip("\n") + "\n").encode()
    with telling(path, len(line)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def plain(obj: Any) -> Any:
    """The same value in JSON's own types: arrays to lists, paths to text, NaN and infinity to None.

    >>> plain({"a": np.float32(0.5), "b": [np.nan, np.int64(3)]})
    {'a': 0.5, 'b': [None, 3]}
    """
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, np.ndarray):
        return plain(obj.tolist())
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [plain(value) for value in (sorted(obj, key=str) if isinstance(obj, (set, frozenset)) else obj)]
    if isinstance(obj, np.generic):
        return plain(obj.item())
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    return obj if obj is None or isinstance(obj, (bool, int, str)) else str(obj)


def _put(part: Path, data: bytes) -> None:
    with open(part, "wb") as file:
        file.write(data)


def _sync(path: Path) -> None:
    """Flush a file, or the entry of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush a folder (EINVAL); its file has been flushed already.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def _told(path: Path, error: OSError, needed: int | None) -> RunError:
    if error.errno in FULL:
        want, free = f"{needed / MB:.1f} MB" if needed is not None else "more room", f"{_free(path) / MB:.1f} MB free"
        advice = "make room and run the same command again; nothing that was there is lost"
        return RunError("the disk is full", where=path, expected=want, got=free, do=advice)
    if error.errno in REFUSED:
        why = os.strerror(error.errno or 0)
        return RunError("the folder cannot be written", where=path, got=why, do="give a folder that you may write to; nothing was changed")
    return RunError("the file could not be written", where=path, got=str(error.strerror or error), do="look at the disk and run the same command again")


def _free(path: Path) -> int:
    """Free bytes of the disk that holds the nearest folder that exists; 0 where that cannot be told."""
    for folder in path.absolute().parents:
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return 0
