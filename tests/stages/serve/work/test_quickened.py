"""A quickened mapping answers as the mapping it was made from, judges as `stages.fitfor` does, and leaves the networks alone."""

import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from serving import model_in, pictures_in
from stages.fitfor.films import changed, film, model
from vesalius.core.cohort import Source
from vesalius.errors import DataError
from vesalius.formats import open_study
from vesalius.mapping import load
from vesalius.stages.fitfor import judge
from vesalius.stages.fitfor.features import network_features
from vesalius.stages.serve.work.heads import Head, last_layer
from vesalius.stages.serve.work.quick import Short
from vesalius.stages.serve.work.quickened import Quickened

CLOSE = 1e-5
NEAR = 1e-4


def studies_in(folder, n=20):
    return [open_study(Source("raster", str(path))) for path in pictures_in(folder, n)]


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
@pytest.mark.parametrize("engine", ["torch", pytest.param("onnxruntime", marks=pytest.mark.skipif(
    not (importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")), reason="onnxruntime is not installed"))])
def test_many_threads_get_the_answers_of_the_mapping(tmp_path, kind, engine):
    mapping = model_in(tmp_path / "run", kind=kind, members=2, mirror=(1,))
    fast = Quickened.of(mapping, engine=engine, threads=1, sizes=(1, 4))
    studies = studies_in(tmp_path / "films")
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda study: fast.raw(fast.encode(study)[0]), studies))
    for study, row in zip(studies, rows, strict=True):
        expected = mapping.raw(mapping.encode(study)[0])
        assert row.shape == expected.shape and np.allclose(row, expected, rtol=CLOSE, atol=CLOSE * max(1, float(np.abs(expected).max())))
        assert fast(study).label == mapping(study).label
    fast.batcher.close()


def test_features_are_those_that_fitness_is_judged_by_also_when_many_ask(tmp_path):
    mapping = model_in(tmp_path / "run")
    fast = Quickened.of(mapping, engine="torch", sizes=(1, 4))
    studies = studies_in(tmp_path / "films")
    expected = [network_features(mapping, study) for study in studies]
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda study: fast.parts(fast.batcher.submit(fast.encode(study)[0]).result())[1], studies))
    for row, wanted in zip(rows, expected, strict=True):
        assert wanted is not None and row is not None and np.allclose(row, wanted, rtol=NEAR, atol=NEAR * float(np.abs(wanted).max()))
    fast.batcher.close()


def test_networks_are_left_without_hooks(tmp_path):
    mapping = model_in(tmp_path / "run")
    Quickened.of(mapping, engine="torch").batcher.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for network in mapping.networks for module in network.modules())


def test_a_network_without_such_a_layer_has_raw_values_alone():
    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).mean(1, keepdim=True)

    class Plain:
        def predict(self, network, x):
            return network(x)

    assert last_layer(Mean(), Plain(), torch.zeros(1, 1, 4, 4)) == (None, 0)
    assert Head(Mean(), Plain())(torch.ones(2, 1, 4, 4)).tolist() == [[1.0], [1.0]]


@pytest.fixture
def short(tmp_path):
    fast = Quickened.of(model_in(tmp_path / "run"), engine="torch")
    yield Short.of("films", fast, None)
    fast.batcher.close()


def test_a_refused_picture_has_the_reasons_of_judge_and_no_answer_unless_it_is_forced(tmp_path):
    chest = model(tmp_path / "model")
    fast = Quickened.of(load(tmp_path / "model"), engine="torch")
    known = Short.of("chest", fast, None)
    for name, film_of in (("right", film(5000)), ("inverted", changed(film(5000), lambda x: 255 - x))):
        path = tmp_path / f"{name}.png"
        Image.fromarray(film_of.image[0]).save(path)
        expected = judge(chest, open_study(Source("raster", str(path))))
        made, forced = (known.end(known.begin([path]), "j", force) for force in (False, True))
        assert [each["code"] for each in made["refused"]] == [each.code for each in expected.reasons if each.refuses]
        assert forced["label"] in ("healthy", "ill") and forced["forced"] == (name == "inverted")
        assert (made["label"], made["probability"]) == (("", None) if name == "inverted" else (forced["label"], forced["probability"]))
    fast.batcher.close()


def test_judging_makes_no_pass_when_it_is_given_the_features(tmp_path, monkeypatch):
    chest, study = model(tmp_path / "model"), film(5000)
    features, expected = network_features(chest, study), judge(chest, study)
    monkeypatch.setattr(chest.output, "predict", lambda *_: pytest.fail("a pass was made"))
    assert judge(chest, study, features) == expected


def test_several_images_are_no_image(short, tmp_path):
    with pytest.raises(DataError):
        short.begin(pictures_in(tmp_path / "films", 2))


def test_seconds_are_told(short, tmp_path):
    start = time.perf_counter()
    made = short.end(short.begin(pictures_in(tmp_path / "films", 1)), "j", False)
    assert 0 < made["seconds"]["open"] + made["seconds"]["predict"] <= time.perf_counter() - start + 0.01
