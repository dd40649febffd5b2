"""Candidates to boxes to a finding: floor, suppression, calibration, operating points, counts, risk; and the figure of the training log."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from vesalius.core.boxes import Detected
from vesalius.core.finding import Boxes
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.kernels.calibrate import Calibrator
from vesalius.outputs import detect as module
from vesalius.outputs import output_for
from vesalius.outputs.base import Batch, Output
from vesalius.outputs.detect import FLOOR, Detect, truth_of

CLASSES = ("cell", "clump")
STUDY = Study(np.zeros((1, 40, 60), np.uint8), Grid.plain((40, 60), (0.5, 2.0)), source="a.png")
PLATT = Calibrator("multilabel", "temperature+bias", {"temperature": [2.0, 0.5], "bias": [-1.0, 1.0]})


def output(risk: str = "", **facts: object) -> Detect:
    made = output_for(TargetSpec("boxes", CLASSES, risk=risk))
    assert isinstance(made, Detect)
    made.facts.update(facts)
    return made


def raw(*rows: tuple[float, ...], pad: int = 2) -> np.ndarray:
    """Candidates; padded with raw values of -50 as networks do that suppress themselves."""
    width = len(rows[0])
    return np.array([*rows, *[(0.0,) * 4 + (-50.0,) * (width - 4)] * pad], np.float32)


def found(scores: list[float], labels: list[int]) -> Detected:
    boxes = np.array([[0, 10.0 * i, 4, 10 * i + 5] for i in range(len(scores))], np.float32)
    return Detected(boxes, np.array(labels), np.array(scores, np.float32), np.full(len(scores), np.nan, np.float32))


def test_the_task_is_found_by_its_kind() -> None:
    assert output().n_out == 2 and output("bad").n_out == 3 and Detect.reading == "boxes"


def test_candidates_are_above_the_floor_a_row_a_class_the_likeliest_first() -> None:
    made = output().candidates(raw((0, 0, 5, 5, 1.0, -9), (1, 1, 6, 6, 0.0, 3.0), (2, 2, 7, 7, -9, -9)), 2)
    assert made.scores.tolist() == pytest.approx(expit([3.0, 1.0, 0.0]).tolist()) and made.labels.tolist() == [1, 0, 0]
    assert made.boxes.tolist() == [[1, 1, 6, 6], [0, 0, 5, 5], [1, 1, 6, 6]] and np.isnan(made.risk).all()
    assert made.boxes.dtype == made.scores.dtype == np.float32 and made.labels.dtype == np.int64
    edge = math.log(FLOOR / (1 - FLOOR))
    assert len(output().candidates(raw((0, 0, 5, 5, edge + 1e-3, edge - 1e-3)), 2)) == 1
    assert len(output().candidates(raw((0, 0, 5, 5, edge - 1, -9)), 2, 0.0)) == 6
    assert len(output().candidates(raw((0, 0, 5, 5, -50, -50)), 2)) == 0


def test_candidates_of_volumes_and_their_risk() -> None:
    made = output("bad").candidates(np.array([[0, 1, 2, 3, 4, 5, 2.0, -9, -1.0]], np.float32), 3)
    assert made.boxes.tolist() == [[0, 1, 2, 3, 4, 5]] and made.risk.tolist() == pytest.approx([expit(-1.0)]) and made.labels.tolist() == [0]


def test_no_more_candidates_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CANDIDATES", 3)
    rows = [(0.0, 0, 5, 5, float(i), -9.0) for i in range(6)]
    assert output().candidates(raw(*rows), 2).scores.tolist() == pytest.approx(expit([5.0, 4.0, 3.0]).tolist())


def test_of_two_boxes_about_one_thing_the_likelier_is_kept_within_a_class() -> None:
    rows = raw((0, 0, 10, 10, 1.0, -9), (0, 0, 10, 11, 2.0, -9), (0, 0, 10, 10, -9, 0.5), (0, 8, 10, 18, 0.0, -9))
    made = output().thinned(output().candidates(rows, 2))
    assert made.boxes.tolist() == [[0, 0, 10, 11], [0, 0, 10, 10], [0, 8, 10, 18]] and made.labels.tolist() == [0, 1, 0]
    strict = output(overlap=0.1)
    assert strict.overlap == 0.1 and len(strict.thinned(strict.candidates(rows, 2))) == 2


def test_calibration_changes_scores_and_not_their_order_within_a_class() -> None:
    made = output()
    rng = np.random.default_rng(0)
    scores = np.sort(rng.uniform(0.001, 0.999, 60))[::-1].tolist()
    before = found(scores, rng.integers(0, 2, 60).tolist())
    assert made.calibrated(before) is before
    made.calibrator = PLATT
    after = made.calibrated(before)
    assert (np.diff(after.scores) <= 0).all() and not np.allclose(np.sort(after.scores), np.sort(before.scores), atol=0.05)
    for label in (0, 1):
        assert after.boxes[after.labels == label].tolist() == before.boxes[before.labels == label].tolist()
    expected = expit(np.log(before.scores / (1 - before.scores))[before.labels == 0] / 2 - 1)
    assert after.scores[after.labels == 0] == pytest.approx(expected, abs=1e-4)
    assert made.probabilities(np.zeros((1, 2))).tolist() == [pytest.approx([expit(-1.0), expit(1.0)])]
    assert output().probabilities(np.zeros((1, 2))).tolist() == [[0.5, 0.5]]


def test_calibration_of_certainty_and_of_nothing() -> None:
    made = output()
    made.calibrator = PLATT
    assert len(made.calibrated(Detected.empty(2))) == 0
    assert np.isfinite(made.calibrated(found([1.0, 0.0], [0, 1])).scores).all()


def test_the_operating_point_is_that_of_the_class() -> None:
    made = output(thresholds={"cell": 0.7, "clump": 0.2})
    assert made.thresholds().tolist() == [0.7, 0.2] and output().thresholds().tolist() == [0.5, 0.5]
    kept = made.above(found([0.9, 0.69, 0.3, 0.1], [0, 0, 1, 1]))
    assert kept.scores.tolist() == pytest.approx([0.9, 0.3]) and len(made.above(Detected.empty(2))) == 0
    assert output(thresholds={"cell": 0.7}).thresholds().tolist() == [0.7, 0.5]


def test_a_box_exactly_at_the_operating_point_is_kept() -> None:
    """The operating point is the score of a box of validation; as float32 it must not fall below itself."""
    for score in np.random.default_rng(0).random(200).astype(np.float32):
        assert len(output(thresholds={"cell": round(float(score), 6)}).above(found([float(score)], [0]))) == 1


def test_a_finding_counts_and_measures_in_mm() -> None:
    finding = output(thresholds={"cell": 0.5, "clump": 0.5}).finding(found([0.9, 0.8, 0.6, 0.4], [0, 0, 1, 1]), STUDY)
    (boxes,) = (item for item in finding.items if isinstance(item, Boxes))
    assert boxes.labels == ("cell", "cell", "clump") and boxes.scores == pytest.approx((0.9, 0.8, 0.6)) and boxes.risk == ()
    assert boxes.grid == finding.grid == STUDY.grid and finding.source == "a.png"
    assert finding.label == "cell|clump" and finding.probability == pytest.approx(0.9)
    assert finding.scores == pytest.approx({"cell.count": 2, "cell.surest": 0.9, "cell.median_mm": 10, "clump.count": 1, "clump.surest": 0.6,
                                            "clump.median_mm": 10})
    assert {item.unit for item in finding.items if not isinstance(item, Boxes)} == {"count", "probability", "mm"}


def test_a_finding_of_nothing_says_so_and_without_a_spacing_samples_count() -> None:
    nothing = output().finding(Detected.empty(2), STUDY)
    assert nothing.label == "" and nothing.probability is None and nothing.scores == {"cell.count": 0, "clump.count": 0}
    plain = output().finding(found([0.9], [1]), Study(np.zeros((1, 40, 60), np.uint8), Grid.plain((40, 60))))
    assert plain.scores["clump.median_pixel"] == 5 and plain.label == "clump"


def test_the_risk_of_each_box_is_in_the_finding() -> None:
    made = output("bad").decode(raw((0, 0, 10, 10, 3.0, -9, 1.0), (20, 20, 30, 30, 2.0, -9, -2.0)), STUDY)
    (boxes,) = (item for item in made.items if isinstance(item, Boxes))
    assert boxes.risk == pytest.approx((expit(1.0), expit(-2.0)))


def rows(*boxes: tuple[float, ...], ndim: int = 2) -> np.ndarray:
    """A batch of one case: boxes, padded."""
    return np.array([[*boxes, (0.0,) * (2 * ndim) + (-1.0, 0.0, 0.0)]], np.float32)


def test_the_truth_of_a_batch_is_read_back_without_padding() -> None:
    truth = truth_of(rows((1, 2, 3, 4, 1, 0, 1), (5, 6, 7, 8, 0, 1, np.nan))[0], 2)
    assert truth.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]] and truth.labels.tolist() == [1, 0] and truth.ignored.tolist() == [False, True]
    assert truth.risk[0] == 1 and np.isnan(truth.risk[1])


def test_the_figure_of_training_is_the_mean_average_precision() -> None:
    truth = rows((0, 0, 10, 10, 0, 0, np.nan), (20, 20, 30, 30, 1, 0, np.nan))
    right = raw((0, 0, 10, 10, 3.0, -9), (20, 20, 30, 30, -9, 3.0))[None]
    half = raw((0, 0, 10, 10, 3.0, -9), (20, 40, 30, 50, -9, 3.0))[None]
    assert output().figure(truth, right) == {"loss": pytest.approx(0), "score": pytest.approx(1)}
    assert output().figure(truth, half)["score"] == pytest.approx(0.5, abs=0.01)
    ignored = rows((0, 0, 10, 10, 0, 0, np.nan), (20, 20, 30, 30, 0, 1, np.nan))
    only = raw((0, 0, 10, 10, 3.0, -9), (20, 20, 30, 30, 4.0, -9))[None]
    assert output().figure(ignored, only)["score"] == pytest.approx(1)
    both = output().judge([(right, truth), (half, truth)])
    assert 0.5 < both["score"] < 1 and both["loss"] == pytest.approx(1 - both["score"])


def test_without_a_true_box_there_is_no_score() -> None:
    made = output().figure(np.full((1, 1, 7), -1, np.float32), raw((0, 0, 10, 10, 3.0, -9))[None])
    assert math.isnan(made["score"]) and made["loss"] == 1
    assert math.isnan(output().judge([])["score"])


def test_what_is_explained_is_the_strongest_candidate_and_gradients_reach_it() -> None:
    x = torch.tensor(raw((0, 0, 10, 10, 1.0, 5.0), (0, 0, 9, 9, 2.0, -3.0)))[None].requires_grad_()
    assert output().explained(x).tolist() == [5] and output().explained(x, 0).tolist() == [2]
    output().explained(x, 0).sum().backward()
    assert x.grad is not None and x.grad.nonzero().tolist() == [[0, 1, 4]]
    risky = torch.tensor(raw((0, 0, 10, 10, 1.0, 2.0, 9.0)))[None]
    assert output("bad").explained(risky).tolist() == [2]
    with pytest.raises(OptionError, match="there is no such class: expected 0 to 1, got 2"):
        output().explained(x, 2)


def test_written_down_and_read_back_it_is_the_same() -> None:
    made = output("bad", thresholds={"cell": 0.3, "clump": 0.6}, overlap=0.4)
    made.calibrator = PLATT
    again = Output.from_dict(made.to_dict())
    assert isinstance(again, Detect) and again.to_dict() == made.to_dict() and again.target == made.target
    before = found([0.9, 0.5, 0.4], [0, 1, 0])
    assert np.array_equal(again.calibrated(before).scores, made.calibrated(before).scores)
    assert again.thresholds().tolist() == [0.3, 0.6] and again.overlap == 0.4


def test_the_network_owns_its_loss_and_its_candidates() -> None:
    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor, truth: torch.Tensor | None = None) -> torch.Tensor:
            return x.double().sum((1, 2, 3)) if truth is None else truth.sum((1, 2))

    x, truth = torch.ones(2, 1, 4, 4), torch.ones(2, 1, 7)
    assert output().loss(Network(), Batch(x, truth)).tolist() == [7, 7]
    assert output().predict(Network(), x).dtype == torch.float32 and output().predict(Network(), x).tolist() == [16, 16]
