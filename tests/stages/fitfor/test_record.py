"""What is remembered: kept whole, read back the same, refused when damaged; few images, other networks, volumes, masks and boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save

from stages.fitfor.films import TARGET, changed, film, learnt, mapping, model, opened
from vesalius.core.finding import Finding, Score
from vesalius.core.geometry import Grid
from vesalius.core.reads import TileReads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import RunError
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.fitfor import RECORD, FitFor, judge, learn
from vesalius.stages.fitfor.features import any_way_up, network_features, watched
from vesalius.stages.fitfor.judge import measures
from vesalius.stages.fitfor.learn import learnt as remembered
from vesalius.stages.fitfor.outputs import outputs_of, outputs_of_run
from vesalius.stages.fitfor.store import _parts


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    learnt().save(tmp_path / "model")
    back = FitFor.load(tmp_path)
    assert back is not None and back.header == learnt().header and back.bounds == learnt().bounds and back.reference == learnt().reference
    assert back.gaussians["picture"].whiten == pytest.approx(learnt().gaussians["picture"].whiten, rel=1e-5)
    assert FitFor.load(tmp_path) is back and FitFor.load(tmp_path / "nowhere") is None and FitFor.load(None) is None
    assert b"film-" not in (tmp_path / "model" / RECORD).read_bytes()


@pytest.mark.parametrize(("content", "told"), [
    (b"nothing", "are damaged"), (save({"a": np.zeros(1)}, {"vesalius": "{}"}), "are damaged"),
    (save({"a": np.zeros(1)}, {"vesalius": json.dumps({"schema": 9})}), "have another schema.*expected 1, got 9"),
])
def test_a_damaged_record_is_one_clear_error(tmp_path: Path, content: bytes, told: str) -> None:
    made = model(tmp_path)
    (tmp_path / RECORD).write_bytes(content)
    with pytest.raises(RunError, match=f"the statistics of the model {told}"):
        judge(made, film(1))


def test_the_same_seed_remembers_the_same_and_the_bounds_hold_on_what_set_them() -> None:
    first, second = (learn(mapping(), opened(range(30)), opened(range(100, 115)), seed=3) for _ in range(2))
    assert first.bounds == second.bounds and first.facts == second.facts
    assert first.facts["n_train"] == 30 and first.facts["n_held"] == 15 and first.facts["refused_held"] == 0


def test_too_few_images_leave_only_what_the_files_say(tmp_path: Path) -> None:
    made = learn(mapping(), opened(range(20)), opened(range(100, 105)))
    assert made.facts["judged"] is False and not made.gaussians and made.header["words"]["modality"] == {"CR": 25}
    mapping().save(tmp_path)
    made.save(tmp_path)
    loaded = Mapping.load(tmp_path)
    assert not judge(loaded, film(1)).refused and judge(loaded, film(1, modality="CT")).refused


def test_no_more_time_than_given_is_taken_and_the_sample_is_said() -> None:
    made = learn(mapping(), opened(range(200)), opened(range(1000, 1200)), seconds=0.0)
    assert made.facts["n_train"] == made.facts["n_held"] == 8 and made.facts["judged"]


def test_what_moves_with_the_studies_an_alteration_that_cannot_be_told_is_not_watched() -> None:
    """Films that lie any way round have no upper side."""
    def turned(seed: int) -> Callable[[], Study]:
        rng = np.random.default_rng(seed)
        k = int(rng.integers(4))
        study = film(seed)
        image = np.rot90(study.image, k, (1, 2))
        return lambda: Study(np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image), study.grid)

    made = learn(mapping(), [turned(i) for i in range(80)], [turned(i) for i in range(500, 540)])
    assert not {"half-turn", "quarter-turn", "upside-down", "mirrored"} & set(made.directions)
    assert {"inverted", "noisy"} <= set(made.directions)


def volume(seed: int, kind: str = "own") -> Study:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in (20, 24, 24)), indexing="ij")
    image = 100 * ((z - 0.3) ** 2 + (y - 0.4) ** 2 + (x - 0.5) ** 2 < 0.05 * rng.uniform(0.9, 1.1)) + 30 * y + rng.normal(0, 3, z.shape)
    image = image if kind == "own" else rng.normal(0, 1, z.shape).cumsum(2)
    return Study(image[None].astype(np.float32), Grid.plain(z.shape, (2.0, 1.0, 1.0)), "MR")


def tiled(kind: str) -> Mapping:
    torch.manual_seed(0)
    if kind == "mask":
        target = TargetSpec("mask", ("lesion",), values=((1,),))
        reads = TileReads((16, 16, 16))
        return TiledMapping(reads, [build("small-unet", channels=1, n_out=2, size=reads.size)], output_for(target), Plan())
    reads = TileReads((32, 32, 32))
    return BoxedMapping(reads, [build("yolo-like", channels=1, n_out=1, size=reads.size, width=2)], output_for(TargetSpec("boxes", ("lesion",))), Plan())


@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_volumes_that_are_read_in_tiles_are_judged_too(kind: str) -> None:
    made = tiled(kind)
    record = learn(made, [lambda i=i: volume(i) for i in range(16)], [lambda i=i: volume(100 + i) for i in range(10)])  # type: ignore[misc]
    assert record.facts["distances"] == ["network", "picture"] and "inverted" in record.directions
    assert network_features(made, volume(1)) is not None
    judged = {name: _strange(record, made, study) for name, study in (("own", volume(500)), ("other", volume(1, "other")))}
    assert judged["own"] < 1 < judged["other"]
    assert not made.network._forward_hooks and not any(module._forward_hooks for module in made.network.modules())


def _strange(record: FitFor, made: Mapping, study: Study) -> float:
    from vesalius.stages.fitfor.features import view_of

    found = measures(record, view_of(study, made.reads), network_features(made, study))
    return max(record.bounds[name].strangeness(value) for name, value in found.items())


def test_no_hook_is_left_when_the_network_throws() -> None:
    network = mapping().network
    with pytest.raises(ValueError, match="thrown"), watched(network):
        raise ValueError("thrown")
    assert not any(module._forward_hooks for module in network.modules())


def test_answers_of_findings_are_those_of_the_tables(tmp_path: Path) -> None:
    grid = Grid.plain((4, 4))
    assert outputs_of(Finding("a", "ill", 0.7, grid, (Score("healthy", 0.3), Score("ill", 0.7))), TARGET) == {"answer.ill": 0.7}
    mask, boxes = TargetSpec("mask", ("liver",)), TargetSpec("boxes", ("cell",))
    assert outputs_of(Finding("a", "", None, grid, (Score("liver.size", 12.0),)), mask) == {"answer.liver": 12.0}
    assert outputs_of(Finding("a", "", None, grid, (Score("cell.count", 3.0),)), boxes) == {"answer.cell": 3.0}
    assert outputs_of_run(tmp_path, TARGET) == {}
    common = {"id": ["a", "b"], "split": ["validation", "test"]}
    pd.DataFrame(common | {"p_healthy": [0.2, 0.5], "p_ill": [0.8, 0.5]}).to_parquet(tmp_path / "predictions.parquet")
    assert outputs_of_run(tmp_path, TARGET) == {"a": {"answer.ill": 0.8}}
    pd.DataFrame(common | {"class": ["liver", "liver"], "size_predicted": [7.0, 9.0]}).to_parquet(tmp_path / "predictions.parquet")
    assert outputs_of_run(tmp_path, mask) == {"a": {"answer.liver": 7.0}}
    found = json.dumps([{"class": "cell", "score": 0.9}, {"class": "cell", "score": 0.2}])
    pd.DataFrame(common | {"found": [found, "[]"]}).to_parquet(tmp_path / "cases.parquet")
    (tmp_path / "metrics.json").write_text(json.dumps({"operating_point": {"cell": {"threshold": 0.4}}}))
    assert outputs_of_run(tmp_path, boxes) == {"a": {"answer.cell": 1.0}}


def test_where_the_network_was_trained_on_turned_pictures_a_turned_one_is_let_in(tmp_path: Path) -> None:
    made = mapping()
    made.plan = made.plan.decide("train.augment", {"rotate_deg": 180.0, "flip_axes": [0, 1]}, "a test")
    assert any_way_up(made) and not any_way_up(mapping())
    record = learn(made, opened(range(80)), opened(range(500, 540)))
    assert record.facts["any_way_up"] and set(record.directions) == {"inverted", "noisy", "blurred"}
    made.save(tmp_path)
    record.save(tmp_path)
    loaded = Mapping.load(tmp_path)
    turned = [changed(film(seed), lambda x: np.rot90(x, 2, (1, 2))) for seed in range(20)]
    assert sum("unlike" in {each.code for each in judge(loaded, study).reasons} for study in turned) <= 1
    assert all(judge(loaded, changed(film(seed), lambda x: 255 - x)).refused for seed in range(5))


def test_the_report_gets_the_images_that_are_most_unlike_and_the_model_does_not() -> None:
    odd = changed(film(1003), lambda x: x * 0.5 + 60)
    held = [*opened(range(1000, 1003)), lambda: odd, *opened(range(1004, 1040))]
    made = remembered(mapping(), opened(range(60)), held)
    assert set(made.distances) == set(range(40)) and max(made.distances, key=lambda place: made.distances[place]) == 3
    assert made.record.facts["refused_apart"] >= 1 and "distances" in made.record.facts and "fit_0" not in json.dumps(made.record.facts)


def test_with_folds_the_bounds_are_set_by_what_the_first_network_has_not_seen(tmp_path: Path) -> None:
    used = pd.DataFrame({"id": list("abcdef"), "split": ["train", "train", "train", "validation", "validation", "test"]})
    assert _parts(tmp_path, used) == (["a", "b", "c"], ["d", "e"])
    rows = {"id": list("abcdef"), "split": ["validation"] * 5 + ["test"], "fold": [0, 1, 1, 0, 1, -1]}
    pd.DataFrame(rows).to_parquet(tmp_path / "predictions.parquet")
    assert _parts(tmp_path, used) == (["b", "c", "e"], ["a", "d"])
