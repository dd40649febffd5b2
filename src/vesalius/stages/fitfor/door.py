"""At the door of `predict`: every study is judged before it is read, refused or let in with what to be careful about, and remembered for `monitor`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.finding import Finding, Text
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, VesaliusError
from vesalius.stages.fitfor.base import Fitness, Reason
from vesalius.stages.fitfor.judge import judge
from vesalius.stages.fitfor.outputs import outputs_of
from vesalius.stages.fitfor.words import reason
from vesalius.storage import atomic_json, atomic_write

UNJUDGED = "no-statistics"


class UnfitError(DataError):
    """The model should not be used on this study; ``fitness`` says why."""

    def __init__(self, fitness: Fitness) -> None:
        super().__init__(fitness.sentence(), do="read it all the same with --force")
        self.fitness = fitness

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.fitness,))


@dataclass
class Door:
    """Judges studies for one mapping.

    Parameters
    ----------
    force: what is refused is read all the same, and this is recorded. log: what is kept of each study, by its source: see `Fitness.to_dict`.
    """

    mapping: Any
    force: bool = False
    log: dict[str, dict[str, Any]] = field(default_factory=dict)

    def asks(self, name: str, study: Study) -> Fitness:
        """Judge a study and remember it.

        Raises
        ------
        UnfitError: it is refused, and nobody forces it.
        """
        fitness = judge(self.mapping, study)
        self.log[name] = fitness.to_dict(forced=self.force)
        if fitness.refused and not self.force:
            raise UnfitError(fitness)
        return fitness

    def told(self, name: str, finding: Finding, fitness: Fitness, target: TargetSpec) -> Finding:
        """The finding with what to be careful about as notes; its numbers are remembered too."""
        self.log[name]["statistics"] |= {key: round(value, 6) for key, value in outputs_of(finding, target).items()}
        return replace(finding, notes=(*finding.notes, *_notes(fitness)))

    @property
    def unjudged(self) -> Reason | None:
        """The one message where the model holds no statistics."""
        codes = {each["code"] for entry in self.log.values() for each in entry["reasons"]}
        return reason(UNJUDGED) if UNJUDGED in codes else None

    def nothing(self, refused: dict[str, str], out: Path, model: str) -> VesaliusError:
        """The error where no study was read. Where the model refused them all, the record of that is written first."""
        told = next(iter(refused.values()), "nothing")
        if not any(entry["refused"] for entry in self.log.values()):
            return DataError("no study could be read", got=told, do="run 'vesalius check' on the data")
        rows = [{"source": name, "refused_because": why} for name, why in refused.items()]
        atomic_write(out / "findings.csv", pd.DataFrame(rows).to_csv(index=False).encode("utf-8-sig"))
        facts = {"schema": 1, "model": model, "note": "Research use: a doctor decides.", "findings": [], "refused": refused, "fitness": self.log}
        atomic_json(out / "findings.json", facts)
        first = next(entry for entry in self.log.values() if entry["refused"])
        why = " ".join(each["en"] for each in first["reasons"] if each["refuses"])
        chinese = "".join(each["zh"] for each in first["reasons"] if each["refuses"])
        return DataError("this model should not be used on what was given", where=next(iter(refused)), got=f"{why} {chinese}",
                         do="give images of the kind that it was trained on, or read it all the same with --force")


def _notes(fitness: Fitness) -> list[Text]:
    forced = [Text("forced", f"Read although it is refused: {fitness.sentence()}")] if fitness.refused else []
    return forced + [Text(each.code, each.en) for each in fitness.reasons if not each.refuses and each.code != UNJUDGED]
