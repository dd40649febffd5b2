"""Laws of mappings that detect: grid, orientation, units, batch, file, and the same boxes on another device."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from vesalius.core.boxes import Detected, boxes_mm
from vesalius.core.finding import Boxes
from vesalius.core.study import Study
from vesalius.kernels.boxes import iou
from vesalius.mapping import BoxedMapping, Mapping
from vesalius.networks import describe, names
from vesalius.outputs import detect as module

from .conftest import make_boxed, make_study, turned

TINY = {"width": 8, "levels": 2, "finest": 4}
OPTIONS: dict[str, dict[str, object]] = {"yolo-like": TINY, "faster-rcnn": {"width": 32, "hidden": 64, "n_proposals": 60}, "retinanet": {"width": 32}}
SPACING = {2: (0.7, 0.7), 3: (1.4, 0.9, 0.9)}


@pytest.fixture(autouse=True)
def _every_box_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh networks believe in no box; here none is too unlikely."""
    monkeypatch.setattr(module, "FAINTEST", 1e-6)


def detecting() -> list[object]:
    listed = [(name, ndim) for name in names(detects=True) if describe(name).name == name for ndim in describe(name).ndims]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1]}d", marks=[] if pair == ("yolo-like", 2) else [pytest.mark.slow]) for pair in listed]


def boxed(ndim: int, **options: object) -> BoxedMapping:
    return make_boxed(ndim, spacing_mm=SPACING[ndim], **(TINY | options))  # type: ignore[arg-type]


def corners_mm(found: Detected, study: Study) -> np.ndarray:
    """Least and largest LPS mm of each box ``[N, 6]``."""
    corners = boxes_mm(found.boxes, study.grid)
    return np.concatenate([corners.min(1), corners.max(1)], 1)


def same(found: Detected, other: Detected, tolerance: float = 1e-3) -> bool:
    """The likeliest fifty are the same boxes, in whatever order equals come."""
    k = min(50, len(found), len(other))
    assert k > 5
    order, turn = (np.lexsort((*each.boxes[:k].round(2).T, each.labels[:k])) for each in (found, other))
    pairs = zip((found.boxes, found.scores, found.labels), (other.boxes, other.scores, other.labels), strict=True)
    return all(np.allclose(a[:k][order], b[:k][turn], atol=tolerance) for a, b in pairs)


def test_grid_the_boxes_of_a_finding_lie_on_the_grid_of_its_study(ndim: int) -> None:
    mapping, study = boxed(ndim, risk="bad"), make_study(ndim)
    finding = mapping(study)
    (boxes,) = (item for item in finding.items if isinstance(item, Boxes))
    assert finding.grid == study.grid == boxes.grid and finding.source == study.source
    n = len(boxes.array)
    assert n > 5 and boxes.array.shape == (n, 2 * ndim) and len(boxes.labels) == len(boxes.scores) == len(boxes.risk) == n
    assert (boxes.array >= 0).all() and (boxes.array[:, ndim:] <= np.array(study.grid.shape)).all()
    assert (boxes.array[:, ndim:] > boxes.array[:, :ndim]).all() and all(0 <= score <= 1 for score in (*boxes.scores, *boxes.risk))
    counts = [finding.scores[f"{name}.count"] for name in mapping.output.target.classes]
    assert sum(counts) == n and list(boxes.scores) == sorted(boxes.scores, reverse=True)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_orientation_however_a_volume_is_stored_its_boxes_are_the_same_in_mm(order: tuple[int, ...]) -> None:
    mapping, study = boxed(3), make_study(3)
    found = mapping.detect(study, 0.0)
    expected = corners_mm(found, study)
    assert len(found) > 5
    for flips in ((0,), (1, 2)):
        other = turned(study, order, flips)
        again = mapping.detect(other, 0.0)
        assert np.array_equal(again.labels, found.labels) and np.allclose(again.scores, found.scores, atol=1e-6)
        assert np.allclose(corners_mm(again, other), expected, atol=1e-3)


def test_units_twice_the_spacing_gives_twice_the_size(ndim: int) -> None:
    study = make_study(ndim)
    double = make_study(ndim, spacing_mm=tuple(2 * step for step in study.grid.spacing_mm))
    wide = make_boxed(ndim, spacing_mm=tuple(2 * step for step in SPACING[ndim]), **TINY)  # type: ignore[arg-type]
    first, second = boxed(ndim)(study).scores, wide(double).scores
    assert first.keys() == second.keys() and any(name.endswith("median_mm") for name in first)
    for name, value in first.items():
        assert second[name] == pytest.approx(value * (2 if name.endswith("_mm") else 1), rel=1e-4)


def test_batch_tiles_answer_the_same_alone_and_among_others(ndim: int) -> None:
    mapping, studies = boxed(ndim), [make_study(ndim, seed) for seed in range(3)]
    first = [mapping.detect(study, 0.0) for study in studies]
    mapping.batch = 1
    again = [mapping.detect(study, 0.0) for study in reversed(studies)][::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1])


@pytest.mark.parametrize(("network", "ndim"), detecting())
def test_file_what_was_saved_answers_bit_for_bit(tmp_path: Path, network: str, ndim: int) -> None:
    size = (64,) * ndim if network != "yolo-like" else None
    mapping, study = make_boxed(ndim, network, size=size, risk="bad", **OPTIONS[network]), make_study(ndim)  # type: ignore[arg-type]
    mapping.save(tmp_path)
    again = Mapping.load(tmp_path)
    assert isinstance(again, BoxedMapping) and again.hash == mapping.hash and again.output.to_dict() == mapping.output.to_dict()
    first, second = mapping.detect(study, 0.0), again.detect(study, 0.0)
    assert len(first) > 5
    for name in ("boxes", "labels", "scores", "risk"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.gpu
@pytest.mark.parametrize("network", ["yolo-like", "faster-rcnn", "retinanet"])
def test_device_the_same_boxes_come_out_on_a_gpu(network: str, ndim: int) -> None:
    """Nine of ten of the likeliest boxes are there again (TF32 off); where scores are nearly equal another one may be suppressed."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    if ndim not in describe(network).ndims:
        pytest.skip("not in 3-D")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    here, there = (make_boxed(ndim, network, size=(64,) * ndim, **OPTIONS[network]) for _ in range(2))  # type: ignore[arg-type]
    there.networks, there.device = [each.cuda() for each in there.networks], "cuda"
    study = make_study(ndim, shape=(96, 80) if ndim == 2 else (64, 72, 66))
    a, b = here.detect(study, 0.0), there.detect(study, 0.0)
    a = a.kept(np.arange(min(50, len(a))))
    met = (iou(a.boxes, b.boxes) > 0.98) & (a.labels[:, None] == b.labels) & (np.abs(a.scores[:, None] - b.scores) < 1e-3)
    assert len(a) > 5 and met.any(1).mean() >= 0.9
