"""What differs between two runs: images and labels, versions and machine, weights, figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from vesalius.core.target import missing, text_of
from vesalius.mapping import read_weights

PARTS = ("test", "cross_validation", "validation")
NAMED = 20
"""So many files are named of each kind of change."""
Kind = Literal["gone", "new", "content", "label", "patient", "split"]
GRAVE: tuple[Kind, ...] = ("label", "content", "gone", "new", "patient", "split")
State = Literal["equal", "inside", "outside", "unbounded", "absent"]


@dataclass(frozen=True)
class Change:
    """One image that is not as it was. ``before`` and ``now`` are its label, hash, patient or part; "" where there is none."""

    kind: Kind
    id: str
    before: str
    now: str


@dataclass(frozen=True)
class Version:
    """A package, Python, the system or the machine, where it is another one."""

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Weights:
    """Whether every weight has the same bits; ``largest`` is the largest absolute difference (None: the tensors themselves are others)."""

    same: bool
    largest: float | None
    n: int


@dataclass(frozen=True)
class Compared:
    """A figure in both runs. ``inside``: the new value lies in the interval that the old one had; ``unbounded``: it had none."""

    part: str
    name: str
    before: float | None
    now: float | None
    low: float | None
    high: float | None

    @property
    def state(self) -> State:
        if self.before is None or self.now is None:
            return "absent"
        if self.before == self.now:
            return "equal"
        if self.low is None or self.high is None:
            return "unbounded"
        return "inside" if self.low <= self.now <= self.high else "outside"

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "state": self.state}


def changes(before: pd.DataFrame, now: pd.DataFrame) -> list[Change]:
    """What is not as it was, an entry an image, the gravest kind first.

    An image that went to another folder (another id, the same content) is told as one whose label changed where the label did.
    """
    old, new = ({str(row["id"]): row for row in frame.to_dict("records")} for frame in (before, now))
    gone, fresh = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    moved = {name: at for name in gone if (at := _moved(old[name], [new[other] | {"id": other} for other in fresh])) is not None}
    found = [Change("label", name, _said(old[name]["label"]), _said(new[at]["label"])) for name, at in moved.items()]
    found += [Change("gone", name, _said(old[name]["label"]), "") for name in gone if name not in moved]
    found += [Change("new", name, "", _said(new[name]["label"])) for name in fresh if name not in moved.values()]
    return sorted([*found, *_altered(old, new)], key=lambda change: (GRAVE.index(change.kind), change.id))


def _moved(row: dict[Any, Any], others: list[dict[Any, Any]]) -> str | None:
    """The one new image of the same content that has another label."""
    alike = [each for each in others if each["hash"] == row["hash"]]
    return str(alike[0]["id"]) if len(alike) == 1 and _said(alike[0]["label"]) != _said(row["label"]) else None


def _altered(old: dict[str, dict[Any, Any]], new: dict[str, dict[Any, Any]]) -> Iterator[Change]:
    """Images in both; the gravest change of each."""
    kinds: tuple[tuple[Kind, str], ...] = (("content", "hash"), ("label", "label"), ("patient", "patient"), ("split", "split"))
    for name in old.keys() & new.keys():
        for kind, column in kinds:
            was, is_ = _said(old[name][column]), _said(new[name][column])
            if was != is_:
                yield Change(kind, name, was, is_)
                break


def _said(value: Any) -> str:
    return "" if missing(value) else text_of(value)


def versions(before: dict[str, Any], now: dict[str, Any]) -> list[Version]:
    """Packages, Python, system and machine that are others."""
    old, new = ({**each.get("versions", {}), **{k: each[k] for k in ("python", "system", "machine") if each.get(k)}} for each in (before, now))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return [Version(name, str(old.get(name, "–")), str(new.get(name, "–"))) for name in names]


def weights(before: Path, now: Path) -> Weights:
    """The weights of two run folders, bit by bit.

    Raises
    ------
    RunError: one of them has none, or they are damaged.
    """
    old, new = (read_weights(run / "model" / "weights.safetensors")[0] for run in (before, now))
    n = sum(tensor.numel() for tensor in old.values())
    if old.keys() != new.keys() or any(old[name].shape != new[name].shape for name in old):
        return Weights(False, None, n)
    if all(torch.equal(old[name], new[name]) for name in old):
        return Weights(True, 0.0, n)
    return Weights(False, max(float((old[name].double() - new[name].double()).abs().max()) for name in old if old[name].numel()), n)


def figures(before: dict[str, Any], now: dict[str, Any]) -> list[Compared]:
    """Every figure of both ``metrics.json``, part by part; the interval is that of the first run."""
    found = []
    for part in PARTS:
        old, new = before.get(part) or {}, now.get(part) or {}
        said = "cross_validation" if part == "validation" and before.get("cross_validated") else part
        for name in dict.fromkeys([*old, *new]):
            was, is_ = old.get(name) or {}, new.get(name) or {}
            if was.get("value") is not None or is_.get("value") is not None:
                found.append(Compared(said, name, was.get("value"), is_.get("value"), was.get("low"), was.get("high")))
    return found
