"""What is remembered of the training images, so that another image can be told from them.

The Gaussians are made of training images; every bound is set by images that were not trained on (validation), and so is what `stages.monitor` compares with.
An alteration is watched for only where it can be told: in a data set without an upper side (cells, skin) a turned image is as good as another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from vesalius.core.study import Study
from vesalius.kernels.distance import Gaussian, direction_between, projection, rarely_beyond
from vesalius.mapping import Mapping
from vesalius.seed import generator
from vesalius.stages.fitfor.features import ALTERATIONS, TURNS, View, any_way_up, network_features, view_of
from vesalius.stages.fitfor.header import header_of, summary_of
from vesalius.stages.fitfor.judge import measures, watched_of
from vesalius.stages.fitfor.record import Bounds, FitFor

MOST = 1000
"""Training images, and images that were held out, that are looked at."""
FEWEST = 8
"""Images of each kind from which a distance can be judged."""
WIDEST = 128
"""Features of the network are projected to so many."""
ALTERED = 300
"""Training images that each alteration is planted in."""
TOLD = 0.99
"""AUROC, over images that were held out, from which an alteration can be told."""
WARN, REFUSE, ALTERED_REFUSE = 0.01, 0.002, 0.0005
"""Shares of images of its own kind that are unusual, are refused as unlike, are taken for altered in one way."""
PARTS = 5
"""Parts of the held out images whose bounds are set by the other parts, to count how many would be refused."""

Open = Callable[[], Study]


@dataclass
class Seen:
    """What was taken of some images, row by row."""

    views: list[View] = field(default_factory=list)
    headers: list[dict[str, Any]] = field(default_factory=list)
    features: list[np.ndarray | None] = field(default_factory=list)
    answers: list[dict[str, float]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def take(self, mapping: Mapping, study: Study, place: int, answer: dict[str, float], *, network: bool) -> None:
        """Look at one study; ``place``: where it was given; ``network``: also at what the network makes of it."""
        self.places.append(place)
        view = view_of(study, mapping.reads)
        self.views.append(view)
        self.headers.append(header_of(study, view.colour))
        self.answers.append(answer)
        self.features.append(network_features(mapping, study) if network else None)

    @property
    def inside(self) -> list[np.ndarray]:
        """The network's features of those that it looked at."""
        return [each for each in self.features if each is not None]

    @property
    def values(self) -> np.ndarray:
        return np.stack([view.values for view in self.views])


@dataclass(frozen=True)
class Learnt:
    """What is remembered, and how unlike each image is that was held out and looked at: 0 usual, 1 refused, by its place among them (empty where no
    distance can be judged). The second is for the report of the run and stays out of the model."""

    record: FitFor
    distances: dict[int, float] = field(default_factory=dict)


def learn(mapping: Mapping, train: Sequence[Open], held: Sequence[Open], **options: Any) -> FitFor:
    """The record alone; see `learnt`."""
    return learnt(mapping, train, held, **options).record


def learnt(
    mapping: Mapping, train: Sequence[Open], held: Sequence[Open], *, answers: Sequence[dict[str, float]] = (), seed: int = 0, seconds: float = 60.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Learnt:
    """The statistics of a model's training images.

    Parameters
    ----------
    train, held: functions that open the training images and those that the network was not trained on (validation, never the test set). At most `MOST` of each
        are opened, in random order and in turns, until three quarters of ``seconds`` of processor time are over (the network looks only at those of the first
        half; a busy machine shall not make loose bounds); what was seen by then is the sample. Where fewer than `FEWEST` were seen of either, only what the
        files say is remembered.
    answers: what the model answers for each of ``held`` (see `outputs`), for the reference; empty where it is not known.
    """
    start = time.process_time()
    own, other = Seen(), Seen()
    turns = list(_in_turns(train, held, seed))
    for done, (is_train, place) in enumerate(turns, 1):
        spent = time.process_time() - start
        if spent > 0.75 * seconds and min(len(own.views), len(other.views)) >= FEWEST:
            break
        network = spent < 0.5 * seconds or done <= 2 * FEWEST
        answer = answers[place] if answers and not is_train else {}
        (own if is_train else other).take(mapping, (train if is_train else held)[place](), place, answer, network=network)
        if progress is not None:
            progress(done, len(turns), "training images remembered")
    ndim = mapping.reads.ndim
    header = summary_of([*own.headers, *other.headers], ndim)
    facts: dict[str, Any] = {"n_train": len(own.views), "n_held": len(other.views)}
    if min(len(own.views), len(other.views)) < FEWEST:
        return Learnt(FitFor(header, facts=facts | {"judged": False}))
    return _with_distances(own, other, header, facts, seed, free=any_way_up(mapping))


def _in_turns(train: Sequence[Open], held: Sequence[Open], seed: int) -> Iterator[tuple[bool, int]]:
    """The place of a random training image, of a random held one, and so on; then what is left of either."""
    orders = [generator(seed, "fit for", name).permutation(len(some))[:MOST] for name, some in (("train", train), ("held", held))]
    for i in range(max(map(len, orders))):
        yield from ((is_train, int(order[i])) for is_train, order in ((True, orders[0]), (False, orders[1])) if i < len(order))


def _with_distances(own: Seen, other: Seen, header: dict[str, Any], facts: dict[str, Any], seed: int, *, free: bool) -> Learnt:
    picture = Gaussian.of(np.concatenate([own.values, _turned(own, seed)]) if free else own.values)
    gaussians, project = {"picture": picture}, None
    if min(len(own.inside), len(other.inside)) >= FEWEST and len({len(each) for each in (*own.inside, *other.inside)}) == 1:
        project = projection(len(own.inside[0]), WIDEST, seed)
        gaussians["network"] = Gaussian.of(np.stack(own.inside) @ project)
    told, shifts, bounds, found = _alterations(picture, own, other, seed, TURNS if free else ())
    record = FitFor(header, gaussians, project, told, shifts, bounds)
    rows = [measures(record, view, feature) for view, feature in zip(other.views, other.features, strict=True)]
    values = {name: np.array([row.get(name, np.nan) for row in rows]) for name in gaussians}
    if free:
        values["picture"] = np.concatenate([values["picture"], picture.distance(_turned(other, seed))])
    bounds |= {name: _bounds(each[np.isfinite(each)]) for name, each in values.items()}
    beyond = [any(value > bounds[name].refuse for name, value in row.items()) for row in rows]
    facts |= {"n_network": len(own.inside), "any_way_up": free, "judged": True, "altered": found, "refused_held": float(np.mean(beyond)),
              "refused_apart": _refused_apart(values, len(rows)), "distances": sorted(gaussians)}
    strange = [max(bounds[name].strangeness(row[name]) for name in gaussians if name in row) for row in rows]
    return Learnt(FitFor(header, gaussians, project, told, shifts, bounds, _reference(other, rows), facts), dict(zip(other.places, strange, strict=True)))


def _refused_apart(values: dict[str, np.ndarray], n: int) -> int:
    """How many of the ``n`` images would be refused as unlike by bounds that were set without them (in `PARTS` parts).

    ``values``: the distances by name, NaN where an image has none; where there are more rows than images (turned pictures) row ``i + n`` is of image ``i``.
    """
    part, refused = np.arange(n) % PARTS, np.zeros(n, bool)
    for each in values.values():
        for k in range(PARTS):
            others = each[(np.resize(part, len(each)) != k) & np.isfinite(each)]
            if len(others) >= FEWEST // 2:
                refused |= (part == k) & (each[:n] > _bounds(others).refuse)
    return int(refused.sum())


def _bounds(values: np.ndarray) -> Bounds:
    """Of distances, whose logarithm is nearly normal."""
    logs = np.log(np.maximum(values, 1e-6))
    return Bounds(float(np.median(values)), *(float(np.exp(rarely_beyond(logs, share))) for share in (WARN, REFUSE)))


def _turned(some: Seen, seed: int) -> np.ndarray:
    """Statistics of the views turned at random."""
    rng = generator(seed, "any way up")
    return np.stack([ALTERATIONS[2][str(rng.choice(TURNS))].plant(view, rng).values for view in some.views])


def _alterations(
    picture: Gaussian, own: Seen, other: Seen, seed: int, left_out: Sequence[str],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Bounds], dict[str, float]]:
    """Directions, shifts and bounds of the alterations that can be told, and the AUROC of all of them."""
    white, held = picture.white(own.values), picture.white(other.values)
    directions, shifts, bounds, found = {}, {}, {}, {}
    for name, alteration in ALTERATIONS[own.views[0].array.ndim - 1].items():
        if name in left_out:
            continue
        rng = generator(seed, "altered", name)
        planted = [picture.white(np.stack([alteration.plant(view, rng).values for view in some])) for some in (own.views[:ALTERED], other.views[:ALTERED])]
        direction = direction_between(white, planted[0])
        plain, changed = held @ direction, planted[1] @ direction
        found[name] = float(roc_auc_score(np.r_[np.zeros(len(plain)), np.ones(len(changed))], np.r_[plain, changed]))
        if found[name] >= TOLD:
            directions[name], shifts[name], bounds[name] = direction, planted[0].mean(0) - white.mean(0), _between(plain, changed)
    return directions, shifts, bounds, found


def _between(plain: np.ndarray, changed: np.ndarray) -> Bounds:
    """The bound that plain images rarely exceed; where nearly all altered ones lie far beyond, half way to these, which spares images of another machine."""
    bound, low = rarely_beyond(plain, ALTERED_REFUSE), float(np.quantile(changed, 0.05))
    refuse = (bound + low) / 2 if low > bound else bound
    return Bounds(float(np.median(plain)), refuse, refuse)


def _reference(other: Seen, rows: Sequence[dict[str, float]]) -> dict[str, list[Any]]:
    """What `stages.monitor` compares with: a list a statistic, None where an image does not say it."""
    seen = zip(other.headers, other.views, rows, other.answers, strict=True)
    watched = [{**watched_of(header, view, row), **answer} for header, view, row, answer in seen]
    names = list(dict.fromkeys(name for row in watched for name in row))
    return {name: [row.get(name) for row in watched] for name in names}
