"""A trained model of nnU-Net v2 (Isensee et al., *nnU-Net*, Nature Methods 2021) as a mapping of ours.

A folder that nnU-Net wrote holds ``plans.json``, ``dataset.json`` and ``fold_*/checkpoint_*.pth``. Its network becomes ours with the
same weights, its preprocessing becomes `TileReads`, its folds become members. nnU-Net itself is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesalius.core.reads import Scheme, TileReads
from vesalius.core.target import TargetSpec
from vesalius.errors import FormatError
from vesalius.networks import build
from vesalius.plan import Plan
from vesalius.stages.importing._files import read_checkpoint, read_json
from vesalius.stages.importing._imported import Imported, saved
from vesalius.stages.importing._nnunet_network import DO, network_options, translated

CHECKPOINT = "checkpoint_final.pth"
WHAT = "the nnU-Net model"
SCHEMES: dict[str, Scheme] = {
    "CTNormalization": "ct", "ZScoreNormalization": "zscore", "NoNormalization": "none", "RescaleTo01Normalization": "unit", "RGBTo01Normalization": "full",
}
ORIENTS = {"SimpleITKIO": "stored", "NibabelIO": "stored", "NibabelIOWithReorient": "SAR", "Tiff3DIO": "stored", "NaturalImage2DIO": "stored"}
"""How nnU-Net's readers order the axes, the first array axis first."""
PICTURES = "NaturalImage2DIO"
OVERLAP = 0.5
RESAMPLING = "resample_data_or_seg_to_shape"


def import_nnunet(
    folder: Path | str, out: Path | str, *, folds: Sequence[int | str] | None = None, checkpoint: str = CHECKPOINT, configuration: str | None = None,
) -> Path:
    """Write a trained-model folder of nnU-Net v2 as a model of ours into ``out/model``; returns ``out``. See `read_nnunet`.

    Raises
    ------
    FormatError: see `read_nnunet`. RunError: ``out`` cannot be written.
    """
    imported = read_nnunet(folder, folds=folds, checkpoint=checkpoint, configuration=configuration)
    return saved(imported, Path(out), f"Imported from nnU-Net ({Path(folder).name}).")


def read_nnunet(
    folder: Path | str, *, folds: Sequence[int | str] | None = None, checkpoint: str = CHECKPOINT, configuration: str | None = None,
) -> Imported:
    """Read a trained-model folder of nnU-Net v2.

    Parameters
    ----------
    folds: which folds become members, numbers or ``"all"``; None for all that have the checkpoint.
    checkpoint: name of the file in each fold.
    configuration: ``"3d_fullres"`` ...; None for the one that the checkpoint names.

    Raises
    ------
    FormatError: a file is missing, damaged, needs code to be opened, or asks for what ours cannot do; it is named.
    """
    folder = Path(folder)
    plans, dataset = read_json(folder / "plans.json", WHAT), read_json(folder / "dataset.json", WHAT)
    paths = _checkpoints(folder, folds, checkpoint)
    opened = [read_checkpoint(path) for path in paths]
    settings = _configuration(plans, configuration or _trained_as(opened[0], paths[0]), folder / "plans.json")
    target, region_order = target_of(dataset, folder / "dataset.json")
    reads = reads_of(plans, settings, dataset, folder / "plans.json")
    name, options = network_options(settings, str(folder / "plans.json"))
    options = _with_planes(options) if len(settings["patch_size"]) < reads.ndim else options
    networks = tuple(_member(name, options, reads, target.n_out, each, path) for each, path in zip(opened, paths, strict=True))
    mirror = tuple(int(axis) + reads.ndim - len(settings["patch_size"]) for axis in opened[0].get("inference_allowed_mirroring_axes") or ())
    return Imported(reads, networks, target, _plan(name, options, plans, paths), mirror, region_order)


def _checkpoints(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> list[Path]:
    if folds is not None:
        return [folder / f"fold_{fold}" / checkpoint for fold in folds]
    found = sorted(folder.glob(f"fold_*/{checkpoint}"))
    single = [path for path in found if path.parent.name != "fold_all"]
    if not found:
        there = sorted(str(path.relative_to(folder)) for path in folder.glob("fold_*/*.pth"))
        got = ", ".join(there[:4]) or "no checkpoint"
        raise FormatError(f"{WHAT} has no {checkpoint}", where=folder, expected=f"fold_*/{checkpoint}", got=got, do="name another checkpoint")
    return single or found


def _trained_as(opened: dict[str, Any], path: Path) -> str:
    found = (opened.get("init_args") or {}).get("configuration")
    if not found:
        raise FormatError("the checkpoint does not say which configuration it was trained with", where=path, do="name the configuration")
    return str(found)


def _configuration(plans: dict[str, Any], name: str, where: Path) -> dict[str, Any]:
    """The configuration of that name with all that it inherits."""
    known, chain = plans.get("configurations", {}), []
    while name:
        if name not in known or name in chain:
            raise FormatError(f"the plans have no configuration '{name}'", where=where, expected=f"one of {', '.join(known)}", do="name another configuration")
        chain.append(name)
        name = known[name].get("inherits_from", "")
    merged: dict[str, Any] = {}
    for each in reversed(chain):
        merged |= known[each]
    return merged


def target_of(dataset: dict[str, Any], where: Path) -> tuple[TargetSpec, tuple[int, ...]]:
    """What ``dataset.json`` calls the labels, and the numbers of regions in a label map.

    Raises
    ------
    FormatError: no labels, no background, or regions without their order.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or "background" not in labels:
        raise FormatError("the dataset states no labels with a background", where=where, expected="'labels': {'background': 0, ...}", got=labels)
    numbers = {name: tuple(int(v) for v in (value if isinstance(value, list) else [value])) for name, value in labels.items()}
    regions = any(len(value) > 1 for value in numbers.values())
    ignore = numbers.pop("ignore", (None,))[0]
    structures = {name: value for name, value in numbers.items() if set(value) != {0}}
    if not regions:
        structures = dict(sorted(structures.items(), key=lambda item: item[1]))
        return TargetSpec("mask", tuple(structures), "mask", "labels of nnU-Net's dataset.json", tuple(structures.values()), ignore), ()
    order = tuple(int(v) for v in dataset.get("regions_class_order") or ())
    if len(order) != len(structures):
        raise FormatError("overlapping regions need an order", where=where, expected=f"'regions_class_order' with {len(structures)} numbers", got=order)
    return TargetSpec("mask", tuple(structures), "mask", "regions of nnU-Net's dataset.json", tuple(structures.values()), ignore, exclusive=False), order


def reads_of(plans: dict[str, Any], settings: dict[str, Any], dataset: dict[str, Any], where: Path) -> TileReads:
    """The preprocessing that the plans state.

    Raises
    ------
    FormatError: preprocessing of another kind than nnU-Net's default, or a second stage of a cascade.
    """
    _check_preprocessing(plans, settings, where)
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    n = len(dataset.get("channel_names", dataset.get("modality", {})))
    planar = len(settings["patch_size"]) == 2
    lead = planar and reader != PICTURES
    facts = plans.get("foreground_intensity_properties_per_channel", plans.get("foreground_intensity_properties_by_modality", {}))
    known = [facts.get(str(channel), {}) for channel in range(n)]
    axes = tuple(int(axis) for axis in plans["transpose_forward"])
    order = (settings.get("resampling_fn_data_kwargs") or {}).get("order", 3)
    schemes = tuple(SCHEMES[name] for name in settings["normalization_schemes"])
    return TileReads(
        size=(*([1] if lead else []), *(int(v) for v in settings["patch_size"])), channels=n,
        spacing_mm=None if reader == PICTURES else (*([0.0] if lead else []), *(float(v) for v in settings["spacing"])),
        schemes=schemes, low=_facts(known, schemes, "percentile_00_5", 0.0), high=_facts(known, schemes, "percentile_99_5", 255.0),
        mean=_facts(known, schemes, "mean", 0.0), std=_facts(known, schemes, "std", 1.0),
        overlap=OVERLAP, orient=ORIENTS[reader], axes=() if reader == PICTURES else axes, crop=True,
        inside=tuple(bool(v) for v in settings["use_mask_for_norm"]), order=int(order),
    )


def _facts(known: list[dict[str, float]], schemes: tuple[Scheme, ...], name: str, otherwise: float) -> tuple[float, ...]:
    """A figure of each channel; only CT is read by figures of all studies."""
    return tuple(float(facts[name]) if scheme == "ct" else otherwise for facts, scheme in zip(known, schemes, strict=True))


def _check_preprocessing(plans: dict[str, Any], settings: dict[str, Any], where: Path) -> None:
    """Refuse what ours would do otherwise, by name."""
    probabilities = settings.get("resampling_fn_probabilities_kwargs") or {}
    stated = {
        "preprocessor_name": (settings.get("preprocessor_name", "DefaultPreprocessor"), ("DefaultPreprocessor",)),
        "previous_stage": (settings.get("previous_stage") or "none", ("none",)),
        "label_manager": (plans.get("label_manager", "LabelManager"), ("LabelManager",)),
        "image_reader_writer": (plans.get("image_reader_writer", "SimpleITKIO"), tuple(ORIENTS)),
        "resampling_fn_data": (settings.get("resampling_fn_data", RESAMPLING), (RESAMPLING,)),
        "resampling_fn_probabilities": (settings.get("resampling_fn_probabilities", RESAMPLING), (RESAMPLING,)),
        "order of resampling_fn_probabilities": (probabilities.get("order", 1), (1,)),
        **{f"normalization_schemes of channel {i}": (name, tuple(SCHEMES)) for i, name in enumerate(settings["normalization_schemes"])},
    }
    for name, (got, allowed) in stated.items():
        if got not in allowed:
            raise FormatError(f"the plans ask for another {name} than can be imported", where=where, expected=" or ".join(map(str, allowed)), got=got, do=DO)


def _with_planes(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a 2-D network as a 3-D one that looks at one plane alone."""
    def lead(each: Any) -> list[int]:
        return [1, *([each, each] if isinstance(each, int) else each)]

    return options | {"strides": [lead(each) for each in options["strides"]], "kernels": [lead(each) for each in options["kernels"]]}


def _member(name: str, options: dict[str, Any], reads: TileReads, n_out: int, opened: dict[str, Any], path: Path) -> nn.Module:
    weights = opened.get("network_weights")
    if not isinstance(weights, dict):
        raise FormatError("the checkpoint holds no network weights", where=path, expected="'network_weights'", got=", ".join(map(str, list(opened)[:6])))
    network = build(name, channels=reads.channels, n_out=n_out, size=reads.size, dense=True, **options)
    own = network.state_dict()
    found = {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}
    if reads.ndim == 3:
        found = {key: value[:, :, None] if value.ndim == 4 else value for key, value in found.items()}
    network.load_state_dict(translated(found, own, str(path)))
    return network.eval()


def _plan(name: str, options: dict[str, Any], plans: dict[str, Any], paths: list[Path]) -> Plan:
    reason = f"imported from nnU-Net, {plans.get('dataset_name', 'a model folder')}, {plans.get('plans_name', 'plans')}"
    plan = Plan().decide("network.name", name, reason).decide("network.options", options, "architecture of plans.json")
    return plan.decide("network.members", len(paths), f"{', '.join(path.parent.name for path in paths)}: each fold is a member")
