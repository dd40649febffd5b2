"""What a worker does with its share of an archive: the same calls as `predict` makes, their answers kept study by study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesalius.core.cohort import Case, Source
from vesalius.errors import DataError, OptionError
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping, single_thread
from vesalius.stages.boxed.predict import find_one
from vesalius.stages.fitfor import Door
from vesalius.stages.kept import Kept, Told
from vesalius.stages.knowing import Knowing
from vesalius.stages.predict import case_of, read_as, read_whole
from vesalius.stages.tiled.predict import cases_of, mark_one
from vesalius.stages.tiled.quicken import within_memory

Share = Sequence[tuple[int, Case]]
RECORDS = ".kept"


@dataclass(frozen=True)
class Asked:
    """The options of a prediction that an answer depends on."""

    write: tuple[str, ...] = ()
    force: bool = False


def cases_in(mapping: Mapping, sources: Sequence[Source]) -> list[Case]:
    """The studies in the order in which `predict` numbers them."""
    if isinstance(mapping, (BoxedMapping, TiledMapping)):
        return cases_of(read_as(mapping, sources), mapping.reads.channels)
    return [case_of(source) for source in sources]


def kept_for(mapping: Mapping, out: Path, asked: Asked) -> Kept:
    """The records of a prediction, within its folder."""
    return Kept.of(out / RECORDS, out, mapping, write=asked.write, force=asked.force)


class Reader:
    """A model, loaded once, and what it has said. n: studies of the whole archive; see `tiled.predict.mark_one`."""

    def __init__(self, run: str, out: str, asked: Asked, n: int, device: str = "cpu") -> None:
        self.mapping, self.out, self.asked, self.n = Mapping.load(run, device), Path(out), asked, n
        self.kept = kept_for(self.mapping, self.out, asked)
        self.knowing = Knowing.load(run)
        self.engine: str | None = None
        if isinstance(self.mapping, TiledMapping):
            within_memory(self.mapping)

    def read(self, share: Share) -> int:
        """Read some studies; how many. One that cannot be read is kept with the reason, and the others go on.

        Raises
        ------
        RunError: the folder cannot be written, or a file does not say what was found when it is read back.
        """
        for place, case in share:
            told = self._one(case, self.out / f"{place:04d}")
            if told is not None:
                self.kept.put(case, told)
        return len(share)

    def _one(self, case: Case, folder: Path) -> Told | None:
        """What is to be kept; None where the study's own folder keeps it."""
        door = Door(self.mapping, self.asked.force)
        if isinstance(self.mapping, BoxedMapping):
            try:
                find_one(door, case, folder, self.asked.write, self.knowing)
            except (DataError, OptionError) as error:
                return Told(refused=str(error), fitness=door.log.get(case.id))
            return None
        if isinstance(self.mapping, TiledMapping):
            told = mark_one(door, case, folder, self.asked.write, n=self.n, engine=self.engine)
            self.engine = told.engine
            return told
        with single_thread():
            return read_whole(door, case.source)
