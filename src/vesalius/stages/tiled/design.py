"""The plan of a run with masks: spacing, numbers, tile, network, length of training; the reason beside every choice.

The rules for spacing, numbers and depth are those of nnU-Net (Isensee et al., Nature Methods 2021) where they do not depend on
the machine; tile, width and number of steps are chosen for the machine and the budget.
"""

from __future__ import annotations

import math

import numpy as np

from vesalius.core.reads import TileReads
from vesalius.errors import OptionError, RunError
from vesalius.mapping import network_of
from vesalius.networks import candidates, describe
from vesalius.networks.cost import cost
from vesalius.plan import Plan
from vesalius.stages.design.machine import Machine, decide_machine
from vesalius.stages.design.probe import Speed, probe
from vesalius.stages.request import Request
from vesalius.stages.tiled.facts import TileFacts
from vesalius.stages.tiled.training import choose_loss, choose_tile_augmentation

DEFAULT_NETWORK = {"cpu": "small-unet", "cuda": "unet"}
ANISOTROPIC = 3.0
MOST_SAMPLES = {("cpu", 2): 192**2, ("cpu", 3): 56**3, ("cuda", 2): 512**2, ("cuda", 3): 128**3}
"""Samples of a tile: on a processor small ones, since many steps teach more than large ones."""
BATCH = {("cpu", 2): 8, ("cpu", 3): 4, ("cuda", 2): 12, ("cuda", 3): 2}
MULTIPLE = 8
BUDGET_S = 1800.0
LOOKS = 20
"""Validation is looked at about so often."""
MOST_STEPS = 50_000
OVERHEAD = 1.5
"""A real step against a probed one: cutting and moving tiles, loss, moving average, validation."""
MEMORY_SHARE = 0.4
OWN_BYTES = 1200 * 2**20
FOREGROUND = 0.5
PEAK = 4e-3
FULL_SIZE: dict[str, object] = {"width": 16, "convs": [1, 2]}
"""The U-Net without blocks that a processor can afford: few channels, one convolution at the finest level."""
LONG_STEPS = 2_000
"""With time for so many steps on blocks of a volume, fewer steps at full size draw better (docs/decisions/0015)."""


def design_tiles(facts: TileFacts, machine: Machine, request: Request, network: str | None = None, share: float = 1.0) -> Plan:
    """Decide everything, for one network and a share of the budget.

    Raises
    ------
    OptionError: a network that gives no masks. RunError: not even one tile fits into the memory.
    """
    plan = _input(facts, machine, request)
    plan = _network(plan, facts, machine, network, len(request.network) > 1 or "all" in request.network)
    plan, speed = _speed(_batch(plan, facts, machine, request), facts, machine, request)
    if network is None and facts.ndim == 3 and "stem_stride" in plan["network.options"] and _steps(request, speed, share) > LONG_STEPS:
        plan, speed = _speed(_batch(_at_full_size(plan), facts, machine, request), facts, machine, request)
    plan = choose_length(plan, facts, request, speed, share)
    plan = _optimiser(plan, request)
    plan = choose_tile_augmentation(choose_loss(plan, facts), facts, _seen(plan, facts))
    return _machine(plan, facts, machine, request)


def mask_rivals(facts: TileFacts, machine: Machine, request: Request) -> list[str]:
    """Networks worth comparing for these data on this machine, for ``--network all``; no transformers on a processor, where they see too few tiles."""
    listed = candidates(facts.ndim, tuple(_input(facts, machine, request)["input.size"]), facts.n_train, dense=True)
    return [name for name in listed if kind_of(machine) != "cpu" or describe(name).family != "transformer"]


def _input(facts: TileFacts, machine: Machine, request: Request) -> Plan:
    """How studies are read, which no network changes."""
    return _tile(choose_numbers(_spacing(_data(Plan(), facts), facts), facts), facts, machine, request)


def tile_reads_of(plan: Plan) -> TileReads:
    """The input specification that a plan's section ``[input]`` describes."""
    names = ("size", "spacing_mm", "schemes", "low", "high", "mean", "std")
    lists = {name: tuple(plan[f"input.{name}"]) for name in names}
    lists["spacing_mm"] = lists["spacing_mm"] or None  # type: ignore[assignment]
    longest = int(plan.get("input.longest", 0))
    return TileReads(channels=int(plan["input.channels"]), overlap=float(plan["input.overlap"]), longest=longest, **lists)  # type: ignore[arg-type]


def _data(plan: Plan, facts: TileFacts) -> Plan:
    target = facts.target
    plan = plan.decide("data.target", target.kind, target.reason or "the images have masks")
    plan = plan.decide("data.classes", list(target.classes), "structures, without the background")
    plan = plan.decide("data.exclusive", target.exclusive, "a sample is of one structure at most" if target.exclusive else "the structures overlap")
    plan = plan.decide("data.images", [facts.n_train, facts.n_validation, facts.n_test], f"training, validation, test; {facts.n_patients} patients in training")
    why = "what most files state" if facts.modality_stated else "the numbers reach down to air in Hounsfield units" if facts.modality else "not stated"
    return plan.decide("data.modality", facts.modality or "unknown", why)


def _spacing(plan: Plan, facts: TileFacts) -> Plan:
    """Median spacing; where one axis is much coarser, its 10th percentile, so that fine series keep their slices."""
    if facts.spacing_mm is None or facts.finest_mm is None:
        return plan.decide("input.spacing_mm", [], "the files state no spacing: samples stay as they are")
    wanted = list(facts.spacing_mm)
    axis = int(np.argmax(wanted))
    others = max(step for a, step in enumerate(wanted) if a != axis)
    if wanted[axis] > ANISOTROPIC * others:
        wanted[axis] = max(facts.finest_mm[axis], others)
        return plan.decide("input.spacing_mm", rounded(wanted), "median spacing; on the coarse axis the 10th percentile: fine series keep their slices")
    return plan.decide("input.spacing_mm", rounded(wanted), "median spacing of the training images (mm)")


def rounded(values: list[float]) -> list[float]:
    """Five digits: more would only make the plan harder to read."""
    return [float(f"{value:.5g}") for value in values]


def choose_numbers(plan: Plan, facts: TileFacts) -> Plan:
    """CT by the numbers under the masks, 8-bit pictures by the full range, everything else each study by itself."""
    n = facts.channels
    plan = plan.decide("input.channels", n, "in colour" if facts.colour else "of every study")
    low, high, mean, std = facts.low, facts.high, facts.mean, facts.std
    scheme, why = "zscore", "numbers without a unit (MR, films): every study by its own mean and deviation"
    if facts.modality == "CT":
        scheme, why = "ct", "CT: clipped to the 0.5 to 99.5 percentile under the masks, standardised by their mean and deviation"
    elif facts.colour:
        top = float(2**facts.bits - 1)
        scheme, why = "full", "colour pictures: mean and deviation of all training pictures, so that hue is kept"
        mean, std = tuple(v / top for v in facts.all_mean), tuple(v / top for v in facts.all_std)
    plan = plan.decide("input.schemes", [scheme] * n, why)
    for name, values in (("low", low), ("high", high), ("mean", mean), ("std", std)):
        plan = plan.decide(f"input.{name}", rounded(list(values)), "of the training images")
    return plan.decide("input.overlap", 0.5, "each sample is seen by several tiles, weighted towards their middle")


def _at_spacing(plan: Plan, facts: TileFacts) -> tuple[int, ...]:
    wanted = plan["input.spacing_mm"]
    if not wanted or facts.spacing_mm is None:
        return facts.shape
    return tuple(max(1, round(n * own / new)) for n, own, new in zip(facts.shape, facts.spacing_mm, wanted, strict=True))


def _tile(plan: Plan, facts: TileFacts, machine: Machine, request: Request) -> Plan:
    """The whole median study where it is small enough; else cut where it is longest in samples."""
    shape = _at_spacing(plan, facts)
    if request.size is not None:
        return plan.decide("input.size", [multiple(min(request.size, n)) for n in shape], "asked for with --size")
    most = MOST_SAMPLES[kind_of(machine), facts.ndim]
    size = list(shape)
    while math.prod(size) > most:
        axis = max(range(len(size)), key=lambda a: size[a])
        size[axis] = max(MULTIPLE, math.floor(size[axis] * 0.95) if size[axis] > 2 * MULTIPLE else MULTIPLE)
        if max(size) <= MULTIPLE:
            break
    whole = tuple(size) == tuple(shape)
    why = "the median study as a whole" if whole else f"the median study is {times(shape)}; as much as a {machine.accelerator} learns from quickly"
    return plan.decide("input.size", [multiple(n, up=whole) for n in size], f"{why}, in multiples of {MULTIPLE}")


def multiple(n: float, up: bool = True) -> int:
    """A side in multiples of `MULTIPLE`; a very short one as it is."""
    return max(MULTIPLE, (math.ceil if up else round)(n / MULTIPLE) * MULTIPLE) if n >= MULTIPLE / 2 else max(1, int(n))


def times(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape))


def kind_of(machine: Machine) -> str:
    """Whether a processor or an accelerator trains."""
    return "cuda" if machine.accelerator != "cpu" else "cpu"


def check_gives_masks(name: str) -> None:
    """Raises
    ------
    OptionError: the network is unknown, or gives no masks.
    """
    if not describe(name).dense:
        raise OptionError(f"'{name}' gives no masks", expected="a network for each sample, e.g. unet, residual-unet or segresnet", got=name,
                          do="choose another --network")


def _network(plan: Plan, facts: TileFacts, machine: Machine, asked: str | None, ranked: bool) -> Plan:
    """The options of the default network are planned, also where it is ranked; another one's are its own."""
    kind = kind_of(machine)
    if asked is not None:
        check_gives_masks(asked)
        if not (ranked and asked == DEFAULT_NETWORK[kind]):
            return plan.decide("network.name", asked, "asked for with --network").decide("network.options", {}, "the defaults of this network")
    options: dict[str, object] = {"deep_supervision": True}
    strides = _strides(plan)
    if kind == "cpu" and len(strides) > 2:
        options |= {"stem_stride": strides[1], "strides": [strides[0], *strides[2:]]}
        why = "blocks of two samples become channels first: no convolution at full size, where a processor's time goes (docs/decisions/0012)"
    else:
        options["strides"], why = strides, "depth by the tile and the spacing (nnU-Net's rule)"
    plan = plan.decide("network.name", DEFAULT_NETWORK[kind], "U-Net, the field's reference for masks")
    return plan.decide("network.options", options, why)


def _at_full_size(plan: Plan) -> Plan:
    plan = plan.decide("network.name", "unet", "time for many steps: a light U-Net at full size draws finer than one on blocks (docs/decisions/0015)")
    options = {"deep_supervision": True, "strides": _strides(plan), **FULL_SIZE}
    return plan.decide("network.options", options, "depth by the tile and the spacing (nnU-Net's rule); few channels, so that a processor can do it")


def _strides(plan: Plan) -> list[list[int]]:
    """Halve an axis while it keeps 4 samples and is not yet coarser (in mm) than twice the finest (nnU-Net's rule)."""
    size, spacing = list(plan["input.size"]), list(plan["input.spacing_mm"]) or [1.0] * len(plan["input.size"])
    strides = [[1] * len(size)]
    while len(strides) < 6:
        fine = [s for s, n in zip(spacing, size, strict=True) if n >= 8] or [min(spacing)]
        step = [2 if n >= 8 and n % 2 == 0 and s < 2 * min(fine) else 1 for n, s in zip(size, spacing, strict=True)]
        if max(step) == 1:
            break
        strides.append(step)
        size, spacing = [n // k for n, k in zip(size, step, strict=True)], [s * k for s, k in zip(spacing, step, strict=True)]
    return strides


def _batch(plan: Plan, facts: TileFacts, machine: Machine, request: Request) -> Plan:
    reads = tile_reads_of(plan)
    wanted, reason = BATCH[kind_of(machine), facts.ndim], "tiles of a step"
    fill = MOST_SAMPLES[kind_of(machine), facts.ndim] / math.prod(reads.size)
    if fill > 2:
        wanted, reason = min(wanted * int(fill), 32), "small tiles: more of them in a step"
    if request.batch is not None:
        wanted, reason = request.batch, "asked for with --batch"
    each = 3 * cost(network_of(plan, reads, facts.target.n_out), (1, *reads.shape)).activation_bytes_per_image
    room = MEMORY_SHARE * (machine.device_ram_bytes or machine.free_ram_bytes)
    most = int(room // max(each, 1))
    if most < 1:
        raise RunError("one tile does not fit into the memory", expected=f"{each / MEMORY_SHARE / 2**30:.1f} GB free",
                       got=f"{room / MEMORY_SHARE / 2**30:.1f} GB", do="choose a smaller --size or --network")
    if most < wanted:
        wanted, reason = most, f"as many as fit into {room / 2**30:.1f} GB of memory"
    world = request.devices * request.nodes
    return plan.decide("train.batch", max(wanted // world, 1) * world, reason)


def _speed(plan: Plan, facts: TileFacts, machine: Machine, request: Request) -> tuple[Plan, Speed]:
    reads = tile_reads_of(plan)
    batch = max(int(plan["train.batch"]) // (request.devices * request.nodes), 1)
    speed = probe(plan["network.name"], plan["network.options"], channels=reads.channels, n_out=facts.target.n_out, size=reads.size, batch=batch,
                  accelerator=machine.accelerator, precision=request.precision)
    plan = plan.decide("train.precision", speed.precision, "asked for with --precision" if request.precision else speed.sentence)
    return plan.decide("train.channels_last", speed.channels_last, speed.sentence), speed


def _seconds(request: Request, share: float) -> float:
    """What one network may take of the budget."""
    return share * (request.budget_s or BUDGET_S) / ((request.folds or 1) * (request.members or 1))


def _steps(request: Request, speed: Speed, share: float) -> int:
    """As many steps as fit into it; none where the epochs were asked for."""
    return 0 if request.epochs is not None else int(_seconds(request, share) / (speed.seconds * OVERHEAD))


def choose_length(plan: Plan, facts: TileFacts, request: Request, speed: Speed, share: float = 1.0) -> Plan:
    """Folds, members, and as many steps as a share of the budget holds."""
    folds, members = request.folds or 1, request.members or 1
    plan = plan.decide("train.folds", request.folds or 0, "asked for with --folds" if request.folds else "one network; see --folds")
    plan = plan.decide("train.members", members, "asked for with --members" if request.members else "one; folds and mirror images are averaged at prediction")
    budget, step_s = _seconds(request, share), speed.seconds * OVERHEAD
    total = max(20, min(_steps(request, speed, share), MOST_STEPS))
    per = max(10, math.ceil(total / LOOKS))
    epochs, reason = max(1, round(total / per)), f"{step_s * 1000:.0f} ms a step: as many as fit into {budget:.0f} s a network"
    why = "the stretch between two looks at validation"
    if request.epochs is not None:
        epochs, reason = request.epochs, "asked for with --epochs"
        per, why = max(10, math.ceil(facts.n_train / int(plan["train.batch"]))), "a tile of every training case, at least 10 steps"
    plan = plan.decide("train.steps_per_epoch", per, why)
    plan = plan.decide("train.epochs", epochs, reason)
    plan = plan.decide("train.predicted_seconds", round(epochs * per * step_s * folds * members), "steps times the measured time of a step")
    plan = plan.decide("train.patience", epochs, "no early stop: the step size falls to its end")
    return plan.decide("train.keep", "last", "the average at the end of the falling step size; a few validation cases would choose by chance")


def _seen(plan: Plan, facts: TileFacts) -> float:
    """How often each part of the training studies is seen."""
    tiles = int(plan["train.epochs"]) * int(plan["train.steps_per_epoch"]) * int(plan["train.batch"])
    return tiles * math.prod(plan["input.size"]) / max(facts.n_train * math.prod(_at_spacing(plan, facts)), 1)


def _optimiser(plan: Plan, request: Request) -> Plan:
    family = describe(plan["network.name"]).family
    peak, why = {"transformer": 4e-4}.get(family, PEAK), f"AdamW, {family}"
    if request.learning_rate is not None:
        peak, why = request.learning_rate, "asked for with --learning-rate"
    total = int(plan["train.epochs"]) * int(plan["train.steps_per_epoch"])
    plan = plan.decide("train.learning_rate", float(f"{peak:.3g}"), why)
    plan = plan.decide("train.warmup_steps", max(1, min(total // 20, 300)), "a twentieth of the steps, at most 300; then half a cosine")
    plan = plan.decide("train.weight_decay", 0.03, "decoupled (AdamW), not for biases and norms")
    plan = plan.decide("train.clip_norm", 5.0, "a rare large gradient must not undo an epoch")
    plan = plan.decide("train.ema", round(1 - 1 / max(10.0, min(1000.0, total / 20)), 5), "moving average of the weights over about a twentieth of the steps")
    plan = plan.decide("train.sampling", "tiles", "see train.foreground")
    return plan.decide("train.foreground", FOREGROUND, "share of the tiles that are centred near a structure, each structure as often as another")


def _machine(plan: Plan, facts: TileFacts, machine: Machine, request: Request) -> Plan:
    plan = decide_machine(plan, machine, request)
    reads = tile_reads_of(plan)
    estimate = cost(network_of(plan, reads, facts.target.n_out), (1, *reads.shape))
    samples = math.prod(_at_spacing(plan, facts)) * (facts.n_train + facts.n_validation)
    disk = samples * (2 * facts.channels + 1) + 32 * estimate.params * max(1, request.folds or 1)
    memory = OWN_BYTES + 24 * estimate.params + 3 * estimate.activation_bytes_per_image * int(plan["train.batch"])
    plan = plan.decide("machine.predicted_memory_mb", round(memory / 2**20), "network, optimiser, activations of a batch")
    return plan.decide("machine.predicted_disk_mb", round(disk / 2**20), "prepared studies, checkpoints, model")
