"""Engines: the fastest that agrees is kept, any batch works, absent or failing engines are said."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import vesalius.networks.backends as backends
from vesalius.errors import OptionError
from vesalius.networks._engines import ENGINES, Run, Tiles, export_onnx
from vesalius.networks.backends import Backend, built, fastest, names


class Tiny(nn.Module):
    """Down, up and a skip, with the layers that dense networks are made of."""

    def __init__(self, ndim: int, n_out: int = 3) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[ndim - 2]
        up = (nn.ConvTranspose2d, nn.ConvTranspose3d)[ndim - 2]
        norm = (nn.InstanceNorm2d, nn.InstanceNorm3d)[ndim - 2]
        self.enter = nn.Sequential(conv(2, 8, 3, padding=1), norm(8, affine=True), nn.LeakyReLU(inplace=True))
        self.down, self.up, self.head = conv(8, 12, 2, 2), up(12, 8, 2, 2), conv(16, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.enter(x)
        return self.head(torch.cat([fine, self.up(self.down(fine))], 1)) * 5


def network(ndim: int, n_out: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return Tiny(ndim, n_out)


def chosen(name: str, ndim: int, agreement: float = 0.9) -> Backend:
    """The engine of that name, built as `fastest` builds it, whatever its speed."""
    net = network(ndim).eval()
    size = (16, 24, 16)[:ndim]
    tiles = Tiles(2, 2, size, 3, 1, torch.device("cpu"))
    contest = backends._Contest(net, tiles, backends._probe(tiles, None), backends._largest, agreement)
    contest.enter("torch")
    if name != "torch":
        contest.best, contest.run, contest.seconds = "", None, {}
        contest.enter(name)
    assert name in contest.seconds, contest.said
    return contest.winner()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", names("cpu"))
def test_every_engine_gives_what_torch_gives_for_any_batch(name: str, ndim: int) -> None:
    package = ENGINES[name][1]
    if package and not (find_spec(package) and find_spec("onnx")):
        pytest.skip(f"{package} is not installed")
    engine, net = chosen(name, ndim), network(ndim).eval()
    for n in (1, 2, 5):
        x = torch.randn(n, 2, *(16, 24, 16)[:ndim], generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            plain = net(x)
        raw = engine(x)
        assert raw.dtype == torch.float32 and raw.shape == plain.shape
        assert (raw - plain).abs().max() < (0.3 if "16" in name else 1e-3)


def test_an_answer_is_not_overwritten_by_the_next() -> None:
    if not (find_spec("openvino") and find_spec("onnx")):
        pytest.skip("openvino is not installed")
    engine = chosen("openvino", 2)
    first = engine(torch.zeros(2, 2, 16, 24))
    kept = first.clone()
    engine(torch.ones(2, 2, 16, 24))
    assert torch.equal(first, kept)


def test_the_fastest_is_kept_and_what_was_measured_is_said() -> None:
    net = network(2)
    weights = copy.deepcopy(net.state_dict())
    engine = fastest(net, channels=2, size=(16, 24), n_out=3, batch=2, threads=1, agreement=0.9)
    assert engine.name == min(engine.seconds, key=lambda name: engine.seconds[name])
    assert "torch" in engine.seconds
    assert engine.sentence.startswith(f"{engine.name}: 2 tiles of 16x24 in ")
    assert all(name in engine.sentence for name in engine.seconds)
    assert not net.training
    assert all(torch.equal(each, weights[name]) for name, each in net.state_dict().items())


def test_a_shorter_format_whose_labels_differ_is_refused() -> None:
    engine = fastest(network(2), channels=2, size=(16, 24), n_out=3, agreement=1.0, only=["torch bf16"])
    assert engine.name == "torch"
    assert "torch bf16 refused: its labels agree in" in engine.sentence
    assert "at least 100.0% are asked for" in engine.sentence


def test_engines_that_are_not_installed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    engine = fastest(network(2), channels=2, size=(16, 24), n_out=3, agreement=0.9)
    assert "openvino not installed" in engine.sentence
    assert "onnxruntime not installed" in engine.sentence
    assert engine.name.startswith("torch")


def test_an_engine_that_cannot_run_the_network_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: object) -> Run:
        raise NotImplementedError("such a layer")

    monkeypatch.setitem(ENGINES, "torch bf16", (("cpu",), "", broken))
    engine = fastest(network(2), channels=2, size=(16, 24), n_out=3, only=["torch bf16"])
    assert engine.name == "torch"
    assert "torch bf16 cannot run it (NotImplementedError: such a layer)" in engine.sentence


def test_without_time_torch_is_taken() -> None:
    engine = fastest(network(2), channels=2, size=(16, 24), n_out=3, seconds=0)
    assert engine.name == "torch"
    assert "openvino not tried for want of time" in engine.sentence


def test_one_class_is_decided_by_its_sign() -> None:
    engine = fastest(network(2, n_out=1), channels=2, size=(16, 24), n_out=1, only=[], probe=torch.randn(1, 2, 16, 24))
    assert engine(torch.zeros(1, 2, 16, 24)).shape == (1, 1, 16, 24)


def test_the_finest_of_several_outputs_is_exported() -> None:
    onnx = pytest.importorskip("onnx")

    class Several(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x * 2, x[..., ::2, ::2]]

    model = onnx.load_from_string(export_onnx(Several(), torch.zeros(1, 1, 8, 8)))
    assert [out.name for out in model.graph.output] == ["y"]
    assert fastest(Several(), channels=1, size=(8, 8), n_out=1, only=[])(torch.ones(1, 1, 8, 8)).max() == 2


def test_an_unknown_engine_is_answered_with_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown backend 'openvin'.*openvino"):
        fastest(network(2), channels=2, size=(16, 24), n_out=3, only=["openvin"])


def test_an_engine_can_be_built_by_its_name() -> None:
    net, x = network(2), torch.randn(3, 2, 16, 24)
    engine = built("torch channels-last", net, channels=2, size=(16, 24), n_out=3, batch=2)
    assert engine.sentence == "torch channels-last: as it was asked for"
    with torch.no_grad():
        assert torch.allclose(engine(x), net(x), atol=1e-4)
    with pytest.raises(OptionError, match="unknown backend 'tensor'"):
        built("tensor", net, channels=2, size=(16, 24), n_out=3)


def test_the_exported_model_is_kept_and_read_again(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    net, x, file = network(2), torch.randn(1, 2, 16, 24), tmp_path / "model.onnx"
    shape = {"channels": 2, "size": (16, 24), "n_out": 3}
    fastest(net, **shape, only=["onnxruntime"], file=file)
    written = file.stat().st_mtime_ns
    raw = built("onnxruntime", network(2, n_out=3), **shape, file=file)(x)
    assert file.stat().st_mtime_ns == written
    with torch.no_grad():
        assert torch.allclose(raw, net(x), atol=1e-4)


def test_an_engine_that_is_not_installed_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="the backend 'openvino' is not installed: expected the packages onnx and openvino; pip install"):
        built("openvino", network(2), channels=2, size=(16, 24), n_out=3)


def test_a_probe_of_another_size_is_refused() -> None:
    with pytest.raises(OptionError, match=r"the probe is not a tile: expected \[B, 2, 16, 24\], got \(1, 2, 8, 8\)"):
        fastest(network(2), channels=2, size=(16, 24), n_out=3, probe=torch.zeros(1, 2, 8, 8))


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(OptionError, match=r"the network gives another shape than stated: expected \(1, 5, 16, 24\), got \(1, 3, 16, 24\)"):
        fastest(network(2), channels=2, size=(16, 24), n_out=5)


def test_a_network_without_numbers_is_refused() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float("nan")

    with pytest.raises(OptionError, match="the network gives values that are no numbers; check its weights and the probe"):
        fastest(Nothing(), channels=1, size=(8, 8), n_out=1, only=[])


@pytest.mark.gpu
def test_on_a_gpu_torch_alone_competes() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    engine = fastest(network(3).cuda(), channels=2, size=(16, 24, 16), n_out=3, agreement=0.9)
    assert engine.name in names("cuda") and "openvino" not in engine.sentence
    assert engine(torch.zeros(3, 2, 16, 24, 16)).device.type == "cuda"
