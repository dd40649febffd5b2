"""Engines of networks that detect: the same boxes as torch, for any batch; what cannot be exported runs in torch, with the reason."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from vesalius.errors import OptionError
from vesalius.networks import build
from vesalius.networks._engines import ENGINES
from vesalius.networks.backends import Backend, boxes_agree, built, fastest

DETECTORS: dict[str, dict[str, object]] = {
    "yolo-like": {"width": 8}, "faster-rcnn": {"width": 16, "hidden": 32, "n_proposals": 60, "backbone": "resnet18"}, "retinanet": {"width": 16},
}
PAIRS = [("yolo-like", 2), ("yolo-like", 3), ("faster-rcnn", 2), ("retinanet", 2), ("retinanet", 3)]
EXPORTED = ["onnxruntime", "openvino"]


def network(name: str, ndim: int) -> nn.Module:
    """With norms that know images, and heads far enough from nothing that boxes and classes depend on the image."""
    torch.manual_seed(0)
    made = build(name, channels=1, n_out=2, size=size(ndim), detects=True, **DETECTORS[name])
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.momentum = 1.0
        made.train()(images(4, ndim))
    return made.eval()


def size(ndim: int) -> tuple[int, ...]:
    return (64, 96) if ndim == 2 else (32, 32, 32)


def images(n: int, ndim: int) -> Tensor:
    return torch.randn(n, 1, *size(ndim), generator=torch.Generator().manual_seed(n))


def there(name: str) -> bool:
    return bool(find_spec("onnx") and find_spec(ENGINES[name][1]))


@pytest.mark.parametrize(("name", "ndim"), PAIRS)
@pytest.mark.parametrize("engine", EXPORTED)
def test_an_exported_detector_gives_the_same_boxes_for_any_batch(engine: str, name: str, ndim: int) -> None:
    if not there(engine):
        pytest.skip(f"{engine} is not installed")
    made = network(name, ndim)
    run = built(engine, made, channels=1, size=size(ndim), n_out=2, batch=2, threads=1, detects=True)
    for n in (1, 2, 3):
        x = images(n, ndim)
        with torch.no_grad():
            plain = made(x)
        raw = run(x)
        assert raw.shape == plain.shape and raw.dtype == torch.float32
        assert boxes_agree(raw, plain, 2) >= 0.98
        best = [case[:, 2 * ndim :].amax(1).sort(descending=True).values[:20] for case in (raw[0], plain[0])]
        assert torch.allclose(*best, atol=1e-2)


def test_an_answer_is_not_overwritten_by_the_next() -> None:
    if not there("openvino"):
        pytest.skip("openvino is not installed")
    run = built("openvino", network("yolo-like", 2), channels=1, size=size(2), n_out=2, threads=1, detects=True)
    first = run(images(1, 2))
    kept = first.clone()
    run(torch.zeros(1, 1, *size(2)))
    assert torch.equal(first, kept)


def test_the_fastest_that_finds_the_same_boxes_is_kept() -> None:
    made = network("yolo-like", 2)
    engine = fastest(made, channels=1, size=size(2), n_out=2, threads=1, detects=True, probe=images(1, 2))
    assert isinstance(engine, Backend) and engine.name == min(engine.seconds, key=lambda name: engine.seconds[name])
    assert engine.sentence.startswith(f"{engine.name}: 1 tile of 64x96 in ")
    with torch.no_grad():
        assert boxes_agree(engine(images(1, 2)), made(images(1, 2)), 2) >= 0.98


class NotExported(nn.Module):
    """Boxes with a step that no exporter knows."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
            raise NotImplementedError("no such step\nanywhere")
        out: Tensor = self.network(x)
        return out


def test_what_cannot_be_exported_runs_in_torch_and_the_reason_is_said() -> None:
    if not there("onnxruntime"):
        pytest.skip("onnxruntime is not installed")
    engine = fastest(NotExported(network("yolo-like", 2)), channels=1, size=size(2), n_out=2, detects=True, only=["onnxruntime"])
    assert engine.name == "torch"
    assert "onnxruntime cannot run it (" in engine.sentence and "no such step" in engine.sentence


class Noisy(nn.Module):
    """Another answer each time, as an engine that is wrong would give."""

    def forward(self, x: Tensor) -> Tensor:
        low = torch.rand(len(x), 50, 2) * 50
        return torch.cat([low, low + 10, torch.randn(len(x), 50, 2) + x.mean()], -1)


def test_an_engine_with_other_boxes_is_refused() -> None:
    engine = fastest(Noisy(), channels=1, size=size(2), n_out=2, detects=True, only=["torch bf16"])
    assert engine.name == "torch"
    assert "torch bf16 refused: its boxes agree in" in engine.sentence and "at least 98.0% are asked for" in engine.sentence


def test_a_network_that_gives_no_boxes_is_refused() -> None:
    with pytest.raises(OptionError, match=r"the network gives another shape than stated: expected \(1, 0, 6\), got \(1, 4, 64, 96\)"):
        fastest(nn.Conv2d(1, 4, 3, padding=1), channels=1, size=size(2), n_out=2, detects=True, only=[])
    with pytest.raises(OptionError, match=r"another shape than stated: expected \(1, 126, 7\), got \(1, 126, 6\)"):
        fastest(network("yolo-like", 2), channels=1, size=size(2), n_out=3, detects=True, only=[])


def test_boxes_agree_whatever_their_order_and_not_when_moved_or_of_another_class() -> None:
    low = torch.rand(2, 30, 3) * 40
    plain = torch.cat([low, low + 8, torch.randn(2, 30, 2)], -1)
    assert boxes_agree(plain[:, torch.randperm(30)], plain, 2) == 1.0
    assert boxes_agree(torch.cat([plain[..., :6] + 2, plain[..., 6:]], -1), plain, 2) < 0.1
    assert boxes_agree(torch.cat([plain[..., :6], plain[..., 6:] + 1.5], -1), plain, 2) < 0.5
    assert boxes_agree(torch.cat([plain[:, :, :6], plain[:, :, 6:].flip(-1)], -1), plain, 2) < 0.5
