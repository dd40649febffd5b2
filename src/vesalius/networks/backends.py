"""The fastest way to run a network for each sample, or one that detects, on this machine: torch, ONNX Runtime or OpenVINO, chosen by measuring.

Which engine and which number format is fastest depends on the network and the processor, so each is built, run on one
probe and compared with torch in float32. An engine counts only if its labels, or its boxes, agree with those. ONNX Runtime and
OpenVINO are optional (``pip install vesalius[speed]``); the model reaches them as ONNX bytes in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.errors import OptionError, VesaliusError
from vesalius.networks._engines import ENGINES, PLAIN, Exported, Run, Tiles
from vesalius.networks._points import overlaps
from vesalius.registry import unknown
from vesalius.seed import generator

Decide = Callable[[Tensor], Tensor]
AGREEMENT = 0.999
"""Least part of the probe's samples at which an engine must decide as torch in float32 does."""
BOX_AGREEMENT = 0.98
"""The same for the boxes of a network that detects, see `boxes_agree`."""
BEST_BOXES = 100
"""Boxes of a case that are compared: the likeliest; the order of the others hangs on the last digit."""
SAME_PLACE, SAME_PROBABILITY = 0.9, 0.05
"""Least overlap (intersection over union) and largest difference of a probability of boxes that count as one."""
WHOLE_TOLERANCE = 1e-4
"""Largest difference, absolute and relative, of a raw value of a whole tile that counts as the same."""
REPEATS, REPEAT_SECONDS = 3, 2.0
"""After one run to warm up, the fastest of so many counts; fewer when they take longer than this together."""
MOST_SAID = 120
"""Letters of an engine's own error that are told."""
OFTEN_LONGER = 4.0
"""An engine whose first run takes so many times the best one's is not run again."""


@dataclass(frozen=True)
class Backend:
    """One way to run a network, ``[B, C, *size] -> [B, n_out, *size]`` (``[B, M, 2 * ndim + n_out]``: boxes; ``[B, n_out]``: whole) float32 for any B.

    Parameters
    ----------
    name: of the engine and its number format, one of `names`.
    sentence: what was measured, in words.
    run: the engine for exactly ``tiles.batch`` tiles.
    seconds: for one call with that batch; of every engine that was measured, in the order of trying.
    """

    name: str
    sentence: str
    run: Run
    tiles: Tiles
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Raw values of ``x``; engines know one batch only, so a smaller one is filled up and a larger one cut."""
        parts = [_filled(part, self.tiles.batch) for part in x.split(self.tiles.batch)]
        with torch.no_grad():
            raw = [self.run(part).float()[: min(self.tiles.batch, len(x) - i * self.tiles.batch)] for i, part in enumerate(parts)]
        return raw[0] if len(raw) == 1 else torch.cat(raw)


def _why(error: Exception) -> str:
    """The first line of what an engine says, cut where it is long; of the error that all others came from."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f": {line[:MOST_SAID]}" if line else ""


def _filled(x: Tensor, batch: int) -> Tensor:
    return x if len(x) == batch else torch.cat([x, x[-1:].expand(batch - len(x), *x.shape[1:])])


def names(device: str = "cpu") -> list[str]:
    """Every engine for a kind of device, in the order of trying; the optional ones whether installed or not."""
    return [name for name, (devices, _, _) in ENGINES.items() if device in devices]


def fastest(
    network: nn.Module,
    *,
    channels: int,
    size: Sequence[int],
    n_out: int,
    batch: int = 1,
    seconds: float = 60.0,
    threads: int | None = None,
    probe: Tensor | None = None,
    decide: Decide | None = None,
    agreement: float | None = None,
    only: Sequence[str] | None = None,
    file: Path | None = None,
    detects: bool = False,
    whole: bool = False,
) -> Backend:
    """Try the engines and keep the fastest that decides as torch in float32.

    Parameters
    ----------
    network: dense, or one that detects; it is switched to evaluation and stays on its device.
    channels, size, n_out, batch: of the tiles.
    seconds: no further engine is tried after so long (torch in float32 always is).
    threads: for the engines; None for as many as torch uses.
    probe: ``[B, channels, *size]``, best a real tile; None for smooth noise from a seed.
    decide: raw values ``[B, n_out, *size]`` to labels of any shape; None for the largest (n_out > 1) or the sign.
        Boxes are compared as they are.
    agreement: see `AGREEMENT`, and `BOX_AGREEMENT` for boxes.
    only: names of engines to try besides torch in float32, e.g. the one that was fastest before; None for all.
    file: where the exported model is kept, for `built`; it must belong to these weights and this shape.
    detects: the network gives boxes; see "Boxes" in docs/architecture.md.
    whole: the network gives ``[B, n_out]``, raw values of a whole tile; an engine then agrees when its values lie within `WHOLE_TOLERANCE`.

    Raises
    ------
    OptionError: the probe or the network's answer has another shape than stated, or a name is unknown.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    tiles = Tiles(batch, channels, tuple(size), n_out, threads or torch.get_num_threads(), device, detects, whole)
    for name in only or ():
        if name not in names(device.type):
            raise unknown("backend", name, names(device.type))
    network.eval()
    least = (BOX_AGREEMENT if detects else AGREEMENT) if agreement is None else agreement
    contest = _Contest(network, tiles, _probe(tiles, probe), decide or _largest, least, file)
    stop = time.perf_counter() + seconds
    for name in names(device.type):
        if name == PLAIN or ((only is None or name in only) and time.perf_counter() < stop):
            contest.enter(name)
        elif only is None:
            contest.said[name] = "not tried for want of time"
    return contest.winner()


def built(
    name: str, network: nn.Module, *, channels: int, size: Sequence[int], n_out: int, batch: int = 1, threads: int | None = None,
    sentence: str = "", file: Path | None = None, detects: bool = False, whole: bool = False,
) -> Backend:
    """The engine of that name without measuring, e.g. the one that `fastest` found for this model and machine before.

    file: of the exported model: read where it is there (exporting takes seconds and the memory of a prediction), else written.

    Raises
    ------
    OptionError: the name is unknown, or its package is not installed.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    if name not in names(device.type):
        raise unknown("backend", name, names(device.type))
    _, package, build = ENGINES[name]
    if not _there(package):
        raise OptionError(f"the backend '{name}' is not installed", expected=f"the packages onnx and {package}", do="pip install vesalius[speed]")
    tiles = Tiles(batch, channels, tuple(size), n_out, threads or torch.get_num_threads(), device, detects, whole)
    run = build(Exported(network.eval(), tiles, torch.zeros(tiles.shape, device=device), file))
    return Backend(name, sentence or f"{name}: as it was asked for", run, tiles)


def _there(package: str) -> bool:
    return not package or bool(find_spec("onnx") and find_spec(package))


def _largest(raw: Tensor) -> Tensor:
    return raw.max(1).indices if raw.shape[1] > 1 else raw > 0


def boxes_agree(raw: Tensor, plain: Tensor, n_out: int) -> float:
    """Part of the likeliest boxes of ``plain`` that ``raw`` has at the same place with the same probabilities, whatever their order.

    raw, plain: candidates ``[B, M, 2 * ndim + n_out]``. The last value may be a risk, and is compared like a class.

    >>> one = torch.tensor([[[0.0, 0, 8, 8, 2], [9, 9, 12, 12, 1]]])
    >>> boxes_agree(one.flip(1), one, 1), boxes_agree(one + torch.tensor([0.0, 0, 0, 0, 1]), one, 1)
    (1.0, 0.0)
    """
    d = (plain.shape[2] - n_out) // 2
    parts = []
    for case, own in zip(plain, raw, strict=True):
        best = case[case[:, 2 * d :].amax(1).topk(min(BEST_BOXES, len(case))).indices][:, None]
        near = overlaps(best[..., : 2 * d], own[None, :, : 2 * d]) >= SAME_PLACE
        like = (best[..., 2 * d :].sigmoid() - own[None, :, 2 * d :].sigmoid()).abs().amax(-1) <= SAME_PROBABILITY
        parts.append((near & like).any(1).float().mean())
    return float(torch.stack(parts).mean())


def _probe(tiles: Tiles, given: Tensor | None) -> Tensor:
    if given is not None and tuple(given.shape[1:]) != tiles.shape[1:]:
        raise OptionError("the probe is not a tile", expected=f"[B, {', '.join(map(str, tiles.shape[1:]))}]", got=tuple(given.shape))
    if given is not None:
        return _filled(given[: tiles.batch].float(), tiles.batch).to(tiles.device)
    coarse = tuple(max(1, side // 8) for side in tiles.size)
    noise = torch.from_numpy(generator(0, "probe", *tiles.shape).normal(size=(*tiles.shape[:2], *coarse)).astype(np.float32))
    return nn.functional.interpolate(noise, tiles.size, mode="bilinear" if len(coarse) == 2 else "trilinear").to(tiles.device)


class _Contest:
    """Engines one after the other; only the best is kept in memory."""

    def __init__(self, network: nn.Module, tiles: Tiles, probe: Tensor, decide: Decide, agreement: float, file: Path | None = None) -> None:
        self.network, self.tiles, self.probe, self.decide, self.agreement = network, tiles, probe, decide, agreement
        self.best = ""
        self.run: Run | None = None
        self.labels: Tensor | None = None
        self.seconds: dict[str, float] = {}
        self.said: dict[str, str] = {}
        self.model = Exported(network, tiles, probe, file)

    def enter(self, name: str) -> None:
        _, package, build = ENGINES[name]
        if not _there(package):
            self.said[name] = "not installed"
            return
        try:
            run = build(self.model)
            took = self._measure(name, run)
        except VesaliusError:
            raise
        except Exception as error:  # each engine has errors of its own; that it failed, and how, is part of the sentence
            if name == PLAIN:
                raise
            self.said[name] = f"cannot run it ({type(error).__name__}{_why(error)})"
            return
        if took is not None:
            self.seconds[name] = took
            if not self.best or took < self.seconds[self.best]:
                self.best, self.run = name, run

    def _measure(self, name: str, run: Run) -> float | None:
        """Seconds of one call; None when its labels do not agree."""
        start = time.perf_counter()
        with torch.no_grad():
            raw = run(self.probe).float()
        first = self._since(start)
        if not self._agrees(name, raw):
            return None
        return first if self.best and first > OFTEN_LONGER * self.seconds[self.best] else self._again(run)

    def _again(self, run: Run) -> float:
        taken: list[float] = []
        while len(taken) < REPEATS and sum(taken) < REPEAT_SECONDS:
            start = time.perf_counter()
            with torch.no_grad():
                run(self.probe)
            taken.append(self._since(start))
        return min(taken)

    def _since(self, start: float) -> float:
        if self.tiles.device.type == "cuda":
            torch.cuda.synchronize(self.tiles.device)
        return time.perf_counter() - start

    def _agrees(self, name: str, raw: Tensor) -> bool:
        part = self._part_of_boxes(raw) if self.tiles.detects else self._part_of_labels(raw)
        if part < self.agreement or not bool(torch.isfinite(raw).all()):
            what = "boxes" if self.tiles.detects else "values" if self.tiles.whole else "labels"
            self.said[name] = f"refused: its {what} agree in {_floor(part)}, at least {self.agreement:.1%} are asked for"
            return False
        return True

    def _part_of_labels(self, raw: Tensor) -> float:
        self._check_shape(raw, self.tiles.answer)
        labels = raw if self.tiles.whole else self.decide(raw)
        if self.labels is None:
            self.labels = labels
        alike = torch.isclose(labels, self.labels, WHOLE_TOLERANCE, WHOLE_TOLERANCE) if self.tiles.whole else torch.eq(labels, self.labels)
        return float(alike.float().mean())

    def _part_of_boxes(self, raw: Tensor) -> float:
        self._check_shape(raw, (self.tiles.batch, raw.shape[1] if raw.ndim == 3 else 0, 2 * len(self.tiles.size) + self.tiles.n_out))
        if self.labels is None:
            self.labels = raw
        return boxes_agree(raw, self.labels, self.tiles.n_out) if raw.shape == self.labels.shape else 0.0

    def _check_shape(self, raw: Tensor, expected: tuple[int, ...]) -> None:
        if tuple(raw.shape) != expected:
            raise OptionError("the network gives another shape than stated", expected=f"{expected}", got=tuple(raw.shape))

    def winner(self) -> Backend:
        if self.run is None:
            raise OptionError("the network gives values that are no numbers", do="check its weights and the probe")
        tile = "x".join(map(str, self.tiles.size))
        others = [f"{name} {took:.3g} s" for name, took in self.seconds.items() if name != self.best]
        others += [f"{name} {why}" for name, why in self.said.items()]
        what = f"{self.tiles.batch} tile{'s' if self.tiles.batch > 1 else ''} of {tile} in {self.seconds[self.best]:.3g} s"
        sentence = f"{self.best}: {what} with {self.tiles.threads} threads" + (f" ({'; '.join(others)})" if others else "")
        return Backend(self.best, sentence, self.run, self.tiles, dict(self.seconds))


def _floor(part: float) -> str:
    """Per cent, rounded down: 99.96 % is not 100 %."""
    return f"{math.floor(part * 1000) / 10:.1f} %"
