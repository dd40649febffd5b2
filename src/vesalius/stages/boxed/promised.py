"""Which boxes must be looked at so that no more than a stated share of a new patient's is missed (conformal risk control, `stages.trust`).

The operating point stays what it is and decides what is reported; this says beside it how far down the promise reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vesalius.core.boxes import Detected
from vesalius.core.finding import Finding
from vesalius.core.study import Study
from vesalius.mapping.boxed import LEAST_SCORE
from vesalius.outputs.detect import EQUAL, Detect
from vesalius.stages.boxed.findings import Lesion, as_boxes, lesions_of
from vesalius.stages.knowing import Knowing


@dataclass(frozen=True)
class Kept:
    """The boxes of one study that reach the promised score, the likeliest first, and whether each is reported (reaches its operating point)."""

    lesions: tuple[Lesion, ...]
    reported: tuple[bool, ...]

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values: those of `Lesion.to_dict`, and ``reported``."""
        return [lesion.to_dict() | {"reported": reported} for lesion, reported in zip(self.lesions, self.reported, strict=True)]


def detect_promised(mapping: Any, study: Study, knowing: Knowing | None) -> Detected:
    """The boxes of a study as `BoxedMapping.detect` gives them; down to the promised score where that is lower than what it gives unasked."""
    lowest = min(LEAST_SCORE, float(mapping.output.thresholds().min(initial=1.0)))
    asked = knowing is not None and knowing.kept_from is not None and knowing.kept_from < lowest
    found: Detected = mapping.detect(study, knowing.kept_from) if knowing is not None and asked else mapping.detect(study)
    return found


def with_promise(finding: Finding, found: Detected, output: Detect, knowing: Knowing | None) -> tuple[Finding, Kept | None]:
    """The finding with a note on the promise, and the boxes that it speaks of; as it is where the model knows no such score.

    Parameters
    ----------
    finding: of the boxes at or above the operating point. found: all boxes of the study down to the promised score.
    """
    if knowing is None or knowing.kind != "boxes":
        return finding, None
    if knowing.kept_from is None:
        return replace(finding, notes=(*finding.notes, knowing.note_of_boxes(0, 0, 0))), None
    reached = found.kept(knowing.keeps(found.scores)) if len(found) else found
    reported = reached.scores >= output.thresholds()[reached.labels] - EQUAL if len(reached) else np.zeros(0, bool)
    note = knowing.note_of_boxes(len(reached), int((~reported).sum()), len(output.above(found)))
    kept = Kept(lesions_of(as_boxes(reached, output.target.classes, finding.grid)), tuple(map(bool, reported)))
    return replace(finding, notes=(*finding.notes, note)), kept
