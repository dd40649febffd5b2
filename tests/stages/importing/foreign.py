"""A trained-model folder as nnU-Net writes it, made by hand: names and order of layers as its own, weights drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

WIDTHS, STRIDES, KERNELS = [4, 8, 8], [[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
LABELS: dict[str, Any] = {"background": 0, "front": 2, "back": 1}
State = dict[str, torch.Tensor]


class Drawn(State):
    """Weights entered one by one from a seeded stream."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def put(self, name: str, *shape: int) -> None:
        self[name] = 0.3 * torch.randn(shape, generator=self.generator) + (1.0 if name.endswith("norm.weight") else 0.0)

    def block(self, name: str, before: int, after: int, kernel: list[int], bias: bool = True) -> None:
        self.put(f"{name}.conv.weight", after, before, *kernel)
        for part in ("conv.bias", "norm.weight", "norm.bias"):
            if bias or part != "conv.bias":
                self.put(f"{name}.{part}", after)
        for i, part in enumerate(("conv", "norm")):
            again = {f"{name}.all_modules.{i}.{what}": f"{name}.{part}.{what}" for what in ("weight", "bias")}
            self.update({second: self[first] for second, first in again.items() if first in self})

    def encoder(self, s: int, before: int, residual: bool) -> None:
        width, kernel = WIDTHS[s], KERNELS[s]
        for i in range(2):
            first = before if i == 0 else width
            if not residual:
                self.block(f"encoder.stages.{s}.0.convs.{i}", first, width, kernel)
                continue
            self.block(f"encoder.stages.{s}.blocks.{i}.conv1", first, width, kernel)
            self.block(f"encoder.stages.{s}.blocks.{i}.conv2", width, width, kernel)
            if first != width:
                self.block(f"encoder.stages.{s}.blocks.{i}.skip.{int(max(STRIDES[s]) > 1)}", first, width, [1, 1, 1], bias=False)

    def decoder(self, d: int, n_out: int) -> None:
        below, width = WIDTHS[2 - d], WIDTHS[1 - d]
        self.put(f"decoder.transpconvs.{d}.weight", below, width, *STRIDES[2 - d])
        self.put(f"decoder.transpconvs.{d}.bias", width)
        self.block(f"decoder.stages.{d}.convs.0", 2 * width, width, KERNELS[1 - d])
        self.put(f"decoder.seg_layers.{d}.weight", n_out, width, 1, 1, 1)
        self[f"decoder.seg_layers.{d}.bias"] = torch.zeros(n_out)


def drawn_state(n_out: int = 3, channels: int = 1, residual: bool = False, seed: int = 0) -> State:
    """Weights under nnU-Net's names, with the second names of each layer and the heads of deep supervision."""
    state, before = Drawn(seed), channels
    if residual:
        state.block("encoder.stem.convs.0", channels, WIDTHS[0], KERNELS[0])
        before = WIDTHS[0]
    for s, width in enumerate(WIDTHS):
        state.encoder(s, before, residual)
        before = width
    state.update({f"decoder.{name}": value for name, value in state.items()})
    for d in range(2):
        state.decoder(d, n_out)
    return dict(state)


def computed(state: State, x: torch.Tensor, residual: bool = False) -> torch.Tensor:
    """What nnU-Net's network with these weights gives, layer by layer as its paper says; float32 ``[B, n_out, …]``."""

    def conv(name: str, x: torch.Tensor, stride: list[int] | int = 1, active: bool = True) -> torch.Tensor:
        weight = state[f"{name}.conv.weight"]
        x = F.conv3d(x, weight, state.get(f"{name}.conv.bias"), stride, [k // 2 for k in weight.shape[2:]])
        x = F.instance_norm(x, weight=state[f"{name}.norm.weight"], bias=state[f"{name}.norm.bias"])
        return F.leaky_relu(x, 0.01) if active else x

    maps = []
    x = conv("encoder.stem.convs.0", x) if residual else x
    for s, stride in enumerate(STRIDES):
        for i in range(2):
            step: list[int] | int = stride if i == 0 else 1
            if not residual:
                x = conv(f"encoder.stages.{s}.0.convs.{i}", x, step)
                continue
            name = f"encoder.stages.{s}.blocks.{i}"
            short = F.avg_pool3d(x, step, step) if i == 0 and max(stride) > 1 else x
            for k in (0, 1):
                short = conv(f"{name}.skip.{k}", short, active=False) if f"{name}.skip.{k}.conv.weight" in state else short
            x = F.leaky_relu(conv(f"{name}.conv2", conv(f"{name}.conv1", x, step), active=False) + short, 0.01)
        maps.append(x)
    for d in range(2):
        x = F.conv_transpose3d(x, state[f"decoder.transpconvs.{d}.weight"], state[f"decoder.transpconvs.{d}.bias"], STRIDES[2 - d])
        x = conv(f"decoder.stages.{d}.convs.0", torch.cat((x, maps[1 - d]), 1))
    return F.conv3d(x, state["decoder.seg_layers.1.weight"], state["decoder.seg_layers.1.bias"])


def configuration(residual: bool = False, old: bool = False, channels: int = 1, **changes: Any) -> dict[str, Any]:
    """One configuration of plans.json; ``old`` as before nnU-Net 2.4."""
    name, count = ("ResidualEncoderUNet", "n_blocks_per_stage") if residual else ("PlainConvUNet", "n_conv_per_stage")
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    facts = {
        "preprocessor_name": "DefaultPreprocessor", "patch_size": [8, 16, 16], "spacing": [3.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * channels, "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling, "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
    }
    arguments = {
        "n_stages": 3, "features_per_stage": WIDTHS, "kernel_sizes": KERNELS, "strides": STRIDES, count: [2, 2, 2], "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}, "dropout_op": None,
    }
    if old:
        facts |= {
            "UNet_class_name": name, "UNet_base_num_features": 4, "unet_max_num_features": 8, "n_conv_per_stage_encoder": [2, 2, 2],
            "n_conv_per_stage_decoder": [1, 1], "conv_kernel_sizes": KERNELS, "pool_op_kernel_sizes": STRIDES, "num_pool_per_axis": [1, 2, 2],
        }
    else:
        facts["architecture"] = {"network_class_name": f"dynamic_network_architectures.architectures.unet.{name}", "arch_kwargs": arguments}
    return facts | changes


def nnunet_folder(
    folder: Path, states: list[State], *, settings: dict[str, Any] | None = None, labels: dict[str, Any] | None = None, channels: int = 1,
    plans: dict[str, Any] | None = None, dataset: dict[str, Any] | None = None, mirror: Any = (0, 2),
) -> Path:
    """Write the folder; a fold for each state."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"mean": 80.0, "std": 40.0, "percentile_00_5": -50.0, "percentile_99_5": 250.0}
    stated = {
        "dataset_name": "Dataset001_Two", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2],
        "configurations": {"3d_fullres": settings or configuration(channels=channels)},
        "foreground_intensity_properties_per_channel": {str(i): figures for i in range(channels)},
    }
    (folder / "plans.json").write_text(json.dumps(stated | (plans or {})))
    said = {"channel_names": {str(i): f"c{i}" for i in range(channels)}, "labels": labels or LABELS, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(said | (dataset or {})))
    for fold, state in enumerate(states):
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        checkpoint = {
            "network_weights": state, "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": mirror, "_best_ema": np.float64(0.7),
            "init_args": {"configuration": "3d_fullres", "fold": fold, "device": torch.device("cpu")}, "current_epoch": 3, "grad_scaler_state": None,
            "logging": {"dice_per_class_or_region": [[np.float32(0.5)]], "times": np.arange(3.0)},
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder
