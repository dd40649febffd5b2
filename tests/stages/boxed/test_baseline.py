import time

import numpy as np
import pytest

from box_cases import found_of, of, truth_of
from vesalius.core.boxes import BoxTruth
from vesalius.errors import DataError
from vesalius.kernels.boxscores import average_precision
from vesalius.kernels.freeresponse import CPM_RATES, Froc
from vesalius.seed import generator
from vesalius.stages.boxed.baseline import MOST, blob_baseline

RADII = (5.0, 9.0)


def picture(seed, shape=(120, 140), channels=3, blobs=(4, 3)):
    """Bright small and dark large balls on noise, in another colour each."""
    rng = generator(seed, "picture", shape)
    image = rng.normal(0, 0.3, (channels, *shape)).astype(np.float32)
    grids, boxes, labels = np.indices(shape) + 0.5, [], []
    for label, (radius, count) in enumerate(zip(RADII, blobs, strict=True)):
        for _ in range(count):
            r = radius * rng.uniform(0.9, 1.1)
            centre = np.array([rng.uniform(r, n - r) for n in shape])
            if any(np.abs((np.array(box).reshape(2, -1).mean(0)) - centre).max() < 24 for box in boxes):
                continue
            inside = sum((grid - c) ** 2 for grid, c in zip(grids, centre, strict=True)) < r * r
            image[:, inside] += np.array([1.5, 0.5, 1.0])[:channels, None] * (1 if label == 0 else -1)
            boxes.append([*(centre - r), *(centre + r)])
            labels.append(label)
    return image, truth_of(np.array(boxes).reshape(-1, 2 * len(shape)), labels)


def scored(found, truths, k):
    return float(average_precision(of(found, truths, k))[0, 0])


def test_planted_blobs_are_found_and_told_apart():
    train, test = [picture(i) for i in range(30)], [picture(i) for i in range(100, 115)]
    found = blob_baseline(train, [image for image, _ in test], 2, seed=0)
    truths = [truth for _, truth in test]
    assert [scored(found, truths, k) > 0.9 for k in range(2)] == [True, True]
    for each in found:
        assert (np.diff(each.scores) <= 0).all() and len(each) <= MOST and ((each.scores >= 0.01) & (each.scores <= 1)).all()
        assert (each.boxes >= 0).all() and (each.boxes <= np.array([120, 140, 120, 140])).all() and np.isnan(each.risk).all()


def test_the_same_seed_gives_the_same_boxes():
    train, images = [picture(i) for i in range(6)], [picture(50)[0]]
    one, two = (blob_baseline(train, images, 2, seed=3)[0] for _ in range(2))
    assert one.boxes.tolist() == two.boxes.tolist() and one.scores.tolist() == two.scores.tolist()


def test_shuffled_truth_is_not_learnt():
    train, test = [picture(i) for i in range(30)], [picture(i) for i in range(100, 115)]
    rolled = [(image, truth) for (image, _), (_, truth) in zip(train, train[1:] + train[:1], strict=True)]
    found = blob_baseline(rolled, [image for image, _ in test], 2, seed=0)
    assert max(scored(found, [truth for _, truth in test], k) for k in range(2)) < 0.3


def test_volumes_with_unequal_spacing():
    def volume(seed):
        image, truth = picture(seed, (48, 64, 64), 1, (2, 1))
        return image[:, ::2], BoxTruth(truth.boxes / np.array([2, 1, 1, 2, 1, 1]), truth.labels, truth.ignored, truth.risk)

    train, test = [volume(i) for i in range(14)], [volume(i) for i in range(60, 68)]
    found = blob_baseline(train, [image for image, _ in test], 2, seed=0)
    froc = Froc(of(found, [truth for _, truth in test], 0))
    assert froc(CPM_RATES, np.ones((8, 1)))[3, 0] > 0.8


def test_ignored_boxes_and_pictures_without_any_teach_nothing_wrong():
    train = [picture(i) for i in range(20)]
    half = [(image, truth_of(t.boxes, t.labels, np.arange(len(t)) % 2 == 0)) for image, t in train] + [picture(70, blobs=(0, 0))]
    test = [picture(i) for i in range(100, 110)]
    found = blob_baseline(half, [image for image, _ in test], 2, seed=0)
    assert scored(found, [truth for _, truth in test], 0) > 0.8


def test_nothing_to_learn_from_finds_nothing():
    image, truth = picture(0)
    spared = truth_of(truth.boxes, truth.labels, np.ones(len(truth)))
    for train in ([(image, BoxTruth.empty(2))], [(image, spared)], []):
        found = blob_baseline(train, [image, image], 2, seed=0)
        assert [len(each) for each in found] == [0, 0] and found[0].boxes.shape == (0, 4)
    flat = np.zeros((1, 16, 16), np.float32)
    assert len(blob_baseline([(flat, truth_of([[2, 2, 6, 6]]))], [flat], 1, seed=0)[0]) == 0
    assert blob_baseline([(image, truth)], [], 2, seed=0) == []


def test_a_class_without_a_box_is_never_said():
    train = [picture(i, blobs=(4, 0)) for i in range(10)]
    found = blob_baseline(train, [picture(100)[0]], 2, seed=0)
    assert set(found[0].labels.tolist()) == {0}


def test_pictures_of_another_kind_are_refused():
    image, truth = picture(0)
    with pytest.raises(DataError, match=r"images differ in axes or channels: expected as \(3, 120, 140\), got \(1, 120, 140\)"):
        blob_baseline([(image, truth)], [image[:1]], 2, seed=0)


@pytest.mark.slow
def test_two_hundred_pictures_take_seconds():
    cases = [picture(i, (312, 416), blobs=(20, 10)) for i in range(20)]
    start = time.process_time()
    blob_baseline(cases * 5, [image for image, _ in cases] * 5, 2, seed=0)
    assert time.process_time() - start < 30


def test_helpers_make_what_they_say():
    image, truth = picture(1)
    y, x = (truth.boxes[0].reshape(2, 2).mean(0)).astype(int)
    assert len(truth) and abs(float(image[:, y, x].mean())) > 0.4 and len(found_of(truth.boxes, np.ones(len(truth)))) == len(truth)
