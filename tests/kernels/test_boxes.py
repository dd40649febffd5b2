import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou
from torchvision.ops import nms as torch_nms

from vesalius.core.boxes import Detected
from vesalius.errors import DataError, OptionError
from vesalius.kernels import boxes as module
from vesalius.kernels import boxgeometry
from vesalius.kernels.boxes import at_seams, clipped, covered, fused, intersections, iou, joined, mirrored, nms, suppressed, volumes
from vesalius.kernels.tiling import places


def random_boxes(rng, n, ndim=2, extent=100.0, least=2.0, most=30.0):
    size = rng.uniform(least, most, (n, ndim))
    low = rng.uniform(0, 1, (n, ndim)) * (extent - size)
    return np.concatenate([low, low + size], 1)


def detected(boxes, labels=None, scores=None, risk=None):
    boxes = np.asarray(boxes, np.float32)
    n = len(boxes)
    made = (np.zeros(n) if labels is None else labels, np.linspace(0.9, 0.5, n) if scores is None else scores, np.full(n, np.nan) if risk is None else risk)
    return Detected(boxes, np.asarray(made[0], np.int64), np.asarray(made[1], np.float32), np.asarray(made[2], np.float32))


def rows(found):
    """What can be compared whatever the order of equals."""
    return sorted(map(tuple, np.column_stack([found.boxes, found.labels, found.scores]).round(3).tolist()))


def test_overlap_is_that_of_torchvision_in_two_dimensions_and_counted_samples_in_three():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    assert iou(a, b) == pytest.approx(box_iou(torch.tensor(a), torch.tensor(b)).numpy())
    a, b = (np.round(random_boxes(rng, 10, 3, 20, 2, 12)) for _ in range(2))
    masks = [np.zeros((10, 20, 20, 20), bool) for _ in range(2)]
    for mask, boxes in zip(masks, (a, b), strict=True):
        for each, box in zip(mask, boxes.astype(int), strict=True):
            each[box[0] : box[3], box[1] : box[4], box[2] : box[5]] = True
    both = np.einsum("aijk,bijk->ab", *(mask.astype(int) for mask in masks))
    size = [mask.sum((1, 2, 3)) for mask in masks]
    assert intersections(a, b) == pytest.approx(both) and volumes(a) == pytest.approx(size[0])
    assert iou(a, b) == pytest.approx(both / (size[0][:, None] + size[1] - both))
    assert covered(a, b) == pytest.approx(both / size[0][:, None])


def test_boxes_without_extent_overlap_nothing_and_none_is_no_error():
    point = np.array([[3.0, 3, 3, 3]])
    assert iou(point, point).tolist() == [[0.0]] and covered(point, np.array([[0.0, 0, 9, 9]])).tolist() == [[0.0]]
    assert iou(np.zeros((0, 4)), point).shape == (0, 1) and nms(np.zeros((0, 6)), np.zeros(0), 0.5).tolist() == []
    assert len(suppressed(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0), threshold=0.5)) == 0
    assert len(joined([((0, 0), Detected.empty(2))], (8, 8), (8, 8), threshold=0.5)) == 0 == len(fused([Detected.empty(3)], threshold=0.5))


def test_suppression_is_that_of_torchvision_and_the_same_in_three_dimensions():
    rng = np.random.default_rng(1)
    for _ in range(20):
        flat, scores = random_boxes(rng, 60, extent=60), rng.choice(np.linspace(0, 1, 40), 60)
        kept = nms(flat, scores, 0.4)
        assert kept.tolist() == torch_nms(torch.tensor(flat), torch.tensor(scores), 0.4).tolist()
        deep = np.column_stack([np.zeros(60), flat[:, :2], np.ones(60), flat[:, 2:]])
        assert nms(deep, scores, 0.4).tolist() == kept.tolist()


def test_many_boxes_are_suppressed_as_few_are(monkeypatch):
    rng = np.random.default_rng(3)
    boxes, scores = random_boxes(rng, 3000, extent=400), rng.choice(np.linspace(0, 1, 900), 3000)
    boxes[:3] = [[0, 0, 400, 400], [5, 5, 5, 5], [5, 5, 5, 5]]  # one over all, and two without extent
    few = torch_nms(torch.tensor(boxes), torch.tensor(scores), 0.3)
    assert nms(boxes, scores, 0.3).tolist() == few.tolist()
    monkeypatch.setattr(boxgeometry, "CELLS", 1000)  # in pieces
    assert nms(boxes, scores, 0.3).tolist() == few.tolist()
    monkeypatch.setattr(module, "PAIRS", 10)  # too many pairs to hold
    assert nms(boxes, scores, 0.3).tolist() == few.tolist()
    one, other = boxgeometry.overlapping(boxes, 0.3)
    overlap = np.triu(iou(boxes, boxes), 1)
    assert sorted(map(sorted, zip(one.tolist(), other.tolist(), strict=True))) == np.argwhere(overlap > 0.3).tolist()


def test_an_overlap_of_exactly_the_threshold_is_kept():
    pair = np.array([[0, 0, 4, 4], [0, 0, 4, 2]])
    assert len(nms(pair, np.array([0.9, 0.8]), 0.5)) == 2 and len(nms(pair, np.array([0.9, 0.8]), 0.49)) == 1


def test_classes_do_not_suppress_one_another_and_the_best_of_all_are_kept():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [6, 6, 9, 9]])
    found = suppressed(boxes, np.array([1, 0, 1, 0]), np.array([0.3, 0.9, 0.5, 0.6]), np.array([0.1, np.nan, 0.2, 0.3]), threshold=0.5)
    assert found.labels.tolist() == [0, 0, 1] and found.scores == pytest.approx([0.9, 0.6, 0.5]) and found.risk[1:] == pytest.approx([0.3, 0.2])
    assert found.boxes.dtype == np.float32 and len(suppressed(boxes, np.arange(4), np.ones(4), np.ones(4), threshold=0.5, most=2)) == 2


def test_fusion_by_hand():
    one = detected([[0, 0, 10, 10], [50, 50, 60, 60]], scores=[0.8, 0.6], risk=[0.9, np.nan])
    two = detected([[0, 0, 10, 12]], scores=[0.4], risk=[0.3])
    found = fused([one, two], threshold=0.5)
    assert found.boxes[0] == pytest.approx([0, 0, 10, (10 * 0.8 + 12 * 0.4) / 1.2], abs=1e-4)
    assert found.scores == pytest.approx([0.6, 0.3]) and found.risk[0] == pytest.approx((0.8 * 0.9 + 0.4 * 0.3) / 1.2) and np.isnan(found.risk[1])
    trusted = fused([one, two], threshold=0.5, weights=[3, 1])
    assert trusted.scores == pytest.approx([(3 * 0.8 + 0.4) / 4, 3 * 0.6 / 4])


def test_one_model_alone_is_fused_to_itself_and_equal_models_to_each():
    rng = np.random.default_rng(2)
    boxes = random_boxes(rng, 40, 3)
    lone = suppressed(boxes, rng.integers(0, 3, 40), rng.random(40), rng.random(40), threshold=0.2)
    for models in (1, 3):
        found = fused([lone] * models, threshold=0.5)
        assert rows(found) == rows(lone) and found.risk == pytest.approx(lone.risk, abs=1e-5)


def test_a_model_that_gives_a_box_twice_counts_once():
    twice = fused([detected([[0, 0, 10, 10], [0, 0, 10, 11]], scores=[0.8, 0.8]), Detected.empty(2)], threshold=0.5)
    assert len(twice) == 1 and twice.scores == pytest.approx([0.4])
    apart = fused([detected([[0, 0, 10, 10]], labels=[1]), detected([[0, 0, 10, 10]], labels=[0])], threshold=0.5)
    assert len(apart) == 2


def test_a_score_of_nought_can_be_fused():
    found = fused([detected([[0, 0, 2, 2], [5, 5, 7, 7]], scores=[0.0, 0.0])], threshold=0.5)
    assert rows(found) == [(0, 0, 2, 2, 0, 0), (5, 5, 7, 7, 0, 0)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_mirroring_twice_is_nothing_and_moves_with_the_samples(seed, ndim):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 14, ndim))
    low = rng.integers(0, 4, (1, ndim))
    box = np.concatenate([low, low + rng.integers(1, 4, (1, ndim))], 1)
    axes = tuple(np.flatnonzero(rng.random(ndim) < 0.5))
    assert mirrored(mirrored(box, axes, shape), axes, shape).tolist() == box.tolist()
    image = np.zeros(shape)
    image[tuple(slice(a, b) for a, b in zip(box[0, :ndim], box[0, ndim:], strict=True))] = 1
    there = np.argwhere(np.flip(image, axes))
    assert mirrored(box, axes, shape)[0].tolist() == [*there.min(0), *(there.max(0) + 1)]


def test_clipped_boxes_lie_in_the_image():
    cut = clipped(np.array([[-3.0, 2, 5, 30], [20, 0, 25, 5]], np.float32), (10, 12))
    assert cut.tolist() == [[0, 2, 5, 12], [10, 0, 10, 5]] and volumes(cut).tolist() == [50, 0] and cut.dtype == np.float32


def test_only_inner_borders_are_seams():
    shape, size = (30, 30), (20, 20)
    boxes = np.array([[0, 0, 5, 5], [10, 10, 20, 20], [12, 5, 19, 15], [25, 25, 30, 30]])
    assert at_seams(boxes[:3], (0, 0), size, shape, margin=0).tolist() == [False, True, False]
    assert at_seams(boxes[:3], (0, 0), size, shape, margin=1).tolist() == [False, True, True]
    assert at_seams(boxes[:3], (0, 0), size, shape).tolist() == [False, True, True]
    assert at_seams(boxes[3:], (10, 10), size, shape).tolist() == [False]
    assert at_seams(np.array([[0, 0, 8, 20]]), (-1, 0), (10, 20), (8, 20)).tolist() == [False]


def seen(boxes, labels, scores, start, size, *, reaching=False):
    """What a faultless network shows of a tile: every object that has something in it, cut at its border."""
    start = np.asarray(start)
    moved = boxes - np.tile(start, 2)
    inside = clipped(moved, size)
    there = volumes(inside) > 0
    return detected((moved if reaching else inside)[there], labels[there], scores[there])


def scene(seed, ndim, overlap, shape, size):
    """Objects that lie whole in at least one tile, and the tiles."""
    rng = np.random.default_rng(seed)
    starts = [np.array(place) for place in np.array(np.meshgrid(*places(shape, size, overlap), indexing="ij")).reshape(ndim, -1).T]
    boxes = np.round(random_boxes(rng, int(rng.integers(1, 25)), ndim, min(shape), 2, 14) * 8) / 8  # exact in float32
    whole = np.zeros(len(boxes), bool)
    for start in starts:
        stay = (boxes[:, :ndim] >= start).all(1) & (boxes[:, ndim:] <= start + np.asarray(size)).all(1)
        whole |= stay & ~at_seams(boxes, start, size, shape, 0)
    boxes = boxes[whole]
    return boxes, rng.integers(0, 3, len(boxes)), rng.permutation(len(boxes)) / 100 + 0.1, starts


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([2, 3]), st.sampled_from([0.25, 0.5]), st.booleans())
def test_law_objects_whole_in_a_tile_are_found_as_by_one_large_tile(seed, ndim, overlap, reaching):
    shape, size = ((60, 70), (32, 24)) if ndim == 2 else ((40, 50, 36), (24, 32, 40))
    boxes, labels, scores, starts = scene(seed, ndim, overlap, shape, size)
    parts = [(start, seen(boxes, labels, scores, start, size, reaching=reaching)) for start in starts]
    one = suppressed(boxes, labels, scores, np.full(len(boxes), np.nan), threshold=0.5)
    assert rows(joined(parts, size, shape, threshold=0.5, margin=0)) == rows(one)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([0.0, 0.25, 0.5]))
def test_law_a_large_object_cut_by_every_tile_is_one_box(seed, overlap):
    rng = np.random.default_rng(seed)
    shape, size = (100, 120), (32, 40)
    low, high = rng.uniform(0, 20, 2), rng.uniform(65, 100, 2)
    boxes = np.concatenate([low, high])[None]
    starts = [(y, x) for y in places(shape, size, overlap)[0] for x in places(shape, size, overlap)[1]]
    scores = rng.uniform(0.5, 0.9, len(starts))
    parts = [(start, seen(boxes, np.zeros(1), score[None], start, size)) for start, score in zip(starts, scores, strict=True)]
    found = joined(parts, size, shape, threshold=0.5)
    shown = [score for (_, part), score in zip(parts, scores, strict=True) if len(part)]
    assert found.boxes == pytest.approx(boxes, abs=1e-4)
    assert len(found) == 1 and found.scores == pytest.approx(max(shown))


def test_two_large_objects_side_by_side_stay_two():
    shape, size, starts = (40, 120), (40, 40), [(0, 0), (0, 20), (0, 40), (0, 60), (0, 80)]
    boxes, labels = np.array([[2.0, 5, 18, 110], [22.0, 10, 38, 115]]), np.zeros(2)
    parts = [(start, seen(boxes, labels, np.array([0.9, 0.8]), start, size)) for start in starts]
    assert joined(parts, size, shape, threshold=0.5).boxes == pytest.approx(boxes)
    other = [(start, seen(boxes[:1], labels[:1] + i % 2, np.array([0.9]), start, size)) for i, start in enumerate(starts)]
    assert set(joined(other, size, shape, threshold=0.5).labels.tolist()) == {0, 1}


def test_fragments_placed_inexactly_are_not_counted_beside_the_whole():
    rng = np.random.default_rng(5)
    shape, size = (200, 200), (64, 64)
    boxes = np.array([[y, x, y + 18, x + 18] for y in range(5, 180, 30) for x in range(5, 180, 30)], float)
    starts = [(y, x) for y in places(shape, size, 0.5)[0] for x in places(shape, size, 0.5)[1]]
    parts = []
    for start in starts:
        part = seen(boxes, np.zeros(len(boxes)), np.full(len(boxes), 0.9), start, size)
        kept = part.kept(volumes(part.boxes) > 18 * 18 * 0.1)
        parts.append((start, detected(kept.boxes + rng.normal(0, 0.7, kept.boxes.shape), scores=rng.uniform(0.3, 0.9, len(kept)))))
    found = joined(parts, size, shape, threshold=0.5)
    assert len(found) == len(boxes) and (iou(found.boxes, boxes).max(0) > 0.7).all()


def test_half_a_cell_that_looks_like_another_kind_is_explained_by_the_whole_one():
    parts = [((0, 0), detected([[10, 8, 20, 30]])), ((0, 20), detected([[10, 0, 20, 10]], labels=[2]))]
    assert rows(joined(parts, (40, 40), (40, 60), threshold=0.5)) == [(10, 8, 20, 30, 0, 0.9)]


def test_the_part_of_an_object_that_only_one_tile_found_is_kept_and_reaching_out_is_cut():
    parts = [((0, 0), detected([[10, 30, 20, 42]])), ((0, 30), Detected.empty(2)), ((0, 30), detected([[-4, 20, 6, 38]]))]
    found = joined(parts, (40, 40), (40, 70), threshold=0.5)
    assert rows(found) == [(0, 50, 6, 68, 0, 0.9), (10, 30, 20, 42, 0, 0.9)]
    assert len(joined([((0, 0), detected([[50, 50, 60, 60]]))], (40, 40), (40, 40), threshold=0.5)) == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r"these are no boxes: expected \[N, 4\] or \[N, 6\]: low..., high..., got \(2, 5\)"):
        volumes(np.zeros((2, 5)))
    with pytest.raises(DataError, match="boxes of another number of axes cannot be compared: expected 2 axes, got 3"):
        iou(np.zeros((1, 4)), np.zeros((1, 6)))
    with pytest.raises(OptionError, match="boxes are suppressed above a share of overlap: expected an IoU of 0 to 1, got 50"):
        suppressed(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros(0), threshold=50)
    for found, weights in (([], None), ([Detected.empty(2)], [1, 2]), ([Detected.empty(2)], [0])):
        with pytest.raises(OptionError, match="boxes are fused with one positive weight for each model: expected"):
            fused(found, threshold=0.5, weights=weights)


def test_the_names_of_the_contract_are_there():
    assert {"at_seams", "fused", "iou", "joined", "mirrored", "nms", "suppressed"} <= set(module.__all__)
