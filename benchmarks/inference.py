"""Reading one volume: ours against nnU-Net v2's predictor and against MONAI's sliding window, side by side.

    python benchmarks/inference.py [--image CT.nii.gz] [--nnunet-python PYTHON] [--classes 3 14] [--threads 1]
        [--shape 160 160 160] [--shape-out 240 240 240] [--size 96 96 96] [--features 32 64 128 256 320] [--teach 0]

The same weights (a plain U-Net with the layers of nnU-Net's, from a seed), the same prepared volume, overlap 0.5 and
Gaussian weights, no mirroring, the same number of threads. Each side runs in a process of its own, one after the other,
and its peak memory is that of its process with everything imported. Time is from the prepared volume to labels on the
original samples: tiles, blending, resampling, decision. For ours the engine is chosen beforehand in a process of its
own and the model exported, as it is once for a model; what that takes is shown. The labels are compared at the end.

``--nnunet-python``: an interpreter that can import nnunetv2 (2.8); without it that side is left out. ``--teach N`` trains
N steps first: a network with weights from a seed decides by a hair everywhere, which no trained one does (short number
formats are then refused). It is taught the organs of the volume, one ellipsoid a class with a grey value of its own in
uneven noise; on an ``--image``, whose organs nobody drew, bands of its smoothed intensity.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Sequential):
    """Two times convolution, instance norm, leaky ReLU; the first may step."""

    def __init__(self, c_in: int, c_out: int, step: int) -> None:
        layers: list[nn.Module] = []
        for c, s in ((c_in, step), (c_out, 1)):
            layers += [nn.Conv3d(c, c_out, 3, s, 1), nn.InstanceNorm3d(c_out, affine=True), nn.LeakyReLU(0.01, inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """The layers of nnU-Net's plain 3-D U-Net with two convolutions a stage."""

    def __init__(self, features: list[int], n_out: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairwise([1, *features])))
        pairs = list(pairwise(features[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose3d(a, b, 2, 2) for a, b in pairs)
        self.join = nn.ModuleList(Block(2 * b, b, 1) for _, b in pairs)
        self.head = nn.Conv3d(features[0], n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat((up(x), skip), 1))
        return self.head(x)


def network_of(folder: Path, facts: dict[str, Any]) -> nn.Module:
    network = UNet(facts["features"], facts["n_out"]).eval()
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return network


def prepare(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the volume and the weights that all sides read."""
    raw, truth = read_image(facts) if facts["image"] else organs(facts["shape"], facts["n_out"])
    x = ((raw - raw.mean()) / raw.std())[None].astype(np.float32)
    np.save(folder / "x.npy", x)
    torch.manual_seed(0)
    network = UNet(facts["features"], facts["n_out"])
    if facts["teach"]:
        teach(network, torch.from_numpy(x), torch.from_numpy(truth), facts)
    torch.save(network.state_dict(), folder / "weights.pt")
    return {}


def organs(shape: list[int], n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume with one ellipsoid a class (the later ones lie in front) in noise that is uneven like tissue, and its labels."""
    rng = np.random.default_rng(0)
    axes = [(np.arange(n, dtype=np.float32) + 0.5) / n for n in shape]
    truth = np.zeros(shape, np.int64)
    for k in range(1, n_out):
        middle, half = rng.uniform(0.15, 0.85, 3), rng.uniform(0.08, 0.2, 3)
        parts = [((axis - m) / h) ** 2 for axis, m, h in zip(axes, middle, half, strict=True)]
        truth[parts[0][:, None, None] + parts[1][:, None] + parts[2] < 1] = k
    grey = np.concatenate([[0.0], rng.permutation(np.linspace(-1, 1, n_out + 1)[np.linspace(-1, 1, n_out + 1) != 0][: n_out - 1])])
    coarse = torch.from_numpy(rng.normal(size=(1, 1, 12, 12, 12))).float()
    uneven = F.interpolate(coarse, tuple(shape), mode="trilinear")[0, 0].numpy()
    noise = rng.normal(size=shape).astype(np.float32)
    return grey[truth].astype(np.float32) + 0.02 * uneven + 0.05 * noise, truth


def read_image(facts: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The image at the shape that the network reads, and bands of its smoothed intensity."""
    import nibabel

    from vesalius.kernels.resample import resampled_image

    raw = np.asanyarray(nibabel.load(facts["image"]).dataobj, dtype=np.float32).transpose(2, 1, 0)
    raw = resampled_image(raw[None], facts["shape"])[0]
    smooth = F.avg_pool3d(torch.from_numpy(raw)[None, None], 5, 1, 2)[0, 0]
    cuts = torch.quantile(smooth.flatten()[::97], torch.linspace(0, 1, facts["n_out"] + 1)[1:-1])
    return raw, torch.bucketize(smooth, cuts).numpy()


def teach(network: nn.Module, x: Tensor, truth: Tensor, facts: dict[str, Any]) -> None:
    """Some steps, so that the decisions are as clear as a trained network's."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, facts["teach"])
    side = [min(s, 48) // 16 * 16 for s in facts["size"]]
    for _ in range(facts["teach"]):
        at = [int(rng.integers(0, n - s + 1)) for n, s in zip(x.shape[1:], side, strict=True)]
        part = tuple(slice(a, a + s) for a, s in zip(at, side, strict=True))
        F.cross_entropy(network(x[(slice(None), *part)][None]), truth[part][None]).backward()
        optimizer.step()
        plan.step()
        optimizer.zero_grad()


def choose(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    from vesalius.networks.backends import fastest

    middle = tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(facts["shape"], facts["size"], strict=True))
    probe = torch.from_numpy(np.load(folder / "x.npy")[(slice(None), *middle)])[None]
    start = time.perf_counter()
    made = fastest(network_of(folder, facts), channels=1, size=facts["size"], n_out=facts["n_out"], seconds=300, probe=probe, file=folder / "model.onnx")
    return {"engine": made.name, "sentence": made.sentence, "choosing_seconds": time.perf_counter() - start}


def ours(folder: Path, facts: dict[str, Any]) -> np.ndarray:
    from vesalius.kernels.resample import largest
    from vesalius.kernels.tiled_labels import labels_of
    from vesalius.networks.backends import built

    x = np.load(folder / "x.npy", mmap_mode="r")
    network = network_of(folder, facts)
    start = time.perf_counter()
    engine = built(facts["engine"], network, channels=1, size=facts["size"], n_out=facts["n_out"], file=folder / "model.onnx")
    del network
    facts["build_seconds"] = time.perf_counter() - start
    begun(facts)
    return labels_of(engine, x, size=facts["size"], n_out=facts["n_out"], shape_out=facts["shape_out"], decide=largest)[0]


def monai(folder: Path, facts: dict[str, Any]) -> np.ndarray:
    from monai.inferers import sliding_window_inference

    x, network = torch.from_numpy(np.load(folder / "x.npy"))[None], network_of(folder, facts)
    begun(facts)
    with torch.inference_mode():
        raw = sliding_window_inference(x, facts["size"], 1, network, overlap=0.5, mode="gaussian")
        return F.interpolate(raw, facts["shape_out"], mode="trilinear").argmax(1)[0].to(torch.uint8).numpy()


def nnunet(folder: Path, facts: dict[str, Any]) -> np.ndarray:
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    spacing = [o / i for i, o in zip(facts["shape"], facts["shape_out"], strict=True)]
    linear = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    settings = {
        "patch_size": facts["size"], "spacing": spacing, "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": linear, "architecture": {}, "batch_size": 2,
    }
    plans = PlansManager({
        "configurations": {"3d_fullres": settings}, "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2], "label_manager": "LabelManager",
        "dataset_name": "x", "plans_name": "x", "image_reader_writer": "SimpleITKIO",
    })
    dataset = {"labels": {"background": 0, **{f"c{i}": i for i in range(1, facts["n_out"])}}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(0.5, True, False, device=torch.device("cpu"), allow_tqdm=False)
    network, configuration = network_of(folder, facts), plans.get_configuration("3d_fullres")
    predictor.manual_initialization(network, plans, configuration, [network.state_dict()], dataset, "x", None)
    x = torch.from_numpy(np.load(folder / "x.npy"))
    begun(facts)
    logits = predictor.predict_logits_from_preprocessed_data(x)
    shape = facts["shape_out"]
    properties = {
        "spacing": [1.0, 1.0, 1.0], "shape_after_cropping_and_before_resampling": shape, "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, n] for n in shape],
    }
    manager = plans.get_label_manager(dataset)
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, manager, properties, num_threads_torch=facts["threads"]
    )


def begun(facts: dict[str, Any]) -> None:
    facts["ready_bytes"], facts["start"] = peak_bytes(), time.perf_counter()


def peak_bytes() -> int:
    """Most memory that this process held. Not ru_maxrss: a started process inherits that of the one that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


SIDES = {"nnunet": nnunet, "monai": monai, "ours": ours}
STEPS = {"prepare": prepare, "choose": choose}


def run_side(side: str, folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    torch.set_num_threads(facts["threads"])
    if side in STEPS:
        print(json.dumps(STEPS[side](folder, facts)))
        return
    labels = np.asarray(SIDES[side](folder, facts))
    seconds = time.perf_counter() - facts["start"]
    np.save(folder / f"{side}.npy", labels.astype(np.uint8))
    told = {"seconds": round(seconds, 2), "peak_mb": peak_bytes() >> 20, "ready_mb": facts["ready_bytes"] >> 20}
    print(json.dumps(told | ({"build_seconds": round(facts["build_seconds"], 2)} if "build_seconds" in facts else {})))


def measured(side: str, folder: Path, python: str = sys.executable) -> dict[str, Any]:
    threads = str(json.loads((folder / "facts.json").read_text())["threads"])
    setting = {"OMP_NUM_THREADS": threads, "nnUNet_def_n_proc": threads, "PATH": "/usr/bin:/bin"}
    told = subprocess.run([python, __file__, "--side", side, "--folder", str(folder)], capture_output=True, text=True, check=False, env=setting)
    if told.returncode:
        sys.exit(f"{side} failed\n{told.stderr[-3000:]}")
    return json.loads(told.stdout.strip().splitlines()[-1])


def compared(n_out: int, options: argparse.Namespace) -> dict[str, Any]:
    facts = {name: getattr(options, name) for name in ("image", "shape", "shape_out", "size", "features", "threads", "teach")} | {"n_out": n_out}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "facts.json").write_text(json.dumps(facts))
        measured("prepare", folder)
        facts |= {"engine": options.engine} if options.engine else measured("choose", folder)
        (folder / "facts.json").write_text(json.dumps(facts))
        sides = {"ours": sys.executable, "monai": sys.executable} | ({"nnunet": options.nnunet_python} if options.nnunet_python else {})
        found: dict[str, Any] = {side: measured(side, folder, python) for side, python in sides.items()}
        labels = {side: np.load(folder / f"{side}.npy") for side in sides}
    mine = found["ours"]
    for side in sides:
        if side != "ours":
            found[side]["ours_time_ratio"] = round(mine["seconds"] / found[side]["seconds"], 3)
            found[side]["ours_memory_ratio"] = round(mine["peak_mb"] / found[side]["peak_mb"], 3)
            found[side]["labels_equal"] = round(float((labels[side] == labels["ours"]).mean()), 6)
            found[side]["dice_mean"] = round(dice(labels[side], labels["ours"], n_out), 5)
    if "monai" in labels and "nnunet" in labels:
        found["monai"]["labels_equal_to_nnunet"] = round(float((labels["monai"] == labels["nnunet"]).mean()), 6)
    return {"n_out": n_out, "engine": facts.get("sentence", facts["engine"]), "choosing_seconds": round(facts.get("choosing_seconds", 0), 1), **found}


def dice(a: np.ndarray, b: np.ndarray, n_out: int) -> float:
    each = [2 * ((a == k) & (b == k)).sum() / max(1, (a == k).sum() + (b == k).sum()) for k in range(n_out) if (a == k).any() or (b == k).any()]
    return float(np.mean(each))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="", help="a NIfTI volume; without it a phantom of organs from a seed")
    parser.add_argument("--nnunet-python", default="", help="an interpreter that can import nnunetv2")
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 14], help="numbers of raw values a sample (background counts)")
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 160, 160])
    parser.add_argument("--shape-out", type=int, nargs=3, default=[240, 240, 240])
    parser.add_argument("--size", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256, 320])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--teach", type=int, default=0)
    parser.add_argument("--engine", default="", help="take this backend instead of measuring")
    parser.add_argument("--side", choices=[*STEPS, *SIDES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.folder)
        return
    for n_out in options.classes:
        print(json.dumps(compared(n_out, options), indent=1), flush=True)


if __name__ == "__main__":
    main()
