"""nnU-Net's folders: every weight in its place, preprocessing as stated, and nothing executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.importing.foreign import LABELS, computed, configuration, drawn_state, nnunet_folder
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError, OptionError
from vesalius.mapping import TiledMapping, load
from vesalius.stages.importing import import_model, import_nnunet, read_nnunet
from vesalius.transforms.tiles import prepare_tiles

TOLERANCE = 1e-4


def study(shape: tuple[int, ...] = (10, 20, 24), spacing: tuple[float, ...] = (3.0, 1.0, 1.0), channels: int = 1) -> Study:
    values = np.random.default_rng(0).normal(100, 30, (channels, *shape)).astype(np.float32)
    return Study(values, Grid.plain(shape, spacing), bits=32, source="case.nii.gz")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_every_weight_takes_the_place_it_had(tmp_path: Path, residual: bool, old: bool) -> None:
    states = [drawn_state(residual=residual, seed=seed) for seed in (1, 2)]
    imported = read_nnunet(nnunet_folder(tmp_path, states, settings=configuration(residual, old)))
    x = torch.randn(2, 1, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for network, state in zip(imported.networks, states, strict=True):
            expected = computed(state, x, residual)
            assert torch.allclose(network(x), expected, atol=TOLERANCE * float(expected.abs().max()))
    assert len(imported.networks) == 2 and imported.mirror == (0, 2)
    assert imported.plan["network.name"] == ("residual-unet" if residual else "unet")


def test_a_saved_import_answers_the_same(tmp_path: Path) -> None:
    folder = nnunet_folder(tmp_path / "nnunet", [drawn_state(seed=seed) for seed in (1, 2)])
    out = import_nnunet(folder, tmp_path / "ours")
    before, after = read_nnunet(folder).mapping(), load(out)
    assert isinstance(after, TiledMapping) and len(after.networks) == 2 and after.reads == before.reads and after.mirror == before.mirror
    labels = after.segment(study()).labels
    assert labels.shape == (1, 10, 20, 24) and set(np.unique(labels)) <= {0, 1, 2} and len(np.unique(labels)) > 1
    assert np.array_equal(labels, before.segment(study()).labels)
    assert set(after(study()).label.split("|")) <= {"front", "back"}


def test_one_tile_is_the_mean_over_folds_and_mirror_images(tmp_path: Path) -> None:
    states = [drawn_state(seed=seed) for seed in (1, 2)]
    mapping = read_nnunet(nnunet_folder(tmp_path, states)).mapping()
    case = study((8, 16, 16))
    x, _ = prepare_tiles(case, mapping.reads)
    z = torch.from_numpy((case.image - case.image.mean()) / case.image.std())[None]
    assert np.allclose(x, z[0], atol=1e-5)
    turns: list[list[int]] = [[], [2], [4], [2, 4]]
    with torch.no_grad():
        raw = torch.stack([computed(state, z.flip(turn)).flip(turn) for state in states for turn in turns]).mean(0)[0]
    assert np.mean(mapping.segment(case).labels[0] == raw.argmax(0).numpy()) > 0.9995


def test_labels_are_told_by_their_numbers_and_a_part_of_the_folds_may_be_taken(tmp_path: Path) -> None:
    labels = LABELS | {"ignore": 3}
    folder = nnunet_folder(tmp_path, [drawn_state(seed=seed) for seed in (1, 2)], labels=labels)
    imported = read_nnunet(folder, folds=[1])
    assert imported.target.classes == ("back", "front") and imported.target.values == ((1,), (2,))
    assert imported.target.ignore == 3 and imported.target.exclusive and imported.target.n_out == 3
    assert len(imported.networks) == 1
    assert torch.equal(imported.networks[0].heads[0].weight, read_nnunet(folder).networks[1].heads[0].weight)


def test_regions_overlap_and_keep_their_order(tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    folder = nnunet_folder(tmp_path, [drawn_state(n_out=2)], labels=regions, dataset={"regions_class_order": [1, 2]})
    imported = read_nnunet(folder)
    assert not imported.target.exclusive and imported.target.values == ((1, 2), (2,)) and imported.region_order == (1, 2)
    labels = imported.mapping().segment(study()).labels
    assert labels.shape == (2, 10, 20, 24) and labels.max() == 1
    with pytest.raises(FormatError, match="overlapping regions need an order.*'regions_class_order' with 2 numbers"):
        read_nnunet(nnunet_folder(tmp_path, [drawn_state(n_out=2)], labels=regions))


def test_channels_are_scaled_as_the_plans_say(tmp_path: Path) -> None:
    schemes = ["CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization"]
    settings = configuration(channels=4, normalization_schemes=schemes, use_mask_for_norm=[False, True, False, False])
    imported = read_nnunet(nnunet_folder(tmp_path, [drawn_state(channels=4)], settings=settings, channels=4))
    given = study((6, 9, 9), channels=4).image
    given[:, :2], given[:, :, :, 7:] = 0, 0
    x, trace = prepare_tiles(Study(given, Grid.plain((6, 9, 9), (3.0, 1.0, 1.0)), bits=32), imported.reads)
    box = given[:, 2:, :, :7]
    assert trace.stored == (4, 9, 7) and x.shape == (4, 4, 9, 7)
    assert np.allclose(x[0], (box[0].clip(-50, 250) - 80) / 40, atol=1e-5)
    assert np.allclose(x[1], (box[1] - box[1].mean()) / box[1].std(), atol=1e-4)
    assert np.array_equal(x[2], box[2])
    assert x[3].min() == 0 and x[3].max() == 1


def test_a_norm_within_the_mask_leaves_zeros_outside(tmp_path: Path) -> None:
    imported = read_nnunet(nnunet_folder(tmp_path, [drawn_state()], settings=configuration(use_mask_for_norm=[True])))
    given = study((6, 9, 9)).image
    given[0, :, :3, :3] = 0
    x, _ = prepare_tiles(Study(given, Grid.plain((6, 9, 9), (3.0, 1.0, 1.0)), bits=32), imported.reads)
    inside = given != 0
    assert np.all(x[~inside] == 0)
    assert abs(x[inside].mean()) < 1e-5 and abs(x[inside].std() - 1) < 1e-4


def test_axes_are_exchanged_there_and_back(tmp_path: Path) -> None:
    plain = read_nnunet(nnunet_folder(tmp_path / "a", [drawn_state()], mirror=None)).mapping()
    turned = read_nnunet(nnunet_folder(tmp_path / "b", [drawn_state()], plans={"transpose_forward": [1, 2, 0]}, mirror=None)).mapping()
    case = study((10, 20, 24))
    rolled = Study(case.image.transpose(0, 3, 1, 2), Grid.plain((24, 10, 20), (1.0, 3.0, 1.0)), bits=32)
    assert turned.reads.axes == (1, 2, 0)
    assert np.array_equal(turned.segment(rolled).labels[0], plain.segment(case).labels[0].transpose(2, 0, 1))


def test_a_reader_that_turns_volumes_gives_the_same_finding_however_they_lie(tmp_path: Path) -> None:
    mapping = read_nnunet(nnunet_folder(tmp_path, [drawn_state()], plans={"image_reader_writer": "NibabelIOWithReorient"}, mirror=None)).mapping()
    case = study()
    flipped = case.grid.affine_lps.copy()
    flipped[:3, 0], flipped[0, 3] = -flipped[:3, 0], 23.0
    other = Study(case.image[..., ::-1].copy(), Grid(case.grid.shape, case.grid.spacing_mm, flipped), bits=32)
    assert np.array_equal(mapping.segment(other).labels[..., ::-1], mapping.segment(case).labels)


def test_a_flat_network_reads_a_volume_plane_by_plane(tmp_path: Path) -> None:
    kernels, strides = [[1, 3, 3]] * 3, [[1, 1, 1], [1, 2, 2], [1, 2, 2]]
    flat = configuration(patch_size=[16, 16], spacing=[1.0, 1.0])
    arguments = flat["architecture"]["arch_kwargs"]
    flat["architecture"]["arch_kwargs"] = arguments | {"kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]],
                                                     "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d"}
    state = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in drawn_state().items()}
    imported = read_nnunet(nnunet_folder(tmp_path, [_fitted(state, arguments)], settings=flat, mirror=(0, 1)))
    assert imported.reads.size == (1, 16, 16) and imported.mirror == (1, 2) and imported.reads.spacing_mm == (0.0, 1.0, 1.0)
    assert imported.plan["network.options"]["kernels"] == kernels and imported.plan["network.options"]["strides"] == strides
    mapping, case = imported.mapping(), study((5, 20, 24))
    whole = mapping.segment(case).labels
    one = Study(np.repeat(case.image[:, 2:3], 5, 1), case.grid, bits=32)
    assert whole.shape == (1, 5, 20, 24)
    scaled = prepare_tiles(one, mapping.reads)[0]
    assert np.array_equal(scaled[:, 0], scaled[:, 4])
    assert all(np.array_equal(plane, mapping.segment(one).labels[0, 0]) for plane in mapping.segment(one).labels[0])


def _fitted(state: dict[str, torch.Tensor], arguments: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights of the hand-made network for planes: kernels of the plane, transposed ones of 2 x 2."""
    made = dict(state)
    for name in [each for each in state if ".transpconvs." in each and each.endswith("weight")]:
        made[name] = torch.randn(*state[name].shape[:2], 2, 2, generator=torch.Generator().manual_seed(5))
    return made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous_stage": "3d_lowres"}, "another previous_stage than can be imported.*expected none, got 3d_lowres"),
        ({"preprocessor_name": "Mine"}, "another preprocessor_name.*expected DefaultPreprocessor, got Mine"),
        ({"normalization_schemes": ["Odd"]}, "another normalization_schemes of channel 0.*CTNormalization.*got Odd"),
        ({"resampling_fn_data": "resample_torch_fornnunet"}, "another resampling_fn_data"),
        ({"resampling_fn_probabilities_kwargs": {"order": 0}}, "another order of resampling_fn_probabilities than can be imported.*expected 1, got 0"),
        ({"architecture": {"network_class_name": "a.b.Primus", "arch_kwargs": {}}}, "another architecture.*PlainConvUNet or ResidualEncoderUNet, got Primus"),
        ({"architecture": None}, None),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path: Path, changes: dict[str, Any], message: str | None) -> None:
    settings = configuration() | changes
    if message is None:
        settings.pop("architecture")
        message = "states no architecture"
    with pytest.raises(FormatError, match=message):
        read_nnunet(nnunet_folder(tmp_path, [drawn_state()], settings=settings))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("nonlin_first", True), ("pool", "max"), ("norm_op", "torch.nn.GroupNorm"), ("norm_op_kwargs", {"eps": 1e-3}), ("nonlin", "torch.nn.GELU"),
     ("block", "x.BottleneckD"), ("bottleneck_channels", [4, 4, 4])],
)
def test_a_part_of_the_network_that_ours_has_not_is_named(tmp_path: Path, argument: str, value: object) -> None:
    settings = configuration()
    settings["architecture"]["arch_kwargs"] = settings["architecture"]["arch_kwargs"] | {argument: value}
    with pytest.raises(FormatError, match=f"the network has a '{argument}' that ours has not"):
        read_nnunet(nnunet_folder(tmp_path, [drawn_state()], settings=settings))


def test_weights_must_be_complete_and_none_left_over(tmp_path: Path) -> None:
    missing = drawn_state()
    del missing["encoder.stages.1.0.convs.0.conv.weight"]
    with pytest.raises(FormatError, match=r"weights of the network are missing.*encoder\.stages\.1\.0\.convs\.0\.conv\.weight"):
        read_nnunet(nnunet_folder(tmp_path / "a", [missing]))
    with pytest.raises(FormatError, match=r"the planned network does not have.*got decoder\.extra\.weight"):
        read_nnunet(nnunet_folder(tmp_path / "b", [drawn_state() | {"decoder.extra.weight": torch.zeros(1)}]))
    with pytest.raises(FormatError, match=r"another shape than planned.*decoder\.seg_layers\.1\.weight \(5, 4, 1, 1, 1\)"):
        read_nnunet(nnunet_folder(tmp_path / "c", [drawn_state(n_out=5)]))


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def test_a_checkpoint_that_would_execute_something_is_not_opened(tmp_path: Path) -> None:
    folder, mark = nnunet_folder(tmp_path / "model", [drawn_state()]), tmp_path / "executed"
    path = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": drawn_state(), "logging": Evil(str(mark))}, path)
    with pytest.raises(FormatError, match="it is not opened, because it could execute code.*mkdir"):
        read_nnunet(folder)
    path.write_bytes(pickle.dumps({"network_weights": Evil(str(mark))}))
    with pytest.raises(FormatError, match="it is not opened"):
        read_nnunet(folder)
    assert not mark.exists()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = nnunet_folder(tmp_path, [drawn_state()])
    path = folder / "fold_0" / "checkpoint_final.pth"
    with pytest.raises(FormatError, match=r"has no checkpoint_best\.pth.*got fold_0/checkpoint_final\.pth; name another checkpoint"):
        read_nnunet(folder, checkpoint="checkpoint_best.pth")
    with pytest.raises(FormatError, match=r"no such checkpoint \(.*fold_4/checkpoint_final\.pth\)"):
        read_nnunet(folder, folds=[4])
    with pytest.raises(FormatError, match="no configuration '2d' .*: expected one of 3d_fullres"):
        read_nnunet(folder, configuration="2d")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="or is damaged"):
        read_nnunet(folder)
    torch.save({"init_args": {"configuration": "3d_fullres"}}, path)
    with pytest.raises(FormatError, match="holds no network weights.*got init_args"):
        read_nnunet(folder)
    torch.save({"network_weights": drawn_state()}, path)
    with pytest.raises(FormatError, match="does not say which configuration"):
        read_nnunet(folder)
    torch.save([1], path)
    with pytest.raises(FormatError, match="holds no names and tensors.*got list"):
        read_nnunet(folder)
    for name in ("dataset.json", "plans.json"):
        (folder / name).write_text("[1]")
        with pytest.raises(FormatError, match="holds no object"):
            read_nnunet(folder)
        (folder / name).write_text("{")
        with pytest.raises(FormatError, match=f"is no JSON.*{name}"):
            read_nnunet(folder)
        (folder / name).unlink()
        with pytest.raises(FormatError, match=f"the nnU-Net model has no {name}"):
            read_nnunet(folder)


def test_labels_without_a_background_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no labels with a background"):
        read_nnunet(nnunet_folder(tmp_path, [drawn_state()], labels={"one": 1}))


def test_a_model_is_imported_by_its_kind(tmp_path: Path) -> None:
    folder = nnunet_folder(tmp_path / "nnunet", [drawn_state()])
    assert import_model("nnunet", folder, tmp_path / "ours") == tmp_path / "ours"
    assert isinstance(load(tmp_path / "ours"), TiledMapping)
    with pytest.raises(OptionError, match="unknown foreign model 'nnunets': expected one of nnunet"):
        import_model("nnunets", folder, tmp_path / "ours")
