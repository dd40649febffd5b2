"""The parts of a stream: frames read ahead, times measured, rows that survive a kill."""

from __future__ import annotations

import csv
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import RunError
from vesalius.formats.video import Frame, Frames
from vesalius.kernels.tracking import Tracks
from vesalius.storage import telling

AHEAD = 8
"""Frames that are read before they are needed; of a live source one, so that what is shown is what is there."""
WAIT_S = 0.1
SYNC_S = 1.0
"""Rows are handed to the system after every frame, and flushed to the disk after so many seconds."""
REMEMBERED = 100_000
"""Percentiles are those of the last so many frames."""
PERCENTILES = {"p50": 50, "p95": 95, "max": 100}


class ReadAhead:
    """Reads frames in a thread of its own while others are worked on.

    A file waits until there is room. A live source does not wait: the oldest frame that nobody fetched is dropped and counted in ``dropped``.
    What the source raises is raised where the frames are fetched. Use as a context manager: leaving it ends the thread and closes the source.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames, self.dropped = frames, 0
        self._held: queue.Queue[tuple[float, Frame | BaseException | None]] = queue.Queue(1 if frames.live else AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # A camera that hangs in its driver cannot be joined; the thread is a daemon and dies with the process.
        self._thread.join(timeout=10 * WAIT_S if self.frames.live else None)
        if not self._thread.is_alive():
            self.frames.close()

    def __iter__(self) -> Iterator[tuple[float, Frame]]:
        """Each frame with the moment (``time.perf_counter``) at which it was ready."""
        while True:
            ready, item = self._held.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield ready, item

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            for frame in self.frames:
                self._put(frame)
                if self._stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - handed to the thread that fetches the frames, which raises it
            end = error
        self._put(end, last=True)

    def _put(self, item: Frame | BaseException | None, *, last: bool = False) -> None:
        while not self._stop.is_set():
            try:
                self._held.put((time.perf_counter(), item), timeout=0 if self._live(last) else WAIT_S)
            except queue.Full:
                if self._live(last):
                    self._drop()
            else:
                return

    def _live(self, last: bool) -> bool:
        return self.frames.live and not last

    def _drop(self) -> None:
        try:
            self._held.get_nowait()
        except queue.Empty:
            return  # it was fetched in this moment
        self.dropped += 1


class Watch:
    """Seconds that each stage took, frame by frame. The first frame of a stage is kept apart: what is loaded and compiled there is done once."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        if stage in self._first:
            self._seconds.setdefault(stage, deque(maxlen=REMEMBERED)).append(seconds)
        else:
            self._first[stage] = seconds

    def facts(self) -> dict[str, dict[str, float]]:
        """For each stage ``p50``, ``p95``, ``max`` of all but the first frame, and ``first``; in milliseconds."""
        found: dict[str, dict[str, float]] = {}
        for stage, first in self._first.items():
            held = np.array(self._seconds.get(stage, [first])) * 1000
            found[stage] = {name: round(float(np.percentile(held, share)), 3) for name, share in PERCENTILES.items()} | {"first": round(first * 1000, 3)}
        return found


FITS = {True: "yes", False: "no", None: "unknown"}
"""Whether a frame is of the kind that the model was trained on, as the table says it."""


class TrackTable:
    """``tracks.csv``, a row for each object in each frame, appended as the frames come.

    Raises
    ------
    RunError: there is such a file already, or it cannot be written.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, risk: bool = False) -> None:
        if path.exists():
            raise RunError("there are tracks already", where=path, expected="a folder without tracks.csv", do="give another folder")
        self.path, self.classes, self.risk, self._synced = path, classes, risk, time.monotonic()
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened for the life of the stream: `close` is called in every case by `stages.boxed.stream`.
            self._file = path.open("w", newline="", encoding="utf-8")
            self._rows = csv.writer(self._file)
            self._rows.writerow(["frame", "time_s", "id", "class", "score", "low_0", "low_1", "high_0", "high_1", *(["risk"] if risk else []), "fits"])
            self._file.flush()

    def add(self, frame: Frame, tracks: Tracks, fits: bool | None = None) -> None:
        """Write the rows of one frame; ``fits``: whether the model should be used on it (None: not known)."""
        with telling(self.path):
            for place, number in enumerate(tracks.ids):
                self._rows.writerow([frame.number, _text(frame.time_s, 4), int(number), *self._facts(tracks, place), FITS[fits]])
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def _facts(self, tracks: Tracks, place: int) -> list[Any]:
        held = tracks.found
        box = [_text(float(edge), 2) for edge in held.boxes[place]]
        return [self.classes[int(held.labels[place])], _text(float(held.scores[place]), 4), *box, *([_text(float(held.risk[place]), 4)] if self.risk else [])]

    def close(self) -> None:
        with telling(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _text(value: float, digits: int) -> str:
    """A number for the table; nothing where it is not known."""
    return "" if np.isnan(value) else f"{value:.{digits}f}"
