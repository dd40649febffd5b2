"""Detection frame by frame: a film, a folder of pictures or a camera in, objects with ids that stay with them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vesalius.core.boxes import Detected
from vesalius.core.study import Study
from vesalius.errors import DataError, OptionError
from vesalius.formats.video import Frame, Frames, open_frames
from vesalius.kernels.tracking import Tracker, Tracks
from vesalius.stages.boxed.flow import ReadAhead, TrackTable, Watch
from vesalius.stages.boxed.shown import Overlay, drawn
from vesalius.stages.fitfor import FrameJudge
from vesalius.stages.prepare import quiet
from vesalius.storage import atomic_json

Progress = Callable[[int, int, str], None]
USUAL_THRESHOLD = 0.5
"""Operating point of a class for which none was chosen."""
DOUBTFUL = 0.3
"""Boxes from this share of their class's threshold on may continue a track, though not begin one."""
NAMED = 100
"""Broken frames that are named in the record; all are counted."""
RECORD_S = 2.0
"""The record is written anew after so many seconds, so that it is there after a kill."""


class Detecting(Protocol):
    """What a stream needs of a mapping; ``took`` (seconds of the last ``detect``: ``prepare``, ``network``, ``suppress``) is used where it is there."""

    output: Any

    def detect(self, study: Study, floor: float) -> Detected: ...


@dataclass(frozen=True)
class Streamed:
    """What came of a stream.

    Parameters
    ----------
    frames: read and worked on. broken: could not be read or worked on. dropped: of a camera, came while others were worked on.
    judged, unfit: frames that were held against the training images, and those of them that the model should not be used on; see `fitfor.FrameJudge`.
    objects: how many ids each class has. fps: frames worked on a second, measured. latency_ms: by stage, see `Watch.facts`.
    table, record, overlay: ``tracks.csv``, ``stream.json``, and the film or folder of pictures with boxes (None: not asked for).
    """

    frames: int
    broken: int
    dropped: int
    objects: Mapping[str, int]
    fps: float
    latency_ms: Mapping[str, Mapping[str, float]]
    table: Path
    record: Path
    overlay: Path | None
    judged: int = 0
    unfit: int = 0

    @property
    def sentence(self) -> str:
        """How many frames, how fast, and what was seen."""
        whole = self.latency_ms.get("end_to_end", {})
        seen = ", ".join(f"{n} {name}" for name, n in self.objects.items()) or "nothing"
        late = f", {whole['p50']:.0f} ms a frame (19 of 20 within {whole['p95']:.0f} ms)" if whole else ""
        unfit = f"; {self.unfit} of {self.judged} judged frames are not what the model was trained on" if self.unfit else ""
        return f"{self.frames} frames, {self.broken} broken, {self.dropped} dropped; {self.fps:.1f} a second{late}; {seen}{unfit}"


def stream(
    mapping: Detecting, source: str | Path | int, out: Path | str, *, thresholds: Mapping[str, float] | None = None, show: bool = False,
    limit: int | None = None, progress: Progress = quiet,
) -> Streamed:  # fmt: skip
    """Detect and track in every frame of a source; what is written is whole at any moment.

    Parameters
    ----------
    source: a video file, a folder of pictures, a file of several pictures, or the index of a camera; see `formats.video.open_frames`.
    out: folder for ``tracks.csv`` (frame, time_s, id, class, score, low_0, low_1, high_0, high_1 in samples; y first; fits: whether the frame is of the kind
        that the model was trained on) and ``stream.json``, which says of frames that are not why.
    thresholds: class to the score from which a box is likely; those of the model where left out.
    show: also write the frames with their boxes. limit: end after so many frames (a camera never ends by itself; Ctrl-C ends it in order).

    Raises
    ------
    OptionError: an impossible threshold or limit, OpenCV or the camera is absent. DataError: nothing to read, or not one frame can be used.
    RunError: ``out`` holds tracks already, or cannot be written.
    """
    if limit is not None and limit < 1:
        raise OptionError("a stream has at least one frame", expected="limit of 1 or more", got=limit)
    target = mapping.output.target
    points = _thresholds(mapping, thresholds)
    frames, out = open_frames(source), Path(out)
    flow = _Flow(mapping, points, frames, TrackTable(out / "tracks.csv", target.classes, risk=bool(target.risk)), Overlay(out, frames.fps) if show else None)
    with ReadAhead(frames) as ahead:
        try:
            flow.run(ahead, limit, progress)
        except KeyboardInterrupt:
            flow.ended = "stopped by the user"
        finally:
            flow.close(ahead.dropped)
    if not flow.done:
        raise DataError("not one frame could be worked on", where=frames.name, got=next(iter(flow.broken.values()), "no frame"), do="give another source")
    return flow.streamed(ahead.dropped)


@dataclass
class _Flow:
    """One stream on its way."""

    mapping: Detecting
    points: np.ndarray
    frames: Frames
    table: TrackTable
    overlay: Overlay | None
    watch: Watch = field(default_factory=Watch)
    broken: dict[int, str] = field(default_factory=dict)
    n_broken: int = 0
    done: int = 0
    ended: str = "stopped by an error"
    began: float = field(default_factory=time.perf_counter)
    written: float = field(default_factory=time.perf_counter)
    classes_of: dict[int, int] = field(default_factory=dict)
    last: int = -1

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.points)
        self.judge = FrameJudge(self.mapping)

    def run(self, ahead: ReadAhead, limit: int | None, progress: Progress) -> None:
        """Work on the frames until there are no more, or ``limit`` of them were worked on."""
        total = min(limit or self.frames.count or 0, self.frames.count or limit or 0)
        for ready, frame in ahead:
            self._one(frame, ready)
            progress(self.done + self.n_broken, total, "frames")
            if time.perf_counter() - self.written > RECORD_S:
                self.record(ahead.dropped, "running")
            if limit is not None and self.done >= limit:
                self.ended = "limit reached"
                return
        self.ended = "end of the source"

    def _one(self, frame: Frame, ready: float) -> None:
        start = time.perf_counter()
        found = self._detected(frame)
        if found is None:
            return
        detected = time.perf_counter()
        tracks = self.tracker.update(found, max(frame.number - self.last, 1))
        tracked = time.perf_counter()
        fits = self.judge.fits(frame.number, frame.study) if frame.study is not None else None
        spent = {"judge": time.perf_counter() - tracked} if self.judge.known else {}
        self.table.add(frame, tracks, fits)
        self.last, self.done = frame.number, self.done + 1
        self.classes_of.update(zip(map(int, tracks.ids), map(int, tracks.found.labels), strict=True))
        # A frame of a file lay ready before anybody asked for it, so that its wait says nothing; the wait of a camera's is delay.
        whole = frame.decode_s + time.perf_counter() - (ready if self.frames.live else start)
        inner: Mapping[str, float] = getattr(self.mapping, "took", {})
        own = {"detect": detected - start, "track": tracked - detected}
        for stage, seconds in {"decode": frame.decode_s, **inner, **own, **spent, "end_to_end": whole}.items():
            self.watch.add(stage, seconds)
        self._show(frame, tracks)

    def _detected(self, frame: Frame) -> Detected | None:
        """Likely and doubtful boxes of a frame; None where it is broken, which is noted."""
        why, found = frame.why, None
        if frame.study is not None:
            try:
                found = self.mapping.detect(frame.study, float(self.points.min() * DOUBTFUL))
            except DataError as error:
                why = str(error)
        if found is None:
            self.n_broken += 1
            if len(self.broken) < NAMED:
                self.broken[frame.number] = why
            return None
        return found.kept(found.scores >= DOUBTFUL * self.points[found.labels])

    def _show(self, frame: Frame, tracks: Tracks) -> None:
        if self.overlay is not None and frame.study is not None:
            start = time.perf_counter()
            self.overlay.add(frame.number, drawn(frame.study, tracks, self.mapping.output.target.classes))
            self.watch.add("show", time.perf_counter() - start)

    @property
    def objects(self) -> dict[str, int]:
        held = list(self.classes_of.values())
        return {name: held.count(k) for k, name in enumerate(self.mapping.output.target.classes)}

    @property
    def fps(self) -> float:
        return self.done / max(time.perf_counter() - self.began, 1e-9)

    def record(self, dropped: int, state: str) -> Path:
        """Write ``stream.json`` as things stand."""
        self.written = time.perf_counter()
        path = self.table.path.with_name("stream.json")
        atomic_json(path, {
            "schema": 1, "source": self.frames.name, "live": self.frames.live, "source_fps": self.frames.fps, "state": state, "frames": self.done,
            "broken": {"n": self.n_broken, "frames": self.broken}, "dropped": dropped, "objects": self.objects, "frames_per_second": round(self.fps, 3),
            "fitness": self.judge.facts(), "latency_ms": self.watch.facts(),
            "thresholds": dict(zip(self.mapping.output.target.classes, self.points.tolist(), strict=True)),
            "note": "Research use: a doctor decides.",
        })  # fmt: skip
        return path

    def close(self, dropped: int) -> None:
        self.table.close()
        if not self.done:
            self.table.path.unlink()  # so that the same folder can be given once the source is repaired
        if self.overlay is not None:
            self.overlay.close()
        self.record(dropped, self.ended)

    def streamed(self, dropped: int) -> Streamed:
        record, overlay = self.table.path.with_name("stream.json"), self.overlay.path if self.overlay else None
        return Streamed(self.done, self.n_broken, dropped, self.objects, self.fps, self.watch.facts(), self.table.path, record, overlay,
                        self.judge.judged, self.judge.unfit)


def _thresholds(mapping: Detecting, given: Mapping[str, float] | None) -> np.ndarray:
    """The operating point of each class ``[K]``."""
    classes = list(mapping.output.target.classes)
    chosen = {name: value for name, value in mapping.output.facts.get("thresholds", {}).items() if value}  # 0 or None: none was chosen
    known = {**dict.fromkeys(classes, USUAL_THRESHOLD), **chosen}
    for name, value in (given or {}).items():
        if name not in classes:
            raise OptionError(f"the model has no class '{name}'", expected=f"one of {', '.join(classes)}")
        if not 0 < value <= 1:
            raise OptionError(f"the threshold of '{name}' is no score", expected="above 0 and at most 1", got=value)
        known[name] = value
    return np.array([known[name] for name in classes], float)
