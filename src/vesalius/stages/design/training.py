"""How long, how fast, with what augmentation and against which imbalance a network is trained."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vesalius.errors import RunError
from vesalius.mapping import network_of
from vesalius.networks import describe
from vesalius.networks.cost import cost
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.design.facts import Facts
from vesalius.stages.design.inputs import reads_of
from vesalius.stages.design.machine import Machine
from vesalius.stages.design.probe import Speed, probe
from vesalius.stages.request import Request
from vesalius.transforms.augment import Augment
from vesalius.transforms.intensity import Tone
from vesalius.transforms.spatial import Affine

BASE_BUDGET_S, LONGEST_BUDGET_S = 480.0, 3600.0
BATCH_BY_CASES = ((4000, 128), (1000, 64), (200, 32), (0, 16))
PASSES_MOST = 150
"""A network gets no more passes through the data than this."""
PASSES_OF_MEMBER, MEMBERS_MOST = 120, 3
"""One network trained longer beat two trained half as long (docs/decisions/0008); beyond so many passes another member gives more."""
STEPS_LEAST = 30
"""An epoch (the stretch between two looks at validation) has at least so many steps."""
OVERHEAD = 1.12
"""A real step against a probed one: reading, augmentation, moving average, validation."""
MEMORY_SHARE = 0.4
EVEN, WEIGHTED, RARE = 1.5, 10.0, 50.0
"""Largest over smallest class: below EVEN nothing is done, then the loss is weighted, then cases are drawn evenly, then focal too."""


def default_budget_s(facts: Facts) -> float:
    """Eight minutes up to 5,000 training images, an hour from 40,000 on.

    Without a budget of the user's a training should end while they have a coffee.
    """
    return float(np.clip(BASE_BUDGET_S * facts.n_train / 5000, BASE_BUDGET_S, LONGEST_BUDGET_S))


def of_a_fold(facts: Facts, folds: int | None) -> Facts:
    """The facts with as many training images as each network learns from: with folds all but its own part of training and validation."""
    return facts if not folds else replace(facts, n_train=max(1, round((facts.n_train + facts.n_validation) * (folds - 1) / folds)))


def choose_training(plan: Plan, facts: Facts, machine: Machine, request: Request, budget_s: float) -> Plan:
    """Decide the section ``[train]``.

    Parameters
    ----------
    budget_s: for the members together; with folds for those of one fold.

    Raises
    ------
    RunError: not even one image fits into the memory.
    """
    seen = of_a_fold(facts, request.folds)
    plan = _choose_batch(plan, seen, machine, request)
    plan, speed = _choose_speed(plan, facts, machine, request)
    plan = _choose_length(_choose_folds(plan, request), seen, request, budget_s, speed)
    plan = _choose_optimiser(plan, request)
    plan = _choose_balance(plan, facts)
    return _choose_augmentation(plan, facts)


def _choose_batch(plan: Plan, facts: Facts, machine: Machine, request: Request) -> Plan:
    wanted = next(batch for least, batch in BATCH_BY_CASES if facts.n_train >= least)
    reason = f"{facts.n_train:,} training images"
    if request.batch is not None:
        wanted, reason = request.batch, "asked for with --batch"
    reads = reads_of(plan)
    each = 3 * cost(network_of(plan, reads, output_for(facts.target).n_out), (1, *reads.shape)).activation_bytes_per_image
    room = MEMORY_SHARE * (machine.device_ram_bytes or machine.free_ram_bytes)
    most = int(room // max(each, 1))
    if most < 1:
        raise RunError(
            "one image does not fit into the memory", expected=f"{each / MEMORY_SHARE / 2**30:.1f} GB free",
            got=f"{room / MEMORY_SHARE / 2**30:.1f} GB", do="choose a smaller --size or --network",
        )
    if most < wanted:
        wanted, reason = 2 ** int(math.log2(most)), f"the largest that fits into {room / 2**30:.1f} GB of memory"
    world = request.devices * request.nodes
    return plan.decide("train.batch", max(wanted // world, 1) * world, reason)


def _choose_speed(plan: Plan, facts: Facts, machine: Machine, request: Request) -> tuple[Plan, Speed]:
    reads = reads_of(plan)
    batch = max(int(plan["train.batch"]) // (request.devices * request.nodes), 1)
    speed = probe(
        plan["network.name"], plan["network.options"], channels=reads.channels, n_out=output_for(facts.target).n_out, size=reads.size,
        batch=batch, accelerator=machine.accelerator, precision=request.precision,
    )
    plan = plan.decide("train.precision", speed.precision, "asked for with --precision" if request.precision else speed.sentence)
    return plan.decide("train.channels_last", speed.channels_last, speed.sentence), speed


def _choose_folds(plan: Plan, request: Request) -> Plan:
    if not request.folds:
        return plan.decide("train.folds", 0, "one split into training and validation; see --folds")
    why = "asked for with --folds: each network learns without one part of the patients and is judged on it; all are averaged on the test set"
    return plan.decide("train.folds", request.folds, why)


def _choose_members(plan: Plan, request: Request, affordable: float) -> Plan:
    members = request.members or (1 if request.folds else int(np.clip(affordable // PASSES_OF_MEMBER, 1, MEMBERS_MOST)))
    why = f"the budget allows {affordable:.0f} passes; each network needs {PASSES_OF_MEMBER}"
    why = "asked for with --members" if request.members else "one a fold; the folds' networks are averaged" if request.folds else why
    return plan.decide("train.members", members, why)


def _choose_length(plan: Plan, facts: Facts, request: Request, budget_s: float, speed: Speed) -> Plan:
    batch = int(plan["train.batch"])
    passes_steps = math.ceil(facts.n_train / batch)
    per_epoch = max(passes_steps, min(STEPS_LEAST, 8 * passes_steps))
    why = "one pass through the training images" if per_epoch == passes_steps else f"several passes, so that an epoch has {per_epoch} steps"
    plan = plan.decide("train.steps_per_epoch", per_epoch, why)
    step_s = speed.seconds * OVERHEAD
    plan = _choose_members(plan, request, budget_s / (step_s * passes_steps))
    members = int(plan["train.members"])
    fits = int(budget_s / members / (step_s * per_epoch))
    most = math.ceil(PASSES_MOST * passes_steps / per_epoch)
    epochs = max(1, min(fits, most))
    room = f"as many as fit into {budget_s:.0f} s" + (" a fold" if request.folds else "")
    reason = f"{step_s * 1000:.0f} ms a step: " + (room if fits < most else f"{PASSES_MOST} passes are enough")
    if request.epochs is not None:
        epochs, reason = request.epochs, "asked for with --epochs"
    plan = plan.decide("train.epochs", epochs, reason)
    seconds = epochs * per_epoch * step_s * members * max(1, request.folds or 1)
    plan = plan.decide("train.predicted_seconds", round(seconds), "steps times the measured time of a step")
    patience = max(8, math.ceil(epochs / 2))
    return plan.decide("train.patience", patience, "stops when the validation loss has not improved for so many epochs")


def _choose_optimiser(plan: Plan, request: Request) -> Plan:
    family = describe(plan["network.name"]).family
    batch = int(plan["train.batch"])
    peak = {"transformer": 5e-4, "convnext": 1e-3}.get(family, 3e-3) * math.sqrt(batch / 128)
    why = f"AdamW, {family}, scaled with the root of the batch"
    if request.weights:
        peak, why = peak / 4, why + "; a quarter for pretrained weights"
    if request.learning_rate is not None:
        peak, why = request.learning_rate, "asked for with --learning-rate"
    total = int(plan["train.epochs"]) * int(plan["train.steps_per_epoch"])
    plan = plan.decide("train.learning_rate", float(f"{peak:.3g}"), why)
    plan = plan.decide("train.warmup_steps", max(1, min(total // 10, 300)), "a tenth of the steps, at most 300; then half a cosine")
    plan = plan.decide("train.weight_decay", 0.05, "decoupled (AdamW), not for biases and norms")
    plan = plan.decide("train.clip_norm", 5.0, "a rare large gradient must not undo an epoch")
    decay = 1 - 1 / max(10.0, min(1000.0, total / 20))
    return plan.decide("train.ema", round(decay, 5), "moving average of the weights over about a twentieth of the training")


def _choose_balance(plan: Plan, facts: Facts) -> Plan:
    counts = [n for n in facts.class_counts.values() if n]
    ratio = max(counts) / min(counts) if counts else 1.0
    found = f"largest over smallest class {ratio:.1f}"
    multilabel = facts.target.kind == "multilabel"
    plan = plan.decide("train.sampling", "balanced" if ratio > WEIGHTED and not multilabel else "even", found)
    weights = _weights(facts, ratio)
    plan = plan.decide("train.class_weights", weights, f"{found}: " + ("rare classes weigh more in the loss" if weights else "no weights"))
    focal = 1.0 if ratio > RARE else 0.0
    plan = plan.decide("train.focal", focal, f"{found}: " + ("easy cases weigh less (focal loss)" if focal else "plain cross-entropy"))
    return plan.decide("train.label_smoothing", 0.0, "smoothed labels blur the order among sure cases (docs/decisions/0009)")


def _weights(facts: Facts, ratio: float) -> list[float]:
    counts = np.array(list(facts.class_counts.values()), float)
    if facts.target.kind == "multilabel":
        return np.sqrt(np.clip((facts.n_train - counts) / np.maximum(counts, 1), 1, 100)).round(4).tolist()
    if not EVEN < ratio <= WEIGHTED:
        return []
    weights = 1 / np.maximum(counts, 1)
    return (weights * counts.sum() / (weights * counts).sum()).round(4).tolist()


def _choose_augmentation(plan: Plan, facts: Facts) -> Plan:
    """Movements and tones that the same patient could show in the next examination."""
    axes, why = _mirror(facts)
    plan = plan.decide("train.mirror", list(axes), why)
    ct = facts.modality == "CT"
    tone = Tone(0.02, 0.05, 0.0) if ct else Tone(0.05, 0.1, 0.1)
    augment = Augment(Affine(8, 0.1, 0.05, 0.05, axes, 0.9), tone)
    why = "Hounsfield units are kept nearly as they are" if ct else "brightness and contrast a little, since density itself may be the finding"
    reason = f"turns up to 8 degrees, scale 10 %, shifts 5 %; {why} (docs/decisions/0009)"
    return plan.decide("train.augment", augment.to_dict(), reason)


def _mirror(facts: Facts) -> tuple[tuple[int, ...], str]:
    if facts.side_matters:
        return (), "no mirroring: the labels speak of left and right"
    if facts.ndim == 3 and facts.spacing_mm is None and len(set(facts.shape)) == 1:
        return (), "no mirroring: the volumes do not say which way is left"
    return (facts.ndim - 1,), "left and right are mirrored, also at prediction: no label speaks of a side"
