"""Should this model be used on this study? Asked before it is read; a pure function of the model and the study.

First what the study says of itself (axes, modality, body part, plane, colour, size, spacing, numbers) is held against what the training images said. Then how
far its picture and what the network makes of it lie from theirs, and whether it looks turned, mirrored, inverted, noisy or blurred.
"""

from __future__ import annotations

from collections.abc import Mapping as Facts

import numpy as np

from vesalius.core.study import Study
from vesalius.errors import DataError
from vesalius.mapping import Mapping
from vesalius.seed import generator
from vesalius.stages.fitfor.base import Fitness, Reason
from vesalius.stages.fitfor.features import ALTERATIONS, WORD, View, network_features, view_of
from vesalius.stages.fitfor.header import disagreements, header_of
from vesalius.stages.fitfor.record import FitFor
from vesalius.stages.fitfor.words import reason

FLAT = 1e-9
"""Range of the numbers of an image, as a share of their size, below which nothing is on it."""
CLOSE = 1.3
"""A picture that is refused as unlike also looks altered only if it is nearer when the alteration is taken back, and then within so many times its bound."""
STATED = ("modality", "body_part", "view")
NUMBERS = ("side", "proportions", "spacing_mm", "low", "middle", "high")


def judge(mapping: Mapping, study: Study, features: np.ndarray | None = None, *, network: bool = True) -> Fitness:
    """Whether the model should be used on a study.

    It costs a small view of the image (milliseconds) and one pass of the first network over the study (whole), or over one tile of a volume or four of a
    picture. Nothing is changed or written; the same study gets the same answer. A model that was not read from a folder, or was trained by another program,
    holds no statistics: that is a reason which does not refuse.

    Parameters
    ----------
    mapping: read by `Mapping.load`, which remembers the folder that the statistics lie in.
    study: as `vesalius.formats` opens it.
    features: what the network made of this study (`network_features`), where the caller knows it already; then no pass is made.
    network: when False the network is not asked (frames of a stream): only the file and the picture are judged.

    Raises
    ------
    RunError: the statistics are damaged.
    """
    if _empty(study):
        return Fitness.by([reason("empty")])
    known = FitFor.load(getattr(mapping, "folder", None))
    if known is None:
        return Fitness.by([reason("no-statistics")])
    if study.ndim != known.header["ndim"]:
        return Fitness.by([reason("axes", study.ndim, known.header["ndim"])])
    try:
        view = view_of(study, mapping.reads)
        header = header_of(study, view.colour)
        reasons = disagreements(header, known.header, mapping.reads, study.ndim)
        asked = network and not any(each.refuses for each in reasons)
        measured = measures(known, view, _features(mapping, known, study, features) if asked else None)
    except DataError:
        return Fitness.by([reason("empty")])
    reasons += _unlike(known, measured, view)
    strange = [known.bounds[name].strangeness(value) for name, value in measured.items()]
    return Fitness.by(reasons, max(strange, default=None), watched_of(header, view, measured))


def _empty(study: Study) -> bool:
    image = study.image
    values = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    if not values.size:
        return True
    low, high = float(values.min()), float(values.max())
    return high - low <= FLAT * max(abs(low), abs(high), 1.0)


def _features(mapping: Mapping, known: FitFor, study: Study, given: np.ndarray | None) -> np.ndarray | None:
    """The network's features; a study that it cannot read has none (reading it will say why)."""
    if "network" not in known.gaussians:
        return None
    if given is not None:
        return given
    try:
        return network_features(mapping, study)
    except DataError:
        return None


def measures(known: FitFor, view: View, features: np.ndarray | None) -> dict[str, float]:
    """Every measure of unlikeness by its name: ``picture``, ``network`` and the alterations that the model can tell."""
    made: dict[str, float] = {}
    if "picture" in known.gaussians:
        white = known.gaussians["picture"].white(view.values)
        made["picture"] = float(np.sqrt((white**2).mean()))
        made |= {name: float(white @ direction) for name, direction in known.directions.items()}
    if features is not None and known.project is not None and len(features) == len(known.project):
        made["network"] = float(known.gaussians["network"].distance(features @ known.project))
    return made


def _unlike(known: FitFor, measured: Facts[str, float], view: View) -> list[Reason]:
    """The alteration that is seen, how unlike it is; else whether it is unusual."""
    beyond = {name for name, value in measured.items() if value > known.bounds[name].refuse}
    left = {name: _left(name, known, measured["picture"], view) for name in known.directions if name in beyond}
    seen = min((name for name, distance in left.items() if distance is not None), key=lambda name: left[name] or 0.0, default=None)
    found = [] if seen is None else [reason(WORD.get(seen, seen))]
    for name, code in (("picture", "unlike"), ("network", "unlike-inside")):
        if name in beyond:
            found.append(reason(code, f"{measured[name] / known.bounds[name].refuse:.1f}"))
    unusual = any(name in measured and measured[name] > known.bounds[name].warn for name in ("picture", "network"))
    return found or ([reason("unusual")] if unusual else [])


def _left(name: str, known: FitFor, distance: float, view: View) -> float | None:
    """How far the picture lies when an alteration is taken back, where this shows that the alteration is what is wrong: it is then nearer to the training
    images, and near them (or at most half as far); else None. Of noise and blur, which cannot be taken back, what they shift is taken away."""
    undo, picture, bound = ALTERATIONS[view.array.ndim - 1][name].undo, known.gaussians["picture"], known.bounds["picture"].refuse
    if undo is not None:
        back = float(picture.distance(undo(view, generator(0, name)).values))
        return back if back < distance and back < CLOSE * bound else None
    white, shift = picture.white(view.values), known.shifts[name]
    back = float(np.sqrt(((white - max(0.0, float(white @ shift) / float(shift @ shift)) * shift) ** 2).mean()))
    return back if back < max(CLOSE * bound, distance / 2) else None


def watched_of(header: Facts[str, float | str], view: View, measured: Facts[str, float]) -> dict[str, float | str]:
    """What `stages.monitor` compares: words and numbers of the header, of the picture, and the distances."""
    made: dict[str, float | str] = {name: header[name] for name in (*STATED, *NUMBERS) if name in header}
    stats = view.statistics
    by_name = dict(zip(stats.names, map(float, stats.values), strict=True))
    made |= {"brightness": float(view.array.mean()), "contrast": by_name["contrast.0"], "noise": by_name["noise.0"], "sharpness": by_name["bands.5"],
             "colour": view.colour}
    made |= {f"distance_{name}": measured[name] for name in ("picture", "network") if name in measured}
    return {name: value if isinstance(value, str) else round(value, 6) for name, value in made.items()}
