"""Frames with their boxes and ids drawn over them, as a film where OpenCV is there, else as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.formats.video import opencv
from vesalius.kernels.tracking import Tracks
from vesalius.stages.explain.pictures import to_rgb, window_of
from vesalius.storage import telling

COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207))
USUAL_FPS = 10.0
"""Frames a second of the film where the source states none."""
QUALITY = 88


def drawn(study: Study, tracks: Tracks, classes: Sequence[str]) -> np.ndarray:
    """``[Y, X, 3]`` uint8: the frame with each object's box, id, class and score; a class has its colour and its name."""
    canvas = Image.fromarray(_colours(study))
    pen = ImageDraw.Draw(canvas)
    for place, number in enumerate(tracks.ids):
        y0, x0, y1, x1 = (float(edge) for edge in tracks.found.boxes[place])
        label = int(tracks.found.labels[place])
        colour = COLOURS[label % len(COLOURS)]
        pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=2)
        text, corner = f"{int(number)} {classes[label]} {tracks.found.scores[place]:.2f}", (x0, max(y0 - 11, 0))
        pen.rectangle(pen.textbbox(corner, text), fill=colour)
        pen.text(corner, text, fill=(255, 255, 255))
    return np.asarray(canvas)


def _colours(study: Study) -> np.ndarray:
    """``[Y, X, 3]`` uint8 of a frame; pictures of 8 bits as they are, which is quick."""
    if study.image.dtype == np.uint8 and study.window is None:
        return np.ascontiguousarray(np.broadcast_to(np.moveaxis(study.image, 0, -1), (*study.grid.shape, 3)))
    return np.ascontiguousarray(to_rgb(study.image, window_of(study)))


class Overlay:
    """Writes drawn frames to ``OUT/overlay.avi`` (Motion JPEG), or to the folder ``OUT/overlay`` where OpenCV is absent or cannot write films.

    A frame of another size than the first is brought to that size.
    """

    def __init__(self, out: Path, fps: float | None) -> None:
        self.out, self.fps = out, fps or USUAL_FPS
        self.path: Path | None = None
        self._size: tuple[int, int] = (0, 0)
        self._film: Any = None

    def add(self, number: int, picture: np.ndarray) -> None:
        """One drawn frame ``[Y, X, 3]`` uint8."""
        if self.path is None:
            self._begin(picture)
        image = Image.fromarray(picture)
        if image.size != self._size:
            image = image.resize(self._size)
        if self._film is not None:
            self._film.write(np.ascontiguousarray(np.asarray(image)[..., ::-1]))
        elif self.path is not None:
            with telling(self.path):
                image.save(self.path / f"{number:06d}.jpg", quality=QUALITY)

    def _begin(self, picture: np.ndarray) -> None:
        self._size = (max(picture.shape[1] // 2, 1) * 2, max(picture.shape[0] // 2, 1) * 2)  # Motion JPEG wants even sides
        self.path = self.out / "overlay.avi"
        self._film = _film(self.path, self.fps, self._size)
        if self._film is None:
            self.path = self.out / "overlay"
            with telling(self.path):
                self.path.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        if self._film is not None:
            self._film.release()


def _film(path: Path, fps: float, size: tuple[int, int]) -> Any:
    """A film to write to, or None where there can be none."""
    try:
        cv2 = opencv()
    except OptionError:
        return None
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    return writer if writer.isOpened() else None
