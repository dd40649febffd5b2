"""Labels of imported nnU-Net models against nnU-Net's own prediction, on models and volumes made here or given.

    python benchmarks/nnunet_import.py --nnunet-python /path/to/a/python/with/nnunetv2
    python benchmarks/nnunet_import.py --nnunet-python ... --model FOLDER --image case_0000.nii.gz [--image case_0001.nii.gz]

Without a model, small ones are trained for seconds: their structures are bands of a smooth field, seen through noise. Each is written as
a folder of nnU-Net, which nnU-Net opens strictly. Dice per class, time and peak memory of both are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.formats import open_study
from vesalius.mapping import TiledMapping
from vesalius.networks import build
from vesalius.stages.importing._nnunet_network import foreign_name
from vesalius.stages.importing.nnunet import import_nnunet

THEIRS = """
import json, resource, sys, time, numpy as np, torch
torch.set_num_threads(int(sys.argv[4]))
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
predictor.initialize_from_trained_model_folder(sys.argv[1], None, "checkpoint_final.pth")
image, facts = predictor.plans_manager.image_reader_writer_class().read_images(sys.argv[3].split(","))
start = time.perf_counter()
labels = predictor.predict_single_npy_array(image, facts, None, None, False)
spent = time.perf_counter() - start
predictor.plans_manager.image_reader_writer_class().write_seg(labels, sys.argv[2], facts)
print(json.dumps({"seconds": spent, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def theirs(python: str, model: Path, images: list[Path], folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """nnU-Net's own labels, on one process and one thread."""
    out = folder / "theirs.nii.gz"
    environment = {**os.environ, "nnUNet_raw": str(folder), "nnUNet_preprocessed": str(folder), "nnUNet_results": str(folder), "nnUNet_def_n_proc": "1"}
    command = [python, "-c", THEIRS, str(model), str(out), ",".join(map(str, images)), "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return open_study(Source("nifti", str(out))).image[0], json.loads(done.stdout.strip().splitlines()[-1])


def ours(model: Path, images: list[Path], folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Labels of the imported model, on one thread."""
    torch.set_num_threads(1)
    mapping = TiledMapping.load(import_nnunet(model, folder / f"{model.name}_ours"))
    studies = [open_study(Source("nifti", str(path))) for path in images]
    study = Study(np.concatenate([each.image for each in studies]), studies[0].grid, bits=studies[0].bits)
    start = time.perf_counter()
    labels = label_map(mapping.segment(study).labels, mapping.output.facts.get("region_order", ()))
    return labels, {"seconds": time.perf_counter() - start, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def label_map(whole: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Planes as one label map, overlapping regions written in nnU-Net's order."""
    if not order:
        return whole[0]
    labels = np.zeros(whole.shape[1:], np.uint8)
    for plane, number in zip(whole, order, strict=True):
        labels[plane > 0] = number
    return labels


def dice(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    return {str(c): round(float(2 * ((a == c) & (b == c)).sum() / ((a == c).sum() + (b == c).sum())), 5) for c in np.union1d(a, b) if c}


def field(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A smooth field of mean 0 and standard deviation 1."""
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), [min(n / 8, 6) for n in shape])
    return (values - values.mean()) / values.std()


def trained(kind: str, options: dict[str, Any], channels: int, n_out: int, size: tuple[int, ...], steps: int) -> torch.nn.Module:
    """A network that finds the bands of a field in the field and noise."""
    torch.manual_seed(0)
    network = build(kind, channels=channels, n_out=n_out, size=size, **options)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        fields = np.stack([field(size, 2 * step + i) for i in range(2)])
        x = torch.from_numpy(fields[:, None] + 0.1 * np.random.default_rng(step).standard_normal((2, channels, *size))).float()
        bands = torch.from_numpy(np.digitize(fields, np.linspace(-0.5, 1.2, n_out if n_out > 2 else 2)[: n_out - 1] if n_out > 1 else [0.5]))
        loss = torch.nn.functional.cross_entropy(network(x), bands)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def plans_of(kind: str, reader: str, settings: dict[str, Any], transpose: list[int], channels: int) -> dict[str, Any]:
    figures = {"mean": 100.0, "std": 50.0, "percentile_00_5": -60.0, "percentile_99_5": 260.0, "max": 1.0, "min": 0.0, "median": 0.0}
    return {
        "dataset_name": "Dataset999_Fields", "plans_name": "nnUNetPlans", "image_reader_writer": reader, "transpose_forward": transpose,
        "transpose_backward": [int(i) for i in np.argsort(transpose)], "label_manager": "LabelManager", "configurations": {kind: settings},
        "foreground_intensity_properties_per_channel": {str(i): figures for i in range(channels)},
    }


def settings_of(name: str, patch: list[int], spacing: list[float], scheme: str, masked: bool, options: dict[str, Any], channels: int) -> dict[str, Any]:
    ndim, n = len(patch), len(options["width"])
    convs = {"n_conv_per_stage": options.get("convs")} if name == "PlainConvUNet" else {"n_blocks_per_stage": options["blocks"]}
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "patch_size": patch, "spacing": spacing,
        "normalization_schemes": [scheme] * channels, "use_mask_for_norm": [masked] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1}, "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": {
                "n_stages": n, "features_per_stage": options["width"], "conv_op": f"torch.nn.modules.conv.Conv{ndim}d", "kernel_sizes": options["kernels"],
                "strides": options["strides"], **convs, "n_conv_per_stage_decoder": options["convs_up"], "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d", "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None,
                "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }


def written(folder: Path, kind: str, plans: dict[str, Any], labels: dict[str, Any], networks: list[torch.nn.Module], channels: int, mirror: Any) -> Path:
    """A folder as nnU-Net writes it, with second names of layers and the heads of deep supervision."""
    folder.mkdir()
    (folder / "plans.json").write_text(json.dumps(plans))
    dataset = {"channel_names": {str(i): f"c{i}" for i in range(channels)}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    if any(isinstance(value, list) for value in labels.values()):
        dataset["regions_class_order"] = list(range(1, len(labels)))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold, network in enumerate(networks):
        state = network.state_dict()
        levels, residual = len(network.encoder), hasattr(network.encoder[0][-1], "conv1")
        weights: dict[str, torch.Tensor] = {}
        for name, value in state.items():
            known = {"encoder.stem.convs.0.conv.weight"} if residual else set()
            foreign = foreign_name(name, levels, known)
            if ".skip.0." in foreign and int(name.split(".")[1]) > 0:
                foreign = foreign.replace(".skip.0.", ".skip.1.")
            again = foreign.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
            names = {foreign, again}
            weights |= dict.fromkeys(names | {f"decoder.{each}" for each in names if each.startswith("encoder.")}, value)
        for level in range(levels - 2):
            wide = state[f"up.{levels - 2 - level}.weight"].shape[1]
            head = state["heads.0.weight"]
            weights |= {f"decoder.seg_layers.{level}.weight": head.new_zeros(len(head), wide, *head.shape[2:]),
                        f"decoder.seg_layers.{level}.bias": head.new_zeros(len(head))}
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": weights, "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": mirror, "_best_ema": np.float64(0.5),
            "init_args": {"plans": plans, "configuration": kind, "fold": fold, "dataset_json": dataset}, "current_epoch": 1, "optimizer_state": {},
            "logging": {"ema_fg_dice": [np.float32(0.5)]}, "grad_scaler_state": None,
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def volume(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], seed: int, *, ct: bool = False, brain: bool = False) -> Path:
    """A field with noise as NIfTI ``(x, y, z)``, in HU or with a border of zeros, on a flipped and slanted grid."""
    values = field(shape, seed) + 0.1 * np.random.default_rng(seed + 1000).standard_normal(shape)
    values = values * 60 + 100 if ct else values * 200 + 900
    if brain:
        place = np.stack(np.meshgrid(*[np.linspace(-1.3, 1.3, n) for n in shape], indexing="ij"))
        values[(place**2).sum(0) > 1.2] = 0
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (30, -40, 5)
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


PLAIN = {"width": [8, 16, 32], "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "kernels": [[3, 3, 3]] * 3, "convs": [2, 2, 2], "convs_up": [2, 2]}
THICK = {
    "width": [8, 16, 32], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "convs": [2, 2, 2], "convs_up": [2, 2],
}
RESIDUAL = {"width": [8, 16, 32], "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "kernels": [[3, 3, 3]] * 3, "blocks": [1, 2, 2], "convs_up": [1, 1]}
FLAT = {"width": [8, 16, 32], "strides": [[1, 1], [2, 2], [2, 2]], "kernels": [[3, 3]] * 3, "convs": [2, 2, 2], "convs_up": [2, 2]}
LABELS = {"background": 0, "low": 1, "middle": 2, "high": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "centre": [3]}


def cases(folder: Path, steps: int) -> list[tuple[str, Path, list[Path]]]:
    """Models and volumes: CT resampled; MR cropped with masked norm, two channels, two folds, residual; thick slices; 2-D; regions."""
    made = []

    def add(name: str, kind: str, network: str, options: dict[str, Any], patch: list[int], spacing: list[float], scheme: str, shape: tuple[int, ...],
            voxel: tuple[float, ...], *, channels: int = 1, masked: bool = False, folds: int = 1, labels: dict[str, Any] = LABELS,
            transpose: list[int] = [0, 1, 2], reader: str = "SimpleITKIO", mirror: Any = (0, 1, 2)) -> None:  # noqa: B006
        n_out = len(labels) - any(isinstance(value, list) for value in labels.values())
        ours_kind = "unet" if network == "PlainConvUNet" else "residual-unet"
        networks = [trained(ours_kind, options | {"bias": True}, channels, n_out, tuple(patch), steps + i) for i in range(folds)]
        plans = plans_of(kind, reader, settings_of(network, patch, spacing, scheme, masked, options, channels), transpose, channels)
        model = written(folder / name, kind, plans, labels, networks, channels, mirror)
        paths = [volume(folder / f"{name}_{i:04d}.nii.gz", shape, voxel, 77, ct="CT" in scheme, brain=masked) for i in range(channels)]
        made.append((name, model, paths))

    add("ct", "3d_fullres", "PlainConvUNet", PLAIN, [32, 32, 32], [1.0, 1.0, 1.0], "CTNormalization", (70, 64, 48), (0.8, 0.8, 1.25))
    add("mr-masked-residual", "3d_fullres", "ResidualEncoderUNet", RESIDUAL, [32, 32, 32], [1.0, 1.0, 1.0], "ZScoreNormalization", (60, 64, 56),
        (1.1, 0.9, 1.0), channels=2, masked=True, folds=2, transpose=[1, 0, 2])
    add("thick", "3d_fullres", "PlainConvUNet", THICK, [16, 32, 32], [5.0, 1.0, 1.0], "ZScoreNormalization", (60, 60, 20), (0.8, 0.8, 6.0))
    add("flat", "2d", "PlainConvUNet", FLAT, [32, 32], [1.0, 1.0], "ZScoreNormalization", (60, 60, 12), (0.8, 0.8, 4.0), mirror=(0, 1))
    add("regions", "3d_fullres", "PlainConvUNet", PLAIN, [32, 32, 32], [1.0, 1.0, 1.0], "RescaleTo01Normalization", (40, 64, 48), (1.0, 1.0, 1.0),
        labels=REGIONS, reader="NibabelIOWithReorient", mirror=None)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--image", type=Path, action="append", default=[])
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        todo = [("given", given.model, given.image)] if given.model else cases(folder, given.steps)
        for name, model, images in todo:
            other, cost_theirs = theirs(given.nnunet_python, model, images, folder)
            labels, cost_ours = ours(model, images, folder)
            row = {"case": name, "dice": dice(other, labels), "same": float((other == labels).mean()), "nnunet": cost_theirs, "ours": cost_ours}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
