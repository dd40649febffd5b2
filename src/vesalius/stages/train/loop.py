"""The training loop.

Every random choice is a function of the seed and the step; the state at a step is in one checkpoint. A run that
is killed therefore ends with the same weights as one that is not (bit-equal on one CPU with the same threads).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from vesalius.core.reads import Reads
from vesalius.mapping import network_of
from vesalius.networks.weights import LoadReport, load_weights
from vesalius.outputs import Output
from vesalius.seed import stream_seed
from vesalius.stages.train import checkpoint
from vesalius.stages.train.boxfeed import BoxFeed
from vesalius.stages.train.checkpoint import Parts, State
from vesalius.stages.train.feed import Feed
from vesalius.stages.train.job import Job, Trained
from vesalius.stages.train.memory import keep_freed_memory
from vesalius.stages.train.tilefeed import TileFeed
from vesalius.stages.train.watch import Interruption, refuse_divergence, refuse_nan
from vesalius.storage import atomic_json, atomic_write

if TYPE_CHECKING:
    import lightning_fabric as lf
    from torch.utils.tensorboard import SummaryWriter

Progress = Callable[[int, int, str], None]
SAVE_EVERY_S, SAVE_EPOCH_S = 60.0, 10.0
"""A checkpoint is written when the last one is so old, at the end of an epoch when it is this old, and at the end."""
LOOK_EVERY = 20
"""On an accelerator the loss is looked at every so many steps, since each look waits for the device."""
VALIDATION_BATCH = 128
FUSED = ("cpu", "cuda")
"""Devices on which torch updates all weights in one kernel."""
FEEDS: dict[str, type[Feed] | type[TileFeed] | type[BoxFeed]] = {"whole": Feed, "tiles": TileFeed, "boxes": BoxFeed}
"""By `Output.reading`."""


@dataclass
class Loop:
    """Everything that one process of a training holds."""

    job: Job
    fabric: lf.Fabric
    output: Output
    parts: Parts
    forward: nn.Module
    optimizer: Any
    follow: Callable[[float], None]
    feed: Feed | TileFeed | BoxFeed
    state: State
    progress: Progress
    saved_at: float = field(default_factory=time.monotonic)
    unseen: list[torch.Tensor] = field(default_factory=list)


def train(job: Job, fabric: lf.Fabric, progress: Progress) -> Trained:
    """Train the job's network, from its checkpoint when there is one; call it inside ``fabric.launch``.

    Raises
    ------
    TrainingError: the loss is not a number or diverges.
    RunError: the checkpoint is of another plan, or cannot be written.
    """
    from torch.utils.tensorboard import SummaryWriter  # here, so that verbs that train nothing start sooner

    loop = _set_up(job, fabric, progress)
    writer = SummaryWriter(str(job.log), purge_step=loop.state.step) if fabric.is_global_zero else None
    with Interruption() as interruption:
        while loop.state.step < job.total_steps and not loop.state.why_stopped:
            _step(loop)
            if loop.state.step % job.steps_per_epoch == 0:
                _finish_epoch(loop, writer)
            if fabric.is_global_zero and (interruption.asked or time.monotonic() - loop.saved_at > SAVE_EVERY_S):
                _save(loop)
            if interruption.asked:
                raise KeyboardInterrupt
    if writer is not None:
        writer.close()
    best = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in loop.parts.best.items()}
    return trained(best, loop.state)


def _set_up(job: Job, fabric: lf.Fabric, progress: Progress) -> Loop:
    torch.manual_seed(stream_seed(job.seed, "weights"))
    keep_freed_memory()
    output = job.task()
    feed = FEEDS[output.reading](job, fabric.device, fabric.global_rank, fabric.world_size)
    network = network_of(job.plan, job.reads, output.n_out)
    if job.weights:
        _tell(load_weights(network, job.weights, channels=job.reads.channels), job, fabric, progress)
    if job.plan["train.channels_last"]:
        network = network.to(memory_format=torch.channels_last if job.reads.ndim == 2 else torch.channels_last_3d)  # type: ignore[call-overload]
    average = copy.deepcopy(network).to(fabric.device).requires_grad_(False)
    plain = torch.optim.AdamW(_groups(network, job), lr=0.0, fused=fabric.device.type in FUSED)
    forward, optimizer = fabric.setup(network, plain)
    parts = Parts(network, average, {k: v.clone() for k, v in average.state_dict().items()}, plain)
    state = checkpoint.restore(job.folder, parts, job.mark)
    return Loop(job, fabric, output, parts, forward, optimizer, follower(average, network), feed, state, progress)


def _tell(report: LoadReport, job: Job, fabric: lf.Fabric, progress: Progress) -> None:
    """What was and was not loaded: to the user at once, and to ``weights.json`` for the report."""
    if fabric.is_global_zero:
        job.log.mkdir(parents=True, exist_ok=True)
        atomic_json(job.log / "weights.json", asdict(report) | {"en": report.en, "zh": report.zh})
        progress(0, job.total_steps, report.en)


def _groups(network: nn.Module, job: Job) -> list[dict[str, Any]]:
    """Weight decay for matrices and filters, none for biases and norms."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": float(job.plan["train.weight_decay"])}, {"params": plain, "weight_decay": 0.0}]


def learning_rate(job: Job, step: int) -> float:
    """Linear warm-up, then half a cosine down to 1 % (Loshchilov & Hutter 2017)."""
    peak, warm = float(job.plan["train.learning_rate"]), int(job.plan["train.warmup_steps"])
    if step < warm:
        return peak * (step + 1) / warm
    share = (step - warm) / max(job.total_steps - warm, 1)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _step(loop: Loop) -> None:
    start, job, state = time.perf_counter(), loop.job, loop.state
    torch.manual_seed(stream_seed(job.seed, "step", state.step))
    for group in loop.optimizer.param_groups:
        group["lr"] = learning_rate(job, state.step)
    loop.forward.train()
    loss = loop.output.loss(loop.forward, loop.feed.batch(state.step)).mean()
    loop.fabric.backward(loss)
    loop.fabric.clip_gradients(loop.forward, loop.optimizer, max_norm=float(job.plan["train.clip_norm"]), error_if_nonfinite=False)
    lay_gradients_as_weights(loop.parts.network)
    loop.optimizer.step()
    loop.optimizer.zero_grad(set_to_none=True)
    loop.follow(_decay(loop))
    state.step += 1
    loop.unseen.append(loss.detach())
    if loop.fabric.device.type == "cpu" or state.step % min(LOOK_EVERY, job.steps_per_epoch) == 0:
        _look(loop)
    state.seconds += time.perf_counter() - start


def lay_gradients_as_weights(network: nn.Module) -> None:
    """Give every gradient the memory layout of its weight: torch's fused CPU update reads both in storage order.

    Where the layouts differ it would silently mix up the entries (seen with torch 2.15).
    """
    for weight in network.parameters():
        if weight.grad is not None and weight.grad.stride() != weight.stride():
            weight.grad = torch.empty_like(weight).copy_(weight.grad)


def _look(loop: Loop) -> None:
    for loss in torch.stack(loop.unseen).tolist():
        refuse_nan(loss, loop.state.step)
        loop.state.running = [loop.state.running[0] + loss, loop.state.running[1] + 1]
    loop.unseen.clear()
    mean = loop.state.running[0] / loop.state.running[1]
    epoch = loop.state.step // loop.job.steps_per_epoch + 1
    loop.progress(loop.state.step, loop.job.total_steps, f"epoch {min(epoch, loop.job.plan['train.epochs'])}, loss {mean:.3f}")


def _decay(loop: Loop) -> float:
    """The moving average's memory, shorter at the start."""
    return min(float(loop.job.plan["train.ema"]), (1 + loop.state.step) / (10 + loop.state.step))


def follower(average: nn.Module, network: nn.Module) -> Callable[[float], None]:
    """One step of the moving average of weights and statistics (Polyak & Juditsky 1992), as a function of its decay."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    mine, theirs = (list(part) for part in zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True))
    counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def follow(decay: float) -> None:
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for counter, other in counters:
            counter.copy_(other)

    return follow


def _finish_epoch(loop: Loop, writer: SummaryWriter | None) -> None:
    state, start = loop.state, time.perf_counter()
    if loop.unseen:
        _look(loop)
    if loop.fabric.is_global_zero:
        _record(loop, validate(loop), writer)
    refuse_divergence(state.history)
    state.why_stopped = loop.fabric.broadcast(_why_stop(loop))
    state.running = [0.0, 0.0]
    state.seconds += time.perf_counter() - start
    ended = bool(state.why_stopped) or state.step >= loop.job.total_steps
    if loop.fabric.is_global_zero and (ended or time.monotonic() - loop.saved_at > SAVE_EPOCH_S):
        _save(loop)


def _record(loop: Loop, figure: dict[str, float], writer: SummaryWriter | None) -> None:
    state = loop.state
    epoch = state.step // loop.job.steps_per_epoch
    row = {
        "epoch": epoch, "step": state.step, "seconds": round(state.seconds, 2), "learning_rate": learning_rate(loop.job, state.step - 1),
        "train_loss": state.running[0] / max(state.running[1], 1), "validation_loss": figure["loss"], "validation_score": figure["score"],
    }
    refuse_nan(figure["loss"], state.step)
    state.history.append(row)
    if figure["loss"] < state.best_loss or loop.job.plan.get("train.keep", "best") == "last":
        state.best_loss, state.best_score, state.best_epoch = figure["loss"], figure["score"], epoch
        loop.parts.best.update({k: v.clone() for k, v in loop.parts.average.state_dict().items()})
    for name in ("train_loss", "validation_loss", "validation_score", "learning_rate"):
        if writer is not None:
            writer.add_scalar(name, row[name], state.step)


def validate(loop: Loop) -> dict[str, float]:
    """Loss and score of the moving average on validation."""
    loop.parts.average.eval()
    with torch.inference_mode(), loop.fabric.autocast():
        return loop.output.judge(_judged(loop))


def _judged(loop: Loop) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in loop.feed.validation(VALIDATION_BATCH if isinstance(loop.job.reads, Reads) else int(loop.job.plan["train.batch"])):
        yield loop.output.predict(loop.parts.average, batch.x).float().cpu().numpy(), batch.truth.cpu().numpy()


def _why_stop(loop: Loop) -> str:
    state = loop.state
    since = len(state.history) - state.best_epoch
    if state.history and since >= int(loop.job.plan["train.patience"]):
        return f"the validation loss has not improved for {since} epochs"
    return ""


def _save(loop: Loop) -> None:
    checkpoint.save(loop.job.folder, loop.parts, loop.state)
    if loop.state.history:
        loop.job.log.mkdir(parents=True, exist_ok=True)
        atomic_write(loop.job.log / "history.csv", pd.DataFrame(loop.state.history).to_csv(index=False).encode())
    loop.saved_at = time.monotonic()


def trained(best: dict[str, torch.Tensor], state: State) -> Trained:
    """What a finished state and its best weights amount to."""
    why = state.why_stopped or "all planned epochs were done"
    return Trained(best, state.best_loss, state.best_score, state.best_epoch, len(state.history), state.seconds, why)
