"""A moving picture of blood cells whose paths are known: they cross, overlap, enter and leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import OptionError
from vesalius.phantoms.sheet import Item, png, truth_of, write_items
from vesalius.phantoms.smear import CLASSES, DRAWN, Cell, Placed, Stain, add_debris, add_shadow, draw_stain, expose_smear, placed, shadow
from vesalius.phantoms.truth import DATA, Truth
from vesalius.seed import generator

UNIT = 0.09
LEAST_SIZE = 96
VIDEO = "clip.avi"
PATIENT = "P0000"


@dataclass(frozen=True)
class Way:
    """A cell's way: where it is at frame 0, pixels a frame, radian a frame, and a slow sway across."""

    cell: Cell
    start: np.ndarray
    step: np.ndarray
    turn: float
    sway: tuple[float, float, float]

    def at(self, frame: int) -> tuple[np.ndarray, float]:
        """Centre (y, x) and turn at a frame."""
        height, period, phase = self.sway
        across = np.array([-self.step[1], self.step[0]]) / max(float(np.linalg.norm(self.step)), 1e-6)
        return self.start + self.step * frame + across * height * np.sin(2 * np.pi * frame / period + phase), self.turn * frame


def draw_paths(rng: np.random.Generator, stain: Stain, shape: tuple[int, int], frames: int, cells: int) -> list[Way]:
    """Ways that pass through the picture at a drawn time; every other cell meets the one before it on its way."""
    kinds, meeting, found = rng.choice(["RBC", "WBC", "Platelets"], cells, p=[0.7, 0.12, 0.18]), (0.0, np.zeros(2)), []
    for number, kind in enumerate(kinds):
        when, where = rng.uniform(0, frames), rng.uniform(0.15, 0.85, 2) * shape
        if number % 4 == 1:
            when, where = meeting
        meeting = (when, where)
        angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.004, 0.013) * shape[0]
        step = speed * np.array([np.sin(angle), np.cos(angle)])
        sway = (rng.uniform(0, 0.012) * shape[0], rng.uniform(20, 50), rng.uniform(0, 2 * np.pi))
        found.append(Way(DRAWN[str(kind)](rng, stain, UNIT * shape[0]), where - step * when, step, rng.uniform(-0.05, 0.05), sway))
    return found


def make_clip(out: Path, seed: int, n: int, *, size: int = 160, cells: int = 10, broken: int = 0, fps: float = 15.0, video: bool = False) -> Truth:
    """``n`` frames as PNG pictures ``frames/frame_1.png`` ... (numbers without leading zeros), and as ``clip.avi`` beside them if asked.

    Parameters
    ----------
    size: height in pixels; the width is about 4/3 of it, both even. cells: how many pass through.
    broken: frames whose file is cut off, spread over the clip (never the first); their truth stays known.
    fps: frames a second of the video. video: also write it (Motion JPEG; needs the extra ``video``).

    Raises
    ------
    OptionError: a size too small, no cell, more broken frames than there are, or a video without OpenCV.
    """
    if size < LEAST_SIZE or cells < 1 or not 0 <= broken < max(n, 1):
        expected = f"size of {LEAST_SIZE} or more, 1 cell or more, fewer broken frames than frames"
        raise OptionError("such a clip cannot be drawn", expected=expected, got=f"size {size}, cells {cells}, broken {broken} of {n}")
    shape = (size // 2 * 2, round(size * 2 / 3) * 2)  # Motion JPEG drops the last line of odd sizes
    stain, debris = draw_stain(generator(seed, "clip", "stain")), np.zeros((*shape, 3))
    add_debris(generator(seed, "clip", "debris"), debris, stain, UNIT * size, 5)
    paths = draw_paths(generator(seed, "clip", "paths"), stain, shape, n, cells)
    cut = {round((k + 1) * n / (broken + 1)) - 1 for k in range(broken)} - {0} if broken else set()
    shown = [_frame(seed, frame, paths, debris, stain) for frame in range(n)]
    items = [_item(frame, image, seen, frame in cut) for frame, (image, seen) in enumerate(shown)]
    write_items(out, items)
    if video:
        write_video(out / DATA / VIDEO, [image for image, _ in shown], fps)
    options = {"size": size, "cells": cells, "broken": broken, "fps": fps, "video": video}
    facts = {"kind": "clip", "seed": seed, "n": n, "options": options, "target": "boxes", "target_kind": "boxes", "classes": CLASSES}
    tracks = {item.id: item.planted["tracks"] for item in items}
    boxes = {name: [{"class": each["class"], "box": each["box"]} for each in held] for name, held in tracks.items()}
    return truth_of(out, items, facts, {"tracks": tracks, "boxes": boxes, "broken": [items[i].id for i in sorted(cut)]})


def _frame(seed: int, frame: int, paths: list[Way], debris: np.ndarray, stain: Stain) -> tuple[np.ndarray, list[tuple[int, Placed]]]:
    """The picture ``[Y, X, 3]`` uint8 and the numbered cells that can be seen in it."""
    canvas, seen = debris.copy(), []
    for number, path in enumerate(paths):
        centre, turn = path.at(frame)
        lies = placed(path.cell, centre, turn, (canvas.shape[0], canvas.shape[1]))
        if lies is not None:
            corner, _, dark = shadow(path.cell, centre, turn, stain)
            add_shadow(canvas, corner, dark)
            seen.append((number, lies))
    steady = generator(seed, "clip", "light")
    light = expose_smear(steady, canvas, replace(stain, noise=0.0)).astype(float)
    return (light + generator(seed, "clip", "noise", frame).normal(0, stain.noise * 255, light.shape)).clip(0, 255).astype(np.uint8), seen


def _item(frame: int, image: np.ndarray, seen: list[tuple[int, Placed]], cut: bool) -> Item:
    content = png(image)
    label = "|".join(name for name in CLASSES if any(lies.cell.kind == name for _, lies in seen))
    tracks: list[dict[str, Any]] = [{"id": number, "class": lies.cell.kind, "box": list(lies.box), "visible": round(lies.visible, 3)} for number, lies in seen]
    held = content[: len(content) // 3] if cut else content
    return Item(held, ".png", PATIENT, label, label, {}, {"tracks": tracks}, f"frames/frame_{frame + 1}.png")


def write_video(path: Path, images: list[np.ndarray], fps: float) -> None:
    """Pictures ``[Y, X, 3]`` uint8 as Motion JPEG.

    Raises
    ------
    OptionError: OpenCV is absent or cannot write Motion JPEG.
    """
    try:
        import cv2
    except ImportError as error:
        raise OptionError("OpenCV is absent", expected="the extra 'video'", do="pip install 'vesalius[video]', or leave video out") from error
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    if not writer.isOpened():
        raise OptionError("OpenCV cannot write Motion JPEG", where=path, do="leave video out")
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
