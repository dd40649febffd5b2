"""From the fingerprint of a data set with boxes to a plan: resolution, tile, network, length of training; the reason beside every choice.

The resolution follows from the objects: small ones must cover enough samples to be seen, more would only cost time.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from vesalius.errors import OptionError, RunError
from vesalius.mapping import network_of
from vesalius.networks import describe
from vesalius.networks.cost import Cost, cost
from vesalius.plan import Plan
from vesalius.stages.boxed.facts import BoxFacts
from vesalius.stages.boxed.training import choose_box_augmentation, choose_optimiser
from vesalius.stages.design.machine import Machine, decide_machine
from vesalius.stages.design.probe import Speed, probe
from vesalius.stages.request import Request
from vesalius.stages.tiled.design import choose_length, choose_numbers, kind_of, rounded, tile_reads_of, times

DEFAULT_NETWORK = "yolo-like"
DETECTORS = (DEFAULT_NETWORK, "retinanet", "faster-rcnn")
"""What ``--network all`` compares: one stage without anchors, one with, two stages."""
ENOUGH = {2: 15.0, 3: 5.0}
"""Samples that the shortest edge of a small object should cover; with blood cells more did not find more (docs/benchmarks.md)."""
CELL = {2: 1.5, 3: 1.2}
"""Cells of the finest map that a small object's edge covers at least; in a volume a finer map costs eight times as much."""
COARSEST, FINEST = 1.0, 0.5
"""A study is made at most twice as large, and never larger than it is without need."""
MOST_SAMPLES = {("cpu", 2): 416**2, ("cpu", 3): 80**3, ("cuda", 2): 1024**2, ("cuda", 3): 160**3}
BATCH = {("cpu", 2): 8, ("cpu", 3): 4, ("cuda", 2): 16, ("cuda", 3): 8}
MULTIPLE = {2: 32, 3: 16}
LEAST_SIDE = 32
"""No network that detects reads less; a volume of few slices lies in the middle of its tile."""
WIDTH = {("cpu", 2): 16, ("cpu", 3): 12, ("cuda", 2): 32, ("cuda", 3): 24}
LEAST_OVERLAP, MOST_OVERLAP = 0.15, 0.5
MEMORY_SHARE = 0.4
OWN_BYTES = 1200 * 2**20
FOREGROUND = 0.7
REST = 2.0
"""What a detector's pyramid and heads cost beside its backbone."""


def design_boxes(facts: BoxFacts, machine: Machine, request: Request, network: str | None = None, share: float = 1.0) -> Plan:
    """Decide everything, for one network and a share of the budget.

    Raises
    ------
    OptionError: a network that does not detect. RunError: not even one tile fits into the memory.
    """
    plan = _input(facts, machine, request)
    plan = _network(plan, facts, machine, network)
    plan = _batch(plan, facts, machine, request)
    plan, speed = _speed(plan, facts, machine, request)
    plan = choose_length(plan, facts.tiles, request, speed, share)
    plan = choose_optimiser(plan, request).decide("train.foreground", FOREGROUND, "share of the tiles of large studies that are about an object")
    plan = choose_box_augmentation(plan, facts)
    return _machine(plan, facts, machine, request)


def box_rivals(facts: BoxFacts, machine: Machine, request: Request) -> list[str]:
    """Networks worth comparing for these data on this machine, for ``--network all``: those that exist in so many axes and read tiles of this size."""
    size = _input(facts, machine, request)["input.size"]
    return [name for name in DETECTORS if facts.tiles.ndim in describe(name).ndims and min(size) >= describe(name).min_size]


def _input(facts: BoxFacts, machine: Machine, request: Request) -> Plan:
    """How studies are read, which no network changes."""
    return _tile(choose_numbers(_resolution(_data(Plan(), facts), facts), facts.tiles), facts, machine, request)


def _data(plan: Plan, facts: BoxFacts) -> Plan:
    tiles, target = facts.tiles, facts.tiles.target
    plan = plan.decide("data.target", target.kind, target.reason or "the images have boxes")
    plan = plan.decide("data.classes", list(target.classes), ", ".join(f"{n} {name}" for name, n in facts.counts.items()) + " in a sample of the training")
    plan = plan.decide("data.risk", target.risk, "a second label of each box" if target.risk else "the boxes have no second label")
    plan = plan.decide("data.images", [tiles.n_train, tiles.n_validation, tiles.n_test], f"training, validation, test; {tiles.n_patients} patients in training")
    why = "what most files state" if tiles.modality_stated else "the numbers reach down to air in Hounsfield units" if tiles.modality else "not stated"
    return plan.decide("data.modality", tiles.modality or "unknown", why)


def _resolution(plan: Plan, facts: BoxFacts) -> Plan:
    """Small objects cover `ENOUGH` samples; a study is not enlarged more than twice, and kept where it is small already."""
    tiles, enough = facts.tiles, ENOUGH[facts.tiles.ndim]
    if tiles.spacing_mm is None:
        factor = float(np.clip(enough / max(facts.small, 1e-6), 0.05, 1 / FINEST))
        factor = min(factor, COARSEST) if facts.small >= enough / 2 else factor
        wanted = round(facts.longest * factor / 32) * 32 if factor != 1 else round(facts.longest)
        plan = plan.decide("input.spacing_mm", [], "the files state no spacing")
        covers = facts.small * wanted / facts.longest
        why = f"the longest side, from {facts.longest:.0f}: a small object's edge of {facts.small:.0f} covers about {covers:.0f} samples"
        return plan.decide("input.longest", max(32, wanted), why)
    wanted_mm = max(facts.small / enough, FINEST * min(tiles.spacing_mm))
    spacing = [max(wanted_mm, FINEST * step) for step in tiles.spacing_mm]
    why = f"mm: the edge of a small object, {facts.small:.1f} mm, covers about {facts.small / wanted_mm:.0f} samples"
    return plan.decide("input.spacing_mm", rounded(spacing), why).decide("input.longest", 0, "the spacing decides")


def prepared_shape(plan: Plan, facts: BoxFacts) -> tuple[int, ...]:
    """Median shape of a prepared study."""
    tiles, spacing = facts.tiles, plan["input.spacing_mm"]
    if spacing and tiles.spacing_mm is not None:
        return tuple(max(1, round(n * own / new)) for n, own, new in zip(tiles.shape, tiles.spacing_mm, spacing, strict=True))
    factor = float(plan["input.longest"]) / max(tiles.shape)
    return tuple(max(1, round(n * factor)) for n in tiles.shape)


def _tile(plan: Plan, facts: BoxFacts, machine: Machine, request: Request) -> Plan:
    """The whole median study where it is small enough; else cut where it is longest; never smaller than a large object needs."""
    shape, ndim = prepared_shape(plan, facts), facts.tiles.ndim
    step = MULTIPLE[ndim]
    size = [request.size] * ndim if request.size is not None else list(shape)
    most = MOST_SAMPLES[kind_of(machine), ndim]
    while math.prod(size) > most and request.size is None:
        axis = max(range(ndim), key=lambda a: size[a])
        size[axis] = max(LEAST_SIDE, size[axis] - max(1, size[axis] // 20))
    whole = request.size is None and tuple(size) == tuple(shape)
    sides = [max(LEAST_SIDE, math.ceil(n / step) * step) for n in (min(n, own) for n, own in zip(size, shape, strict=True))]
    why = "asked for with --size" if request.size else "the median study as a whole" if whole else f"the median study is {times(shape)}"
    plan = plan.decide("input.size", sides, f"{why}, in multiples of {step}")
    large = facts.large * max(shape) / max(max(facts.tiles.shape), 1)
    overlap = float(np.clip(large / min(sides), LEAST_OVERLAP, MOST_OVERLAP))
    return plan.decide("input.overlap", round(overlap, 3), f"a large object ({large:.0f} samples) lies whole in some tile")


def check_gives_boxes(name: str, ndim: int) -> None:
    """Raises
    ------
    OptionError: the network is unknown, gives no boxes, or does not exist for so many axes.
    """
    info = describe(name)
    if not info.detects:
        raise OptionError(f"'{name}' gives no boxes", expected="a network that detects, e.g. yolo-like, faster-rcnn or retinanet", got=name,
                          do="choose another --network")
    if ndim not in info.ndims:
        raise OptionError(f"'{name}' does not exist in {ndim}-D", expected="yolo-like or retinanet", got=name, do="choose another --network")


def _network(plan: Plan, facts: BoxFacts, machine: Machine, asked: str | None) -> Plan:
    check_gives_boxes(asked or DEFAULT_NETWORK, facts.tiles.ndim)
    name = describe(asked or DEFAULT_NETWORK).name  # whatever it was called: by another name it has the same options
    why = "asked for with --network" if asked else "one stage, no anchors: fast on a processor, and as good as two stages where data are few"
    plan = plan.decide("network.name", name, why)
    return plan.decide("network.options", _options(name, plan, facts, machine), "width by the machine, finest map by the smallest objects")


def _options(name: str, plan: Plan, facts: BoxFacts, machine: Machine) -> dict[str, object]:
    ndim = facts.tiles.ndim
    risk: dict[str, object] = {"risk": True} if facts.tiles.target.risk else {}
    if name != DEFAULT_NETWORK:
        return risk
    small = facts.small / min(plan["input.spacing_mm"]) if plan["input.spacing_mm"] else facts.small * plan["input.longest"] / facts.longest
    finest = int(np.clip(2 ** math.floor(math.log2(max(small / CELL[ndim], 1))), 4 if ndim == 2 else 2, 8 if ndim == 2 else 4))
    return {"width": WIDTH[kind_of(machine), ndim], "finest": finest, "levels": 3, **risk}


def _batch(plan: Plan, facts: BoxFacts, machine: Machine, request: Request) -> Plan:
    wanted, reason = (request.batch, "asked for with --batch") if request.batch else (BATCH[kind_of(machine), facts.tiles.ndim], "tiles of a step")
    each = 3 * REST * _cost(plan, facts).activation_bytes_per_image
    room = MEMORY_SHARE * (machine.device_ram_bytes or machine.free_ram_bytes)
    most = int(room // max(each, 1))
    if most < 1:
        raise RunError("one tile does not fit into the memory", expected=f"{each / MEMORY_SHARE / 2**30:.1f} GB free",
                       got=f"{room / MEMORY_SHARE / 2**30:.1f} GB", do="choose a smaller --size or --network")
    if most < wanted:
        wanted, reason = most, f"as many as fit into {room / 2**30:.1f} GB of memory"
    world = request.devices * request.nodes
    return plan.decide("train.batch", max(wanted // world, 1) * world, reason)


def _cost(plan: Plan, facts: BoxFacts) -> Cost:
    """Of the backbone: what follows decides by its numbers and cannot be followed without them."""
    reads = tile_reads_of(plan)
    network = network_of(plan, reads, facts.tiles.target.n_out)
    return cost(getattr(network, "backbone", network), (1, *reads.shape))


def _speed(plan: Plan, facts: BoxFacts, machine: Machine, request: Request) -> tuple[Plan, Speed]:
    reads, target = tile_reads_of(plan), facts.tiles.target
    batch = max(int(plan["train.batch"]) // (request.devices * request.nodes), 1)
    speed = probe(plan["network.name"], plan["network.options"], channels=reads.channels, n_out=target.n_out, size=reads.size, batch=batch,
                  accelerator=machine.accelerator, precision=request.precision, truth=likely_truth(facts, reads.size, batch))
    plan = plan.decide("train.precision", speed.precision, "asked for with --precision" if request.precision else speed.sentence)
    return plan.decide("train.channels_last", speed.channels_last, speed.sentence), speed


def likely_truth(facts: BoxFacts, size: tuple[int, ...], batch: int) -> torch.Tensor:
    """As many random boxes as a study with many has, for measuring a step: ``[B, N, 2 * ndim + 3]``."""
    draw, d, n = torch.Generator().manual_seed(0), len(size), max(1, round(facts.most))
    low = torch.rand(batch, n, d, generator=draw) * 0.8 * torch.tensor(size)
    truth = torch.zeros(batch, n, 2 * d + 3)
    truth[..., :d], truth[..., d : 2 * d] = low, low + 0.1 * torch.tensor(size)
    return truth


def _machine(plan: Plan, facts: BoxFacts, machine: Machine, request: Request) -> Plan:
    plan = decide_machine(plan, machine, request)
    estimate = _cost(plan, facts)
    samples = math.prod(prepared_shape(plan, facts)) * (facts.tiles.n_train + facts.tiles.n_validation)
    disk = 2 * samples * facts.tiles.channels + 32 * REST * estimate.params * max(1, request.folds or 1)
    memory = OWN_BYTES + REST * (24 * estimate.params + 3 * estimate.activation_bytes_per_image * int(plan["train.batch"]))
    plan = plan.decide("machine.predicted_memory_mb", round(memory / 2**20), "network, optimiser, activations of a batch")
    return plan.decide("machine.predicted_disk_mb", round(disk / 2**20), "prepared studies, checkpoints, model")
