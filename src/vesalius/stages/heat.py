"""Heat maps of new studies for models that give masks or boxes: what each class, or each of the surest boxes, rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vesalius.core.cohort import Case
from vesalius.core.finding import Finding, Mask
from vesalius.core.study import Study
from vesalius.formats.cases import open_case
from vesalius.mapping import BoxedMapping, TiledMapping
from vesalius.stages.boxed.drawing import View
from vesalius.stages.boxed.explain import maps_of
from vesalius.stages.boxed.predict import boxes_of
from vesalius.stages.explain.pictures import png
from vesalius.stages.tiled.explain import Case as Shown
from vesalius.stages.tiled.explain import explain_mask, of_class
from vesalius.storage import atomic_write

MOST = 3
"""Maps of one study: the largest structures, or the surest boxes."""


def heat_pictures(
    mapping: TiledMapping | BoxedMapping, cases: Sequence[Case], findings: Sequence[Finding], folder: Path, *, method: str = "gradcam",
) -> dict[str, list[str]]:
    """Write up to `MOST` pictures of each finding that has something; their names in ``folder`` by the finding's source.

    Parameters
    ----------
    cases: the studies as they were read. findings: what was found; a map that is 0 everywhere gives no picture.
    method: a name in ``EXPLANATIONS``, or ``drise`` for boxes.

    Raises
    ------
    OptionError: another method, or one that does not fit the network.
    """
    by_name = {name: case for case in cases for name in (case.id, str(case.source))}
    made: dict[str, list[str]] = {}
    for number, finding in enumerate(findings):
        if finding.source not in by_name:
            continue
        study = open_case(by_name[finding.source])
        drawn = _of_boxes(mapping, study, finding, method) if isinstance(mapping, BoxedMapping) else _of_masks(mapping, study, finding, method)
        for i, picture in enumerate(drawn):
            name = f"{number:04d}_{i}.png"
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / name, png(picture))
            made.setdefault(finding.source, []).append(name)
    return made


def _of_boxes(mapping: BoxedMapping, study: Study, finding: Finding, method: str) -> list[np.ndarray]:
    boxes, drawn = boxes_of(finding), []
    for i in sorted(range(len(boxes.array)), key=lambda i: -boxes.scores[i])[:MOST]:
        box, k = [float(v) for v in boxes.array[i]], mapping.output.target.classes.index(boxes.labels[i])
        seen = maps_of(mapping, study, box, k, methods=(method,))
        near = View.about(study, box)
        drawn += [near.heated(seen[method].at(near.places()))] if method in seen else []
    return drawn


def _of_masks(mapping: TiledMapping, study: Study, finding: Finding, method: str) -> list[np.ndarray]:
    target, masks = mapping.output.target, [item.array for item in finding.items if isinstance(item, Mask)]
    if not masks:
        return []
    labels = np.stack(masks)
    sizes = {k: int(of_class(labels, target, k).sum()) for k in range(len(target.classes))}
    drawn = []
    for k in [k for k in sorted(sizes, key=lambda k: -sizes[k]) if sizes[k]][:MOST]:
        heat, held = explain_mask(mapping, study, k, labels, method=method).array, of_class(labels, target, k)
        case = Shown.of(study, held, held, np.ones_like(held), heat)
        drawn += [case.heated(heat, case.largest)] if heat.any() else []
    return drawn
