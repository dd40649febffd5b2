"""Judging the frames of a stream: as many as cost little beside reading them; between two of them the last judgement holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vesalius.core.study import Study
from vesalius.stages.fitfor.base import Fitness
from vesalius.stages.fitfor.door import UNJUDGED
from vesalius.stages.fitfor.judge import judge

SHARE = 0.1
"""Of the time of the stream that judging may take."""
NAMED = 100
"""Frames that did not fit and are named; all are counted."""


@dataclass
class FrameJudge:
    """Judges frames for one mapping by what their file says and by the picture; the network is not asked a second time.

    Parameters
    ----------
    clock: seconds. judged, unfit: frames so far. held: frames that were not judged and took over a judgement that they do not fit.
    frames: why, by number, for the first `NAMED` of those that were judged not to fit.
    """

    mapping: Any
    clock: Callable[[], float] = time.perf_counter
    judged: int = 0
    unfit: int = 0
    held: int = 0
    seconds: float = 0.0
    frames: dict[int, str] = field(default_factory=dict)
    last: Fitness | None = None
    known: bool = True

    def __post_init__(self) -> None:
        self.began = self.clock()

    def fits(self, number: int, study: Study) -> bool | None:
        """Whether the model should be used on a frame; None where it holds no statistics of its training images.

        The first frame is judged, and every one for which there is time (`SHARE`); the others are as the last one that was.
        """
        if not self.known:
            return None
        if self.last is None or self._affordable():
            self._judge(number, study)
        elif self.last.refused:
            self.held += 1
        return not self.last.refused if self.known and self.last is not None else None

    def _affordable(self) -> bool:
        """Whether one more, as long as those before, stays within the share."""
        return self.seconds * (self.judged + 1) / self.judged <= SHARE * (self.clock() - self.began)

    def _judge(self, number: int, study: Study) -> None:
        start = self.clock()
        self.last = judge(self.mapping, study, network=False)
        self.known = all(reason.code != UNJUDGED for reason in self.last.reasons)
        if not self.known:
            return
        self.seconds += self.clock() - start
        self.judged += 1
        self.unfit += self.last.refused
        if self.last.refused and len(self.frames) < NAMED:
            self.frames[number] = self.last.sentence()

    def facts(self) -> dict[str, Any]:
        """Plain values for ``stream.json``."""
        if not self.known or not self.judged:
            return {"judged": 0, "why": "the model holds no statistics of its training images" if not self.known else "no frame was read"}
        return {"judged": self.judged, "unfit": self.unfit, "unfit_by_neighbour": self.held, "frames": self.frames,
                "ms_a_frame": round(1000 * self.seconds / self.judged, 3)}
