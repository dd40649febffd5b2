"""The plan, section by section."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from vesalius.errors import OptionError
from vesalius.mapping import network_of
from vesalius.networks import describe
from vesalius.networks.cost import cost
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.design.facts import Facts
from vesalius.stages.design.inputs import choose_input, reads_of
from vesalius.stages.design.machine import Machine, decide_machine
from vesalius.stages.design.probe import probe
from vesalius.stages.design.training import choose_training, default_budget_s, of_a_fold
from vesalius.stages.prepare import cache_bytes
from vesalius.stages.request import Request

DEFAULT_NETWORK = "small-resnet"
PROBE_BATCH = 16
STATISTICS_IMAGES = 2000
LEAST_PASSES = 15
"""A network that sees each training image less often learns less than a lighter one that sees it so often."""
OWN_BYTES = 900 * 2**20
"""What Python with torch holds before any data."""

__all__ = ["DEFAULT_NETWORK", "complete", "design", "reads_of"]


def design(facts: Facts, machine: Machine, request: Request, *, network: str | None = None, share: float = 1.0) -> Plan:
    """Decide everything but the mean and deviation of the input (see `complete`).

    Parameters
    ----------
    network: the network to plan for; None takes the request's first, else the default.
    share: part of the budget that this network may use, when several are ranked. With folds each fold's network has an equal part of that.

    Raises
    ------
    OptionError: an unknown network, or a size that it cannot read.
    """
    budget_s = share * (request.budget_s or default_budget_s(facts)) / (request.folds or 1)
    seen = of_a_fold(facts, request.folds)
    plan = _data(Plan(), facts)
    for name, options, why in _rungs(network or next(iter(request.network), None)):
        tried = plan.decide("network.name", name, why).decide("network.options", options, "the defaults of this network" if not options else why)
        seconds = _seconds_per_image(name, options, facts, machine)
        tried = choose_input(tried, seen, request, budget_s, seconds)
        if budget_s / (seen.n_train * seconds(tuple(tried["input.size"]))) >= LEAST_PASSES:
            break
    tried = choose_training(tried, facts, machine, request, budget_s)
    return _machine(_output(tried, facts, request), facts, machine, request)


def _rungs(asked: str | None) -> list[tuple[str, dict[str, object], str]]:
    """The network asked for; else the default, then lighter ones for a budget in which it would not learn."""
    if asked is not None:
        if describe(asked).dense:
            raise OptionError(f"'{asked}' gives masks", expected="a network for whole images", got=asked, do="see 'vesalius networks'")
        return [(asked, {}, "asked for with --network")]
    short = f"in this budget a larger network would see each image fewer than {LEAST_PASSES} times"
    usual = "small and quick on an ordinary machine; best use of a short budget"
    return [(DEFAULT_NETWORK, {}, usual), (DEFAULT_NETWORK, {"width": 16}, short), ("small-cnn", {}, short)]


def _seconds_per_image(name: str, options: dict[str, object], facts: Facts, machine: Machine) -> Callable[[tuple[int, ...]], float]:
    """Measured training time of an image of a size, in float32."""
    channels, n_out = 3 if facts.colour else 1, output_for(facts.target).n_out

    @functools.cache
    def seconds(size: tuple[int, ...]) -> float:
        speed = probe(name, options, channels=channels, n_out=n_out, size=size, batch=PROBE_BATCH, accelerator=machine.accelerator, precision="32-true")
        return speed.seconds / PROBE_BATCH

    return seconds


def _data(plan: Plan, facts: Facts) -> Plan:
    target = facts.target
    plan = plan.decide("data.target", target.kind, target.reason or "recognised from the labels")
    plan = plan.decide("data.classes", list(target.classes), "in the order of their numbers")
    counted = f"{facts.n_patients} patients in training"
    plan = plan.decide("data.images", [facts.n_train, facts.n_validation, facts.n_test], f"training, validation, test; {counted}")
    return plan.decide("data.modality", facts.modality or "unknown", "what most files state" if facts.modality else "the files do not state it")


def _output(plan: Plan, facts: Facts, request: Request) -> Plan:
    calibrated = facts.target.kind != "regression"
    plan = plan.decide("output.calibration", "auto" if calibrated else "none", "fitted on validation" if calibrated else "a regression has no probabilities")
    if facts.target.kind == "binary":
        rule = f"sensitivity {request.sensitivity}" if request.sensitivity else "youden"
        why = "asked for with --sensitivity; chosen on validation" if request.sensitivity else "Youden's index on validation; see --sensitivity"
        plan = plan.decide("output.operating_point", rule, why)
    return plan


def _machine(plan: Plan, facts: Facts, machine: Machine, request: Request) -> Plan:
    plan = decide_machine(plan, machine, request)
    reads = reads_of(plan)
    disk = cache_bytes(reads, facts.n_train + facts.n_validation + facts.n_test)
    estimate = cost(network_of(plan, reads, output_for(facts.target).n_out), (1, *reads.shape))
    weights = estimate.params * 4
    memory = OWN_BYTES + 6 * weights + 3 * estimate.activation_bytes_per_image * int(plan["train.batch"]) + min(disk, machine.ram_bytes // 4)
    networks = int(plan["train.members"]) * max(1, int(plan["train.folds"]))
    plan = plan.decide("machine.predicted_memory_mb", round((memory + (networks - 1) * weights) / 2**20),
                       "network, optimiser, activations of a batch, prepared images")
    return plan.decide("machine.predicted_disk_mb", round((disk + 8 * weights * networks) / 2**20), "prepared images, checkpoints, model")


def complete(plan: Plan, images: np.ndarray, train_rows: np.ndarray) -> Plan:
    """Add mean and deviation of the prepared training images, per channel."""
    chosen = train_rows[np.unique(np.linspace(0, len(train_rows) - 1, STATISTICS_IMAGES).astype(int))]
    levels = float(plan["input.levels"])
    sample = images[chosen].astype(np.float32) / levels
    axes = (0, *range(2, sample.ndim))
    reason = f"of {len(chosen)} prepared training images"
    plan = plan.decide("input.mean", [round(float(v), 6) for v in sample.mean(axes)], reason)
    return plan.decide("input.std", [round(max(float(v), 1e-3), 6) for v in sample.std(axes)], reason)

