"""Frames one after the other: from a video file, a camera, a folder of pictures in natural order, or a file that holds several pictures.

Videos and cameras are read by OpenCV (the extra ``video``); pictures by the readers of this package, with their own depth. A frame that cannot
be read is handed on as broken, with the reason, and does not end the stream.
"""

from __future__ import annotations

import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import DataError, FormatError, OptionError
from vesalius.formats.base import suffix_format
from vesalius.formats.opening import format_of, open_study

GREY_TAGS = {b"Y1\x00\x10": 16, b"Y800": 8, b"GREY": 8}
"""Pixel formats of FFmpeg that OpenCV hands on as they are: bits."""
LOST_AT_END = 5
"""Where a video does not state how many frames it has, so many that cannot be read on end are its end; for a camera they are a failure."""


@dataclass(frozen=True)
class Frame:
    """One frame: its number from 0, seconds since the start (NaN: not known), the picture or why there is none, and the seconds that decoding took."""

    number: int
    time_s: float
    study: Study | None
    why: str
    decode_s: float


class Frames(ABC):
    """A source of frames.

    Attributes
    ----------
    name: for messages. fps: frames a second, None where not stated. count: frames that the source says it has, None where not known.
    live: frames come whether they are fetched or not.
    """

    name: str
    fps: float | None = None
    count: int | None = None
    live: bool = False

    def __iter__(self) -> Iterator[Frame]:
        """Every frame in order, broken ones too.

        Raises
        ------
        FormatError: not one of the frames could be read.
        """
        seen, why = 0, ""
        for frame in self._frames():
            seen, why = seen + (frame.study is not None), frame.why or why
            yield frame
        if not seen:
            got, advice = why or "nothing", "convert it, or give another"
            raise FormatError("not one frame can be read", where=self.name, expected="a video or pictures", got=got, do=advice)

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """See ``__iter__``."""

    def _time(self, number: int) -> float:
        return number / self.fps if self.fps else float("nan")

    def close(self) -> None:
        """Give the file or the camera back."""
        return


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by the numbers in them.

    >>> sorted(["f10.png", "f2.png", "f1.png"], key=natural)
    ['f1.png', 'f2.png', 'f10.png']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def open_frames(source: str | Path | int) -> Frames:
    """Open a source of frames: a camera by its index (``0``), a folder of pictures, a video, or a file of several pictures (DICOM cine, TIFF, GIF).

    Raises
    ------
    DataError: it does not exist, or the folder holds no picture. FormatError: it cannot be opened.
    OptionError: a video or a camera without OpenCV, or no camera of that index.
    """
    path = Path(str(source))
    if isinstance(source, int) or (str(source).isdecimal() and not path.exists()):
        return _Camera(int(str(source)))
    if path.is_dir():
        return _Folder(path)
    if not path.is_file():
        raise DataError("the source of frames does not exist", where=path, expected="a video, a folder of pictures or the index of a camera")
    return _Stack(path) if suffix_format(path.name) else _Video(path)


class _Folder(Frames):
    """Pictures of one folder (not of those below it), in natural order."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        held = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and suffix_format(path.name)]
        self.paths = sorted(held, key=lambda path: natural(path.name))
        self.count = len(self.paths)
        if not self.paths:
            raise DataError("the folder holds no picture", where=folder, expected="frames as PNG, JPEG, TIFF or DICOM", do="give the folder of the frames")

    def _frames(self) -> Iterator[Frame]:
        for number, path in enumerate(self.paths):
            start, study, why = time.perf_counter(), None, ""
            try:
                study = open_study(Source(format_of(path), str(path)))
                if study.ndim != 2:
                    study, why = None, f"{path.name}: a picture is needed, not a volume"
            except DataError as error:
                why = str(error)
            yield Frame(number, self._time(number), study, why, time.perf_counter() - start)


class _Stack(Frames):
    """The pictures of one file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.study = open_study(Source(format_of(path), str(path)))
        self.count = self.study.grid.shape[0] if self.study.ndim == 3 else 1

    def _frames(self) -> Iterator[Frame]:
        for number in range(self.count or 0):
            start = time.perf_counter()
            study = self._slice(number) if self.study.ndim == 3 else self.study
            yield Frame(number, self._time(number), study, "", time.perf_counter() - start)

    def _slice(self, number: int) -> Study:
        whole = self.study
        grid = Grid.plain(whole.grid.shape[1:], whole.grid.spacing_mm[1:] if whole.grid.spacing_known else None)
        return Study(whole.image[:, number], grid, whole.modality, whole.bits, whole.window, f"{self.name}#{number}", whole.meta)


class _Video(Frames):
    """A video file. OpenCV gives three colours, also of grey films, but for those stored as grey of 8 or 16 bits."""

    def __init__(self, path: Path) -> None:
        self.name, cv2 = str(path), opencv()
        self.capture = cv2.VideoCapture(self.name)
        if not self.capture.isOpened():
            expected, advice = "a video that OpenCV reads (AVI, MP4, MKV ...)", "convert it, or give its frames as pictures in a folder"
            raise FormatError("the video cannot be opened", where=path, expected=expected, got=f"{path.stat().st_size} bytes", do=advice)
        tag = int(self.capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
        self.grey = tag > 0 and tag.to_bytes(8, "little")[:4] in GREY_TAGS
        if self.grey:
            self.capture.release()
            self.capture = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_CONVERT_RGB, 0])
        fps, count = self.capture.get(cv2.CAP_PROP_FPS), int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps, self.count = fps if fps > 0 else None, count if count > 0 else None

    def _frames(self) -> Iterator[Frame]:
        number, lost = 0, list[Frame]()
        while self.count is None or number < self.count:
            start = time.perf_counter()
            got, image = self.capture.read()
            took = time.perf_counter() - start
            if got:
                yield from lost
                lost = []
                yield Frame(number, self._time(number), self._study(image, number), "", took)
            else:
                lost.append(Frame(number, self._time(number), None, f"{Path(self.name).name}: frame {number} cannot be decoded", took))
                if self.count is None and len(lost) >= LOST_AT_END:
                    return  # the end of a film that does not say how long it is
            number += 1
        yield from lost

    def _study(self, image: np.ndarray, number: int) -> Study:
        return picture(image, f"{self.name}#{number}")

    def close(self) -> None:
        self.capture.release()


class _Camera(Frames):
    """A camera; its time is that of the clock."""

    live = True

    def __init__(self, index: int) -> None:
        self.name, cv2 = f"camera {index}", opencv()
        self.capture = cv2.VideoCapture(index)
        if not self.capture.isOpened():
            raise OptionError("no camera answers", where=self.name, expected="the index of a camera that is connected and not in use")
        self.capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None

    def _frames(self) -> Iterator[Frame]:
        began, number, lost = time.perf_counter(), 0, 0
        while lost < LOST_AT_END:
            start = time.perf_counter()
            got, image = self.capture.read()
            now = time.perf_counter()
            study = picture(image, f"{self.name}#{number}") if got else None
            lost = 0 if got else lost + 1
            yield Frame(number, now - began, study, "" if got else f"{self.name}: frame {number} did not come", now - start)
            number += 1

    def close(self) -> None:
        self.capture.release()


def picture(image: np.ndarray, name: str) -> Study:
    """What OpenCV hands out, ``[Y, X]`` or ``[Y, X, 3]`` (blue, green, red), as a study."""
    planes = image[None] if image.ndim == 2 else np.moveaxis(image[..., ::-1], -1, 0)
    return Study(np.ascontiguousarray(planes), Grid.plain(planes.shape[1:]), bits=8 * planes.dtype.itemsize, source=name)


def opencv() -> ModuleType:
    """OpenCV, told to be quiet.

    Raises
    ------
    OptionError: it is not installed.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when a film is opened; what is wrong with a frame is told once, by us
    try:
        import cv2
    except ImportError as error:
        advice = "pip install 'vesalius[video]', or give pictures in a folder"
        raise OptionError("videos and cameras need OpenCV", expected="the extra 'video'", do=advice) from error
    quiet: Any = cv2.utils.logging
    quiet.setLogLevel(quiet.LOG_LEVEL_SILENT)
    return cv2
