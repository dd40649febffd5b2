"""MONAI bundles: the same labels as MONAI's own chain of transforms, windows and inversion; nothing is evaluated."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vesalius.core.cohort import Source
from vesalius.errors import FormatError, OptionError
from vesalius.formats import open_study
from vesalius.mapping import TiledMapping, load
from vesalius.networks import build
from vesalius.stages.importing import import_monai_bundle, read_monai_bundle

LEAST_DICE = 0.999
ORIENT = {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"}
RANGE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True}
NORMAL = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}
UNIT = {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0}
UNET = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1, "norm": "batch",
}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 16], "sw_batch_size": "@size_of_batch", "overlap": 0.5, "mode": "gaussian"}


def inference(transforms: list[dict[str, Any]], network: dict[str, Any] = UNET, inferer: dict[str, Any] = WINDOWS, sigmoid: bool = False) -> dict[str, Any]:
    chain = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}, *transforms]
    last = {"_target_": "AsDiscreted", "keys": "pred"} | ({"threshold": 0.5} if sigmoid else {"argmax": True})
    after = [{"_target_": "Activationsd", "keys": "pred", "sigmoid" if sigmoid else "softmax": True}, {"_target_": "Invertd", "keys": "pred"}, last]
    return {
        "imports": ["$import os"], "image_key": "image", "size_of_batch": 2, "device": "$torch.device('cpu')", "network_def": network,
        "network": "$@network_def.to(@device)", "preprocessing": {"_target_": "Compose", "transforms": chain}, "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": after},
    }


def bundle(folder: Path, config: dict[str, Any], state: dict[str, Any] | None = None, names: dict[str, str] | None = None) -> Path:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    said = {"network_data_format": {"outputs": {"pred": {"channel_def": names or {"0": "background", "1": "near", "2": "far"}}}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(said))
    torch.save(theirs(config["network_def"]).state_dict() if state is None else state, folder / "models" / "model.pt")
    return folder


def theirs(stated: dict[str, Any]) -> torch.nn.Module:
    """MONAI's network with seeded weights whose answers vary from place to place."""
    import monai.networks.nets as nets

    torch.manual_seed(1)
    network = getattr(nets, stated["_target_"])(**{key: value for key, value in stated.items() if key != "_target_"})
    for parameter in network.parameters():
        parameter.data.mul_(1.5)
    return network.eval()


def volume(path: Path, channels: int = 1) -> Path:
    values = gaussian_filter(np.random.default_rng(0).standard_normal((44, 52, 30, channels)), (4, 4, 2, 0))
    values = (values / values.std() * 80 + 50).astype(np.float32)
    values[:6] = 0
    affine = np.array([[-1.1, 0, 0, 20], [0, 0.9, 0, -30], [0, 0, 1.6, 5], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(values[..., 0] if channels == 1 else values, affine), path)
    return path


def monai_labels(image: Path, transforms: list[dict[str, Any]], config: dict[str, Any], sigmoid: bool = False) -> np.ndarray:
    """MONAI's own way; labels or regions ``[K, x, y, z]``."""
    import monai.transforms as mt
    from monai.inferers import SlidingWindowInferer

    made = [getattr(mt, each["_target_"])(**{k: v for k, v in each.items() if k != "_target_"}) for each in transforms]
    chain = mt.Compose([mt.LoadImaged("image"), mt.EnsureChannelFirstd("image"), *made])
    facts = chain({"image": str(image)})
    given = {k: v for k, v in config["inferer"].items() if k not in ("_target_", "sw_batch_size")}
    with torch.no_grad():
        raw = SlidingWindowInferer(sw_batch_size=1, **given)(facts["image"][None].as_tensor(), theirs(config["network_def"]))[0]
    facts["pred"] = mt.Activations(sigmoid=True)(raw) if sigmoid else mt.Activations(softmax=True)(raw)
    back = mt.Invertd("pred", chain, orig_keys="image", nearest_interp=False, to_tensor=True)
    facts["pred"] = facts["image"].__class__(facts["pred"], meta=facts["image"].meta, applied_operations=facts["image"].applied_operations)
    p = back(facts)["pred"]
    return np.asarray(p > 0.5 if sigmoid else p.argmax(0, keepdim=True)).astype(np.uint8)


def dice(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [2 * float(((a == c) & (b == c)).sum()) / float((a == c).sum() + (b == c).sum()) for c in np.union1d(a, b) if c]


CASES = {
    "ct": ([ORIENT, SPACING, RANGE], UNET, WINDOWS, False),
    "whole-body": ([ORIENT, SPACING, NORMAL, UNIT], UNET, WINDOWS | {"overlap": 0.25, "mode": "constant"}, False),
    "mr-sigmoid": ([NORMAL], UNET, WINDOWS, True),
    "segresnet": ([{**ORIENT, "axcodes": "LPS"}, SPACING, {**RANGE, "clip": False}],
                  {"_target_": "SegResNet", "in_channels": 1, "out_channels": 3, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}, WINDOWS, False),
    "dynunet": ([ORIENT, {**SPACING, "pixdim": 1.5}, RANGE],
                {"_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "kernel_size": [3, 3, 3], "strides": [1, 2, 2],
                 "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}, WINDOWS, False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_labels_are_monais_own(tmp_path: Path, case: str) -> None:
    transforms, network, inferer, sigmoid = CASES[case]
    config = inference(transforms, network, inferer, sigmoid)
    image = volume(tmp_path / "case.nii.gz")
    names = {"0": "background", "1": "near", "2": "far"}
    mapping = load(import_monai_bundle(bundle(tmp_path / "bundle", config, names=names), tmp_path / "ours"))
    assert isinstance(mapping, TiledMapping) and mapping.output.target.exclusive is not sigmoid
    ours = mapping.segment(open_study(Source("nifti", str(image)))).labels.transpose(0, 3, 2, 1)
    own = [{**each, "keys": "image"} for each in transforms]
    expected = monai_labels(image, own, config, sigmoid)
    assert ours.shape == expected.shape and len(np.unique(expected)) > 1
    for mine, other in zip(ours, expected, strict=True):
        assert min(dice(mine, other)) >= LEAST_DICE


def test_names_come_from_the_metadata_or_are_numbered(tmp_path: Path) -> None:
    folder = bundle(tmp_path, inference([RANGE]))
    assert read_monai_bundle(folder).target.classes == ("near", "far")
    (folder / "configs" / "metadata.json").unlink()
    assert read_monai_bundle(folder).target.classes == ("structure 1", "structure 2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": "RandFlipd", "keys": "image"}, "the transform RandFlipd cannot be imported.*Orientationd, Spacingd.*got RandFlipd"),
        ({"_target_": "Lambdad", "keys": "image", "func": "$print"}, "the transform Lambdad cannot be imported"),
        ({**SPACING, "pixdim": "$[1, 1, 1]"}, r"Spacingd has an expression, which is not evaluated.*pixdim: \$\[1, 1, 1\]"),
        ({**SPACING, "mode": "nearest"}, "Spacingd cannot be imported as it is used here.*mode nearest"),
        ({**ORIENT, "axcodes": "RAR"}, "Orientationd cannot be imported as it is used here.*axcodes RAR"),
        ({**RANGE, "a_max": -57}, "ScaleIntensityRanged cannot be imported as it is used here.*a_max -57"),
        ({**UNIT, "minv": None}, "ScaleIntensityd cannot be imported as it is used here.*minv None"),
        ({**NORMAL, "subtrahend": 3}, "NormalizeIntensityd cannot be imported as it is used here.*'subtrahend': 3"),
    ],
)
def test_a_transform_that_cannot_be_imported_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_monai_bundle(bundle(tmp_path, inference([change])))


@pytest.mark.parametrize(
    ("chain", "message"),
    [([RANGE, SPACING], "a spacing after the intensities"), ([SPACING, ORIENT], "an orientation after a spacing"), ([RANGE, NORMAL], "a second scaling")],
)
def test_an_order_that_cannot_be_followed_is_refused(tmp_path: Path, chain: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_monai_bundle(bundle(tmp_path, inference(chain)))


def test_a_chain_over_several_channels_at_once_is_refused(tmp_path: Path) -> None:
    network = UNET | {"in_channels": 2}
    with pytest.raises(FormatError, match="channel_wise false for several channels"):
        read_monai_bundle(bundle(tmp_path, inference([{**NORMAL, "channel_wise": False}], network)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network_def", "_target_"), "monai.networks.nets.VNet", "not one of those that can be imported.*got VNet"),
        (("network_def", "channels"), "$[4, 8]", r"'network_def' is an expression, which is not evaluated.*\$\[4, 8\]"),
        (("network_def",), "$make()", "the configuration states no network"),
        (("inferer", "_target_"), "SimpleInferer", "the inferer cannot be imported.*got SimpleInferer"),
        (("inferer", "roi_size"), "$[3]", "tiles are not stated plainly"),
        (("inferer", "roi_size"), "@nowhere", "the configuration has no 'nowhere'"),
        (("preprocessing",), "$chain", "'preprocessing' is no chain of transforms"),
        (("postprocessing", "transforms"), [], "'postprocessing' does not say what the outputs are"),
    ],
)
def test_a_configuration_that_cannot_be_imported_says_why(tmp_path: Path, path: tuple[str, ...], value: object, message: str) -> None:
    config = copy.deepcopy(inference([RANGE]))
    folder = bundle(tmp_path, config)
    inner: Any = config
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match=message):
        read_monai_bundle(folder)


def test_weights_must_fit(tmp_path: Path) -> None:
    state = theirs(UNET).state_dict()
    first, *rest = state
    read_monai_bundle(bundle(tmp_path / "a", inference([RANGE]), {"model": state}))
    with pytest.raises(FormatError, match=f"weights are missing from the file.*{first}"):
        read_monai_bundle(bundle(tmp_path / "b", inference([RANGE]), {name: state[name] for name in rest}))
    with pytest.raises(FormatError, match="weights are not of the stated network.*got extra"):
        read_monai_bundle(bundle(tmp_path / "c", inference([RANGE]), state | {"extra": torch.zeros(1)}))
    with pytest.raises(FormatError, match="weights are of another shape than stated"):
        read_monai_bundle(bundle(tmp_path / "d", inference([RANGE]), state | {first: torch.zeros(1)}))


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = bundle(tmp_path, inference([RANGE]))
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(FormatError, match=r"no such checkpoint .*model\.pt"):
        read_monai_bundle(folder)
    config = folder / "configs" / "inference.json"
    config.rename(config.with_suffix(".yaml"))
    with pytest.raises(FormatError, match=r"states its inference in YAML.*expected inference\.json, got inference\.yaml; convert it to JSON"):
        read_monai_bundle(folder)
    config.with_suffix(".yaml").unlink()
    with pytest.raises(FormatError, match=r"the MONAI bundle has no inference\.json"):
        read_monai_bundle(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "VNet"}, "MONAI's network 'VNet' is not known here: expected one of UNet"),
        ({"arguments": {"chanels": [4, 8]}}, "MONAI's UNet has no argument 'chanels'"),
        ({"arguments": {"channels": [4], "strides": []}}, "MONAI cannot build UNet"),
        ({"arguments": {"channels": [4, 8, 8, 8, 8, 8], "strides": [2, 2, 2, 2, 2]}}, r"MONAI's UNet cannot read tiles of this size: got size \(24, 24\)"),
    ],
)
def test_an_impossible_network_of_monai_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build("monai-net", channels=1, n_out=2, size=(24, 24), **options)
