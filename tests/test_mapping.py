"""A mapping: saved, loaded, the same in batch and alone, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vesalius
from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, RunError
from vesalius.kernels.calibrate import Calibrator
from vesalius.mapping import Mapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.predict import raw_values
from vesalius.transforms.reading import prepare


def made(size: tuple[int, ...] = (32, 32), members: int = 2, mirror: tuple[int, ...] = (1,)) -> Mapping:
    torch.manual_seed(0)
    plan = Plan().decide("network.name", "small-resnet", "test").decide("network.options", {"width": 8}, "test")
    networks = [build("small-resnet", channels=1, n_out=3, size=size, width=8) for _ in range(members)]
    for network in networks:
        for p in network.parameters():
            torch.nn.init.normal_(p, 0, 0.2)
    output = output_for(TargetSpec("multiclass", ("a", "b", "c")))
    output.calibrator = Calibrator("multiclass", "temperature", {"temperature": [1.7, 1.7, 1.7], "bias": [0.0, 0.1, 0.0]})
    return Mapping(Reads(size, mean=(0.4,), std=(0.2,)), networks, output, plan, mirror)


def studies(n: int = 6) -> list[Study]:
    source = np.random.default_rng(1)
    return [Study(source.integers(0, 256, (1, 30 + i, 40), np.uint8), Grid.plain((30 + i, 40)), source=str(i)) for i in range(n)]


def test_finding_lies_on_the_studys_own_grid_with_probabilities_that_sum_to_one():
    mapping = made()
    for study in studies():
        finding = mapping(study)
        assert finding.grid == study.grid
        assert sum(finding.scores.values()) == pytest.approx(1) and finding.probability == max(finding.scores.values())


def test_in_batch_and_alone_the_bits_are_the_same():
    mapping, given = made(), studies(20)
    prepared = np.stack([prepare(study, mapping.reads)[0] for study in given])
    together = raw_values(mapping, prepared, range(20), jobs=2)
    for i, study in enumerate(given):
        assert mapping(study).scores == mapping.output.decode(together[i], study).scores


def test_saved_and_loaded_in_a_new_process_the_bits_are_the_same(tmp_path):
    mapping = made()
    mapping.save(tmp_path / "model", "# card")
    image = studies(1)[0].image[0]
    Image.fromarray(image).save(tmp_path / "film.png")
    code = f"import json, vesalius; print(json.dumps(vesalius.load({str(tmp_path)!r})({str(tmp_path / 'film.png')!r}).scores))"
    source = str(Path(vesalius.__file__).parents[1])
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": source})
    assert json.loads(told.stdout) == mapping(tmp_path / "film.png").scores
    again = vesalius.load(tmp_path / "model")
    assert again.hash == mapping.hash and (tmp_path / "model" / "card.md").read_text() == "# card"


def test_mirror_images_are_averaged():
    plain, mirrored = made(mirror=()), made(mirror=(1,))
    x = torch.rand(1, 32, 32)
    expected = (plain.raw(x) + plain.raw(x.flip(2))) / 2
    np.testing.assert_allclose(mirrored.raw(x), expected, rtol=1e-5, atol=1e-5)


def test_missing_damaged_and_foreign_weights_are_told(tmp_path):
    with pytest.raises(RunError, match="there is no plan"):
        vesalius.load(tmp_path)
    mapping = made()
    mapping.save(tmp_path / "model")
    Plan.load(tmp_path / "model" / "plan.toml").decide("network.options", {"width": 16}, "").save(tmp_path / "model" / "plan.toml")
    with pytest.raises(RunError, match="not those of the planned network"):
        vesalius.load(tmp_path)
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(RunError, match="the weights file is damaged"):
        vesalius.load(tmp_path)
    (tmp_path / "model" / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="the model has no weights"):
        vesalius.load(tmp_path)


def test_a_folder_with_several_studies_is_not_one_study(tmp_path):
    for i in range(2):
        Image.fromarray(studies(1)[0].image[0]).save(tmp_path / f"{i}.png")
    with pytest.raises(DataError, match="not one study .*got 2 studies; use predict"):
        made()(tmp_path)


def test_the_number_of_threads_outside_is_left_as_it_was():
    before = torch.get_num_threads()
    made()(studies(1)[0])
    assert torch.get_num_threads() == before
