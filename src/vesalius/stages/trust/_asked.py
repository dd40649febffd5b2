"""The questions on which kinds of map are tested, for each kind of target, and the methods that are tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import nn

from vesalius.core.target import TargetSpec
from vesalius.formats.boxes import open_boxes
from vesalius.formats.cases import open_case, open_truth
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.seed import generator
from vesalius.stages.boxed.chosen import Chosen, sorted_out
from vesalius.stages.boxed.explain import thresholds_of, window_at
from vesalius.stages.explain.base import Score
from vesalius.stages.explain.boxcam import gradcam_box
from vesalius.stages.explain.drise import drise, similarity
from vesalius.stages.explain.questions import Method, Question, method_of
from vesalius.stages.explain.scores import OneAnswer, box_score, mask_score, mask_worth
from vesalius.stages.explain.warrant import MOST_CASES
from vesalius.stages.tiled.explain import tile_about
from vesalius.stages.trust.attention import positive_cases
from vesalius.stages.trust.base import Trust
from vesalius.transforms.boxtiles import boxes_in
from vesalius.transforms.tiles import prepare_mask

Region = Callable[[str], np.ndarray | None]
"""Where the truth lies in a prepared image, by id: bool ``[(Z,) Y, X]``."""
SHOWN = {"whole": ("gradcam", "occlusion"), "tiles": ("gradcam",), "boxes": ("gradcam", "drise")}
"""Kinds of map that a run shows, by the reading of its output; they are tested first ..."""
FURTHER = {
    "whole": ("gradcam++", "attention-rollout", "integrated-gradients", "rise"), "tiles": ("gradcam++", "occlusion", "integrated-gradients"),
    "boxes": ("gradcam++", "occlusion"),
}
"""... and these while there is time."""
BOX_MASKS = 100
"""Masks of D-RISE while it is tested."""


def methods_of(reading: str, network: nn.Module) -> dict[str, Method]:
    """The methods for a way of reading, the shown ones first; attention only for a network that has some."""
    special: dict[str, Method] = {"gradcam": _box_cam, "drise": _box_drise} if reading == "boxes" else {}
    attends = any("attention" in type(module).__name__.lower() for module in network.modules())
    names = [name for name in (*SHOWN[reading], *FURTHER[reading]) if name != "attention-rollout" or attends]
    return {name: special.get(name) or method_of(name) for name in names}


def _box_cam(network: nn.Module, question: Question) -> torch.Tensor:
    return gradcam_box(network, question.x, question.facts["box"], int(question.facts["k"]))  # type: ignore[arg-type, call-overload]


def _box_drise(network: nn.Module, question: Question) -> torch.Tensor:
    return drise(network, question.x, question.facts["box"], int(question.facts["k"]), masks=BOX_MASKS)  # type: ignore[arg-type, call-overload]


def questions_of(trust: Trust, region: Region | None = None) -> tuple[nn.Module, list[Question]]:
    """The network that is asked, and one question for each of up to `MOST_CASES` patients of the test set.

    Parameters
    ----------
    region: where the truth lies, for targets that do not say so themselves.
    """
    mapping = trust.mapping
    if isinstance(mapping, BoxedMapping):
        return mapping.network, list(_of_boxes(trust, mapping))
    if isinstance(mapping, TiledMapping):
        network = OneAnswer(mapping.network).eval()
        return network, list(_of_masks(trust, mapping, network))
    return mapping.network, list(_of_whole(trust, mapping, region))


def _of_whole(trust: Trust, mapping: Mapping, region: Region | None) -> Iterator[Question]:
    """Positive cases and the class that they have."""
    if trust.images is None:
        return
    for row in positive_cases(trust)[:MOST_CASES]:
        case = trust.frame.iloc[row]
        index = _class_of(trust.target, case["label"])
        x = mapping.encode_array(np.asarray(trust.images[row]))[None]
        score: Score = lambda raw, index=index: mapping.output.explained(raw, index)  # type: ignore[misc] # noqa: E731 - bound to this case
        yield Question(case["id"], case["patient"], x, score, _worth(trust.target, index), region(case["id"]) if region else None)


def _class_of(target: TargetSpec, label: object) -> int | None:
    """Number of the class of a case; of several labels the first that it has, None for a value."""
    if target.kind == "regression":
        return None
    truth = target.encode([label])[0]
    return int(np.flatnonzero(np.asarray(truth) > 0)[0]) if target.kind == "multilabel" and np.any(truth > 0) else int(np.atleast_1d(truth)[0])


def _worth(target: TargetSpec, index: int | None) -> Score:
    if index is None:
        return lambda raw: raw[:, 0]
    if target.kind == "multilabel":
        return lambda raw: raw[:, index].sigmoid()
    return lambda raw: raw.softmax(1)[:, index]


def _patients(trust: Trust, ids: list[str]) -> Iterator[tuple[str, str]]:
    """One drawn case of each patient: ``(id, patient)``."""
    owner = trust.frame.set_index("id")["patient"].astype(str)
    seen: set[str] = set()
    for place in generator(trust.seed, "explanations").permutation(len(ids)):
        name = ids[place]
        if name in owner.index and owner[name] not in seen:
            seen.add(owner[name])
            yield name, owner[name]


def _of_masks(trust: Trust, mapping: TiledMapping, network: nn.Module) -> Iterator[Question]:
    """A tile about a structure of the case (in turn over the classes that it has), and the class that the network gives to the samples there."""
    target, made = trust.target, 0
    for name, patient in _patients(trust, trust.frame.loc[trust.frame["split"] == "test", "id"].tolist()):
        study = open_case(trust.cases[name])
        x, trace = mapping.encode(study)
        truth = prepare_mask(open_truth(trust.cases[name], target, study), trace)
        held = [k for k in range(len(target.classes)) if _class_in(truth, target, k).any()]
        if not held:
            continue
        k = held[made % len(held)]
        region = _class_in(truth, target, k)
        places = np.argwhere(region)
        middle = places[np.linalg.norm(places - places.mean(0), axis=1).argmin()]
        tile, inner, outer = tile_about(x, middle.tolist(), mapping.reads.size)
        seen = np.zeros(mapping.reads.size, bool)
        seen[inner] = region[outer]
        image = torch.from_numpy(tile)[None].to(mapping.device)
        with torch.no_grad():
            raw = network(image)
        yield Question(name, patient, image, mask_score(raw, k, exclusive=target.exclusive), mask_worth(raw, k, exclusive=target.exclusive), seen)
        made += 1
        if made >= MOST_CASES:
            return


def _class_in(truth: np.ndarray, target: TargetSpec, k: int) -> np.ndarray:
    return np.asarray(truth[0] == k + 1 if target.exclusive else truth[k] == 1)


def _of_boxes(trust: Trust, mapping: BoxedMapping) -> Iterator[Question]:
    """The surest right box of a case, in the window that its explanation is shown."""
    table = trust.predictions[trust.predictions["split"] == "test"]
    rows, made = {str(row["id"]): row for _, row in table.iterrows()}, 0
    for name, patient in _patients(trust, list(rows)):
        found = _surest(rows[name], trust.target, thresholds_of(mapping))
        if found is None:
            continue
        k = trust.target.classes.index(found.name)
        study = open_case(trust.cases[name])
        x, trace = mapping.encode(study)
        true = boxes_in(np.asarray(open_boxes(trust.cases[name], trust.target, study).boxes, float), trace)
        low, high = np.split(boxes_in(np.asarray(found.box, float)[None], trace)[0].astype(float), 2)
        window, start = window_at(x, low, high, mapping.reads.size, int(getattr(mapping.network, "multiple", 32)))
        inside = np.concatenate([low - start, high - start]).tolist()
        image = torch.from_numpy(window)[None].to(mapping.device)
        region = _met(true - np.tile(start, 2), np.array(inside), window.shape[1:])
        wanted = torch.tensor(inside, dtype=torch.float32, device=image.device)
        worth: Score = lambda raw, wanted=wanted, k=k: similarity(raw, wanted, k)  # type: ignore[misc] # noqa: E731 - bound to this box
        yield Question(name, patient, image, box_score(inside, k), worth, region, {"box": inside, "k": k})
        made += 1
        if made >= MOST_CASES:
            return


def _surest(case: pd.Series, target: TargetSpec, thresholds: dict[str, float]) -> Chosen | None:
    right = [each for each in sorted_out(case, target, thresholds) if each.role == "found"]
    return max(right, key=lambda each: each.score or 0.0, default=None)


def _met(true: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the true box lies whose middle is nearest to that of ``box``."""
    ndim, seen = len(shape), np.zeros(shape, bool)
    if len(true):
        middles = (true[:, :ndim] + true[:, ndim:]) / 2
        nearest = true[np.linalg.norm(middles - (box[:ndim] + box[ndim:]) / 2, axis=1).argmin()]
        seen[tuple(slice(max(0, int(a)), max(int(a) + 1, int(np.ceil(b)))) for a, b in zip(nearest[:ndim], nearest[ndim:], strict=True))] = True
    return seen
