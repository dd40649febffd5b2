"""What boxes rest on, and the pictures of the run folder (``explain/``): the worst misses, the worst false boxes and the surest right ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from vesalius.core.boxes import BoxTruth
from vesalius.core.finding import Picture
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.stages.boxed.chosen import Chosen, choose_boxes
from vesalius.stages.boxed.drawing import Drawn, View
from vesalius.stages.boxed.tables import plain
from vesalius.stages.explain.base import EXPLANATIONS
from vesalius.stages.explain.boxcam import gradcam_box
from vesalius.stages.explain.drise import MASKS, drise
from vesalius.stages.explain.pictures import png
from vesalius.stages.explain.scores import box_score
from vesalius.storage import atomic_json, atomic_write
from vesalius.transforms.boxtiles import boxes_in

if TYPE_CHECKING:
    from vesalius.core.reads import TileReads
    from vesalius.outputs.base import Output
    from vesalius.transforms.tiles import TileTrace

Progress = Callable[[int, int, str], None]
Opened = Callable[[str], tuple[Study, BoxTruth]]
INDEX = "cases.json"
METHODS = ("drise", "gradcam")
WINDOW = 3.0
"""Side of what the network is shown, in longest sides of the box; masks are then as fine as the box needs."""
LEAST = {2: 96, 3: 32}
"""Samples of it at least."""
SECONDS, FEWEST = 12.0, 100
"""D-RISE shows one box as many masks as that time allows, up to `MASKS`; never fewer than the second."""
TIMED = 4
"""Masks that are timed."""


class Detects(Protocol):
    """What of a mapping an explanation asks; `BoxedMapping` is one."""

    @property
    def reads(self) -> TileReads: ...
    @property
    def output(self) -> Output: ...
    @property
    def networks(self) -> Sequence[nn.Module]: ...
    @property
    def device(self) -> torch.device | str: ...
    def encode(self, study: Study) -> tuple[np.ndarray, TileTrace]: ...
    def candidates(self, x: torch.Tensor) -> torch.Tensor: ...


def explain_boxes(
    mapping: Detects, cases: pd.DataFrame, opened: Opened, out: Path, *, progress: Progress | None = None, matching: str = "iou", masks: int | None = None,
    within_s: float = math.inf,
) -> None:
    """Write ``out/cases.json`` and its pictures for the boxes that `choose_boxes` names.

    Parameters
    ----------
    cases: the run's ``cases.parquet``.
    opened: the study of an id and its true boxes.
    matching: see `choose_boxes`. masks: of D-RISE for each box; by default as many as `affordable` says.
    within_s: D-RISE of all boxes together should not take longer (but each has `FEWEST` masks).

    Each box has the plain surroundings (``image``), the same with truth (solid) and prediction (dashed) (``overlay``), its maps, and the
    ``whole`` image with all boxes; of a volume the slice through its middle. A map that is 0 everywhere is left out. Pictures are named by
    number, never by what a file says of itself.
    """
    thresholds = thresholds_of(mapping)
    chosen = choose_boxes(cases, mapping.output.target, thresholds, matching)
    masks = masks or affordable(mapping, min(SECONDS, within_s / max(len(chosen), 1)))
    by_id = cases.set_index("id")["found"]
    rows: list[dict[str, Any]] = []
    for number, each in enumerate(chosen):
        study, truth = opened(each.id)
        found = [box for box in plain(by_id[each.id]) if box["score"] >= thresholds.get(box["class"], 0.0)]
        facts = {"id": each.id, "role": each.role, "class": each.name, "score": each.score, "box": list(each.box), "taken_for": each.taken_for}
        rows.append(facts | _pictures(mapping, study, each, drawn(each, truth, found), out, f"{number:02d}", masks))
        if progress is not None:
            progress(number + 1, len(chosen), "explain")
    atomic_json(out / INDEX, rows)


def affordable(mapping: Detects, seconds: float = SECONDS) -> int:
    """Masks of D-RISE that the network answers within about so many seconds a box on this machine: `FEWEST` to `MASKS`."""
    ndim, multiple = mapping.reads.ndim, int(getattr(mapping.networks[0], "multiple", 32))
    side = multiple * -(-LEAST[ndim] // multiple)
    x = torch.zeros(TIMED, mapping.reads.channels, *(side,) * ndim, device=mapping.device)
    with torch.no_grad():
        mapping.candidates(x)  # the first call of a network is slower than all others
        start = time.perf_counter()
        mapping.candidates(x)
    spent = (time.perf_counter() - start) / TIMED
    return int(min(max(seconds / max(spent, 1e-9), FEWEST), MASKS))


def thresholds_of(mapping: Detects) -> dict[str, float]:
    """The operating point of every class; empty where none was chosen."""
    return {str(name): float(value) for name, value in (mapping.output.facts.get("thresholds") or {}).items()}


def drawn(chosen: Chosen, truth: BoxTruth, found: Sequence[dict[str, Any]]) -> list[Drawn]:
    """All boxes of the image, and the one in question marked."""
    true = [Drawn(tuple(map(float, box)), "ignored" if skip else "truth") for box, skip in zip(truth.boxes, truth.ignored, strict=True)]
    return [*true, *(Drawn(tuple(box["box"]), "found") for box in found), Drawn(chosen.box, "truth" if chosen.role == "missed" else "found", True)]


def _pictures(mapping: Detects, study: Study, chosen: Chosen, boxes: Sequence[Drawn], out: Path, stem: str, masks: int) -> dict[str, Any]:
    near, whole = View.about(study, chosen.box), View.whole(study, chosen.box)
    pictures = {"": near.picture(), "overlay": near.with_boxes(boxes)}
    k = mapping.output.target.classes.index(chosen.name)
    for method, seen in maps_of(mapping, study, chosen.box, k, masks=masks).items():
        pictures[method] = near.heated(seen.at(near.places()))
    pictures["whole"] = whole.with_boxes(boxes)
    files = {what: f"{stem}_{what}.png" if what else f"{stem}.png" for what in pictures}
    for what, picture in pictures.items():
        atomic_write(out / files[what], png(picture))
    maps = [{"method": what, "file": files[what]} for what in (*METHODS, "whole") if what in files]
    return {"image": files[""], "overlay": files["overlay"], "maps": maps}


@dataclass(frozen=True)
class BoxMap:
    """A map ``[*size]`` float32 in [0, 1] over a window of a prepared study that begins at ``start``."""

    heat: np.ndarray
    start: tuple[int, ...]
    trace: TileTrace

    def at(self, places: np.ndarray) -> np.ndarray:
        """The map at indices of the study's own grid ``[ndim, …]``, linear between samples; 0 outside the window."""
        seen = np.stack([axis - first for axis, first in zip(prepared(places + 0.5, self.trace) - 0.5, self.start, strict=True)])
        inside = np.logical_and.reduce([(i > -0.5) & (i < n - 0.5) for i, n in zip(seen, self.heat.shape, strict=True)])
        return np.asarray(map_coordinates(self.heat, seen, order=1, mode="nearest") * inside, np.float32)

    def whole(self, shape: Sequence[int]) -> np.ndarray:
        """The map on the study's own grid, ``[(Z,) Y, X]``."""
        heat = np.zeros(tuple(shape), np.float32)
        for first in range(shape[0]):
            places = np.stack(np.meshgrid(np.array([float(first)]), *(np.arange(n, dtype=float) for n in shape[1:]), indexing="ij"))
            heat[first] = self.at(places)[0]
        return heat


def prepared(points: np.ndarray, trace: TileTrace) -> np.ndarray:
    """Points ``[ndim, …]`` of a study's own grid (continuous: sample i covers i .. i + 1) as the prepared study has them."""
    turned = [np.asarray(points[axis], float) for axis in trace.order]
    turned = [n - each if axis in trace.flips else each for axis, (each, n) in enumerate(zip(turned, trace.stored, strict=True))]
    return np.stack([each * m / n for each, m, n in zip(turned, trace.shape, trace.stored, strict=True)])


def maps_of(
    mapping: Detects, study: Study, box: Sequence[float], k: int, *, methods: Sequence[str] = METHODS, masks: int = MASKS, seed: int = 0,
) -> dict[str, BoxMap]:
    """What a box rests on, by method; a map that is 0 everywhere is absent, and Grad-CAM where no gradient flows through the network.

    Parameters
    ----------
    box: ``low..., high...`` in samples of the study; one that was found, or one that was missed. k: number of its class.
    """
    x, trace = mapping.encode(study)
    low, high = np.split(boxes_in(np.asarray(box, float)[None], trace)[0].astype(float), 2)
    window, start = window_at(x, low, high, mapping.reads.size, int(getattr(mapping.networks[0], "multiple", 32)))
    inside = np.concatenate([low - start, np.maximum(high, low + 1) - start])
    seen, made = torch.from_numpy(window)[None].to(mapping.device), {}
    for method in methods:
        heat = _map(mapping, method, seen, inside.tolist(), k, masks, seed)
        if heat is not None and bool(heat.any()):
            made[method] = BoxMap(heat.cpu().numpy(), start, trace)
    return made


def _map(mapping: Detects, method: str, x: torch.Tensor, box: list[float], k: int, masks: int, seed: int) -> torch.Tensor | None:
    """The mean over the members of an ensemble for Grad-CAM; D-RISE asks the mapping itself."""
    if method == "drise":
        return drise(mapping.candidates, x, box, k, masks=masks, seed=seed)
    if method != "gradcam" and method not in EXPLANATIONS:
        known = [*METHODS, *(name for name in EXPLANATIONS if name not in METHODS)]
        raise OptionError(f"unknown explanation '{method}' of a box", expected=" or ".join(known), got=method)
    heats = []
    for network in mapping.networks:
        try:
            heats.append(gradcam_box(network, x, box, k) if method == "gradcam" else EXPLANATIONS.get(method)(network, x, box_score(box, k)))
        except OptionError:
            if method != "gradcam":
                raise
            return None  # a network that is no longer differentiable; D-RISE still tells
    return torch.stack(heats).mean(0)


def window_at(x: np.ndarray, low: np.ndarray, high: np.ndarray, size: Sequence[int], multiple: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """The part of a prepared study ``[C, …]`` about a box that the network is shown, and where it begins.

    Its sides are whole multiples of ``multiple``, at most the tile's; what lies beyond the image is 0.
    """
    side = max(WINDOW * float((high - low).max()), LEAST[len(size)])
    sides = [min(multiple * -(-int(min(np.ceil(side), n)) // multiple), -(-tile // multiple) * multiple) for n, tile in zip(x.shape[1:], size, strict=True)]
    starts = [max(min(round(float(a + b - s) / 2), n - s), 0) for a, b, s, n in zip(low, high, sides, x.shape[1:], strict=True)]
    window = np.zeros((len(x), *sides), np.float32)
    part = x[(slice(None), *(slice(i, i + s) for i, s in zip(starts, sides, strict=True)))]
    window[tuple(slice(0, n) for n in part.shape)] = part
    return window, tuple(starts)


def explain_box(mapping: Detects, study: Study, box: Sequence[float], k: int, *, method: str = "drise", masks: int = MASKS) -> Picture:
    """What one box of a study rests on, as a `Picture` float32 in [0, 1] on the study's own grid; 0 where nothing speaks for it.

    Parameters
    ----------
    box: ``low..., high...`` in samples of the study. k: number of its class. method: ``drise`` or a name in ``EXPLANATIONS``.

    Raises
    ------
    OptionError: another method, one that does not fit the network, or a class that the target does not have.
    """
    classes = mapping.output.target.classes
    if not 0 <= k < len(classes):
        raise OptionError("there is no such class to explain", expected=f"a number from 0 to {len(classes) - 1}", got=k)
    made = maps_of(mapping, study, box, k, methods=(method,), masks=masks)
    heat = made[method].whole(study.grid.shape) if made else np.zeros(study.grid.shape, np.float32)
    return Picture(method, heat, study.grid)
