"""What a foreign model is in our terms, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.mapping import TiledMapping
from vesalius.outputs.segment import Segment
from vesalius.plan import Plan

MODEL = "model"


@dataclass(frozen=True)
class Imported:
    """A foreign model.

    ``region_order`` are the numbers that overlapping structures write into a label map, in the order of ``target.classes``,
    the later over the earlier; empty for structures that exclude one another.
    """

    reads: TileReads
    networks: tuple[nn.Module, ...]
    target: TargetSpec
    plan: Plan
    mirror: tuple[int, ...] = ()
    region_order: tuple[int, ...] = ()

    def mapping(self) -> TiledMapping:
        """The mapping that answers as the foreign model does."""
        facts = {"region_order": list(self.region_order)} if self.region_order else {}
        return TiledMapping(self.reads, list(self.networks), Segment(self.target, facts=facts), self.plan, self.mirror)  # type: ignore[arg-type]


def saved(imported: Imported, out: Path, card: str) -> Path:
    """Write the model folder ``out/model``; returns ``out``."""
    imported.mapping().save(out / MODEL, card)
    return out
