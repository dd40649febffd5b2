"""What the user asked of `fit`, checked before anything is done."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from vesalius.errors import OptionError

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
NOT_REMEMBERED = ("jobs", "lang", "devices", "nodes", "accelerator", "repeat")
"""Options that may differ when a run is continued: they do not change what comes out, or only the plan knows them."""
PLANNED = ("budget_s", "network", "size", "epochs", "batch", "learning_rate", "precision", "members", "folds", "sensitivity")
"""Options that a plan decides; they cannot be given beside ``plan``."""


def seconds_of(text: str | float | None, option: str = "--budget") -> float | None:
    """A time such as ``90s``, ``10m`` or ``1.5h`` in seconds.

    >>> seconds_of("10m"), seconds_of("1.5h"), seconds_of(None)
    (600.0, 5400.0, None)
    """
    if text is None or isinstance(text, (int, float)):
        return None if text is None else float(text)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if found is None or float(found[1]) == 0:
        raise OptionError(f"{option} is not a time", expected="a number with s, m or h, e.g. 10m", got=text)
    return float(found[1]) * UNITS_S[found[2]]


@dataclass(frozen=True)
class Request:
    """The options of `fit`; None leaves a choice to the plan.

    Parameters
    ----------
    data: folder, file or ``medmnist:NAME``. table, label, patient, image, target, layout, gaps: see `formats.recognise`.
    seed: of every random choice.
    budget_s: training time on this machine.
    network: names of networks; several, or ``("all",)``, are ranked under equal budget.
    weights: pretrained weights (file, ``hub:NAME`` or a known name).
    size: side length of the network's input. epochs, batch, learning_rate, precision, members: of the training.
    folds: train so many networks (times members), each without one part of the patients of training and validation, who are judged by it: calibration,
        operating point and validation figures rest on all of them. On the test set the networks are averaged.
    repeat: train with so many seeds; the first is the model, the others show how much of its figure is luck (`stages.repeat`). A finished run may be
        given more of them.
    by_image: split by image; the report shows it in red. new_split: do not keep the official split.
    sensitivity: choose the operating point for this sensitivity, else by Youden's index.
    corrections: a ``corrections.csv`` of labels that were looked at again (the page ``doubtful/index.html`` makes one).
    plan: a ``plan.toml`` (or the run folder that holds one) whose decisions are taken instead of measuring this machine and planning
        anew: the same plan, data and seed give the same weights. It decides the options in `PLANNED`, which cannot be given beside it.
    """

    data: str
    table: str | None = None
    label: str | None = None
    patient: str | None = None
    image: str | None = None
    target: str | None = None
    layout: str | None = None
    gaps: str | None = None
    seed: int = 0
    budget_s: float | None = None
    network: tuple[str, ...] = ()
    weights: str | None = None
    size: int | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    members: int | None = None
    folds: int | None = None
    repeat: int = 1
    by_image: bool = False
    new_split: bool = False
    sensitivity: float | None = None
    plan: str | None = None
    corrections: str | None = None
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    jobs: int | None = None
    lang: str = "en"

    def __post_init__(self) -> None:
        for name in ("size", "epochs", "batch", "learning_rate", "members", "devices", "nodes", "jobs", "repeat"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"--{name.replace('_', '-')} must be positive", expected="a number above 0", got=value)
        if self.folds is not None and self.folds < 2:
            raise OptionError("--folds must be at least 2", expected="e.g. 5", got=self.folds)
        if self.sensitivity is not None and not 0 < self.sensitivity < 1:
            raise OptionError("--sensitivity must lie between 0 and 1", expected="e.g. 0.95", got=self.sensitivity)
        if self.lang not in ("en", "zh"):
            raise OptionError("unknown --lang", expected="en or zh", got=self.lang)
        if self.precision not in (None, "32-true", "bf16-mixed", "16-mixed"):
            raise OptionError("unknown --precision", expected="32-true, bf16-mixed or 16-mixed", got=self.precision)
        twice = [name for name in PLANNED if self.plan is not None and getattr(self, name) not in (None, ())]
        if twice:
            option = f"--{twice[0].removesuffix('_s').replace('_', '-')}"
            raise OptionError(f"--plan and {option} were both given", expected="one of them: the plan has decided it", got=getattr(self, twice[0]),
                              do=f"leave out {option}, or --plan")

    def remembered(self) -> dict[str, Any]:
        """What a continued run must agree with, as plain values."""
        facts = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k not in NOT_REMEMBERED}
        files = {name: None if getattr(self, name) is None else _absolute(getattr(self, name)) for name in ("plan", "corrections")}
        return facts | {"data": _absolute(self.data)} | files

    @classmethod
    def names(cls) -> list[str]:
        return [f.name for f in fields(cls)]


def _absolute(data: str) -> str:
    return data if ":" in data and not Path(data).exists() else str(Path(data).resolve())
