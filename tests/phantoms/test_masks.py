"""Phantoms with masks: what the truth says of a structure is what its mask holds, and every flaw lies where it says."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from vesalius.errors import OptionError
from vesalius.phantoms import Truth, make_phantom
from vesalius.phantoms.flaws import UNKNOWN_LABEL
from vesalius.phantoms.organs import CLASSES, ORIENTATIONS
from vesalius.phantoms.vessels import coverage, draw_tree, field_of_view

FLAWS = {"empty": 1, "other_grid": 1, "unknown_label": 1, "swapped": 1}


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("organs", tmp_path_factory.mktemp("o"), seed=1, n=12)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth]:
    root = tmp_path_factory.mktemp("f")
    return {kind: make_phantom(kind, root / kind, seed=2, n=8, **FLAWS) for kind in ("organs", "vessels")}


def opened(truth: Truth, name: str) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.load(truth.path / name))


def marked(truth: Truth, name: str) -> np.ndarray:
    file = truth.planted["masks"][name]
    return np.asarray(opened(truth, file).dataobj if file.endswith(".gz") else Image.open(truth.path / file))


def test_volumes_are_those_of_the_masks_in_mm3(organs: Truth) -> None:
    for name, sizes in organs.planted["volumes_mm3"].items():
        mask = opened(organs, organs.planted["masks"][name])
        labels, voxel = np.asarray(mask.dataobj), float(np.prod(mask.header.get_zooms()))
        assert set(np.unique(labels)) == {0, 1, 2}
        for k, label in enumerate(CLASSES, 1):
            assert sizes[label] == pytest.approx((labels == k).sum() * voxel, rel=1e-5)
            assert 60 < sizes[label] < 1500


def test_image_and_mask_lie_on_one_grid_along_the_axes_that_are_told(organs: Truth) -> None:
    seen = set()
    for name, axes in organs.planted["axes"].items():
        image, mask = nib.load(organs.path / name), nib.load(organs.path / organs.planted["masks"][name])
        assert image.shape == mask.shape and np.array_equal(image.affine, mask.affine)
        assert "".join(nib.aff2axcodes(image.affine)) == axes
        seen.add(axes)
    assert len(seen) > 2 and seen <= set(ORIENTATIONS)
    assert len({tuple(s) for s in organs.planted["spacing_mm"].values()}) > 2


def test_the_structures_touch_and_grey_values_alone_do_not_find_them(organs: Truth) -> None:
    from scipy import ndimage

    for name in organs.true_label:
        image, labels = np.asarray(opened(organs, name).dataobj, float), marked(organs, name)
        assert (ndimage.binary_dilation(labels == 1) & (labels == 2)).any()
        assert ndimage.label(labels > 0, np.ones((3, 3, 3)))[1] == 1
        low = np.percentile(image[labels > 0], 10)
        assert (image[labels == 0] > low).sum() > 0.3 * (labels > 0).sum(), "decoys are as bright"
        assert np.median(image[labels > 0]) > 1.2 * np.median(image[labels == 0])


def test_patients_come_twice_and_keep_their_organ(organs: Truth) -> None:
    visits: dict[str, list[str]] = {}
    for name, patient in organs.patient.items():
        assert Path(name).name.startswith(f"{patient}_")
        visits.setdefault(patient, []).append(name)
    pairs = [names for names in visits.values() if len(names) == 2]
    assert pairs and len(visits) > len(pairs)
    for first, second in pairs:
        sizes = [organs.planted["volumes_mm3"][each]["head"] for each in (first, second)]
        assert 0.75 < sizes[1] / sizes[0] < 1.05
        assert (organs.path / first).read_bytes() != (organs.path / second).read_bytes()


def test_dataset_json_names_every_pair(organs: Truth, tmp_path: Path) -> None:
    facts = json.loads((organs.path / "dataset.json").read_text("utf-8"))
    assert facts["labels"] == {"0": "background", "1": "head", "2": "tail"} and facts["numTraining"] == len(facts["training"]) == 12
    assert {pair["image"][2:]: pair["label"][2:] for pair in facts["training"]} == organs.planted["masks"]
    paired = make_phantom("organs", tmp_path / "p", n=2, layout="paired")
    assert sorted(p.relative_to(paired.path).parts[0] for p in paired.path.rglob("*.gz")) == ["images", "images", "masks", "masks"]
    assert not (paired.path / "dataset.json").exists()


def test_vessels_lie_in_the_habit_of_drive(tmp_path: Path) -> None:
    truth = make_phantom("vessels", tmp_path / "v", seed=5, n=6)
    assert set(truth.planted["split"].values()) == {"training", "test"} and sum(p == "test" for p in truth.planted["split"].values()) == 2
    for name, pixels in truth.planted["pixels"].items():
        image, view, vessels = (np.asarray(Image.open(truth.path / file)) for file in (name, truth.planted["views"][name], truth.planted["masks"][name]))
        assert image.shape == (160, 160, 3) and set(np.unique(view)) == set(np.unique(vessels)) == {0, 255}
        assert (vessels > 0).sum() == pixels and 0.04 < pixels / (view > 0).sum() < 0.3
        assert not image[view == 0].any() and not vessels[view == 0].any()
        green = image[..., 1].astype(float)
        assert green[vessels > 0].mean() < 0.9 * green[(vessels == 0) & (view > 0)].mean()


def test_vessels_are_thin_and_branch() -> None:
    from scipy import ndimage

    covered = coverage(draw_tree(np.random.default_rng(0))[1], 160) >= 0.5
    depth = ndimage.distance_transform_edt(covered)
    assert 2 < depth.max() < 8 and np.median(depth[covered]) <= 1.5
    assert abs(field_of_view(160).mean() - np.pi * 0.46**2) < 0.01


@pytest.mark.parametrize("kind", ["organs", "vessels"])
def test_flaws_lie_where_the_truth_says(kind: str, flawed: dict[str, Truth]) -> None:
    truth = flawed[kind]
    named = {name: list(truth.planted[name]) for name in FLAWS}
    assert all(len(ids) == 1 for ids in named.values()) and len({ids[0] for ids in named.values()}) == 4
    for name in truth.true_label:
        labels, shape = marked(truth, name), (opened(truth, name).shape if kind == "organs" else np.asarray(Image.open(truth.path / name)).shape[:2])
        assert (labels.shape != shape) == (name in named["other_grid"])
        assert (UNKNOWN_LABEL in labels) == (name in named["unknown_label"])
        assert (not labels.any()) == (name in named["empty"]) == (truth.true_label[name] == "")


def test_a_swapped_mask_is_of_another_patient_and_far_from_its_own_size(flawed: dict[str, Truth]) -> None:
    truth = flawed["organs"]
    ((name, other),) = truth.planted["swapped"].items()
    assert truth.patient[name] != truth.patient[other]
    voxel, labels = np.prod(truth.planted["spacing_mm"][name]), marked(truth, name)
    said = (labels == 1).sum() * voxel
    assert said == pytest.approx(truth.planted["volumes_mm3"][other]["head"], rel=0.08)
    assert said != pytest.approx(truth.planted["volumes_mm3"][name]["head"], rel=1e-3)


def test_shuffled_masks_show_other_patients(tmp_path: Path) -> None:
    truth = make_phantom("organs", tmp_path / "s", n=6, shuffle=True)
    swapped = truth.planted["swapped"]
    assert set(swapped) == set(truth.true_label) and all(truth.patient[a] != truth.patient[b] for a, b in swapped.items())


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no such layout of a phantom with masks: expected msd or paired, got nnunet"):
        make_phantom("organs", tmp_path / "a", layout="nnunet")
    with pytest.raises(OptionError, match="the volumes are too small for the organ: expected size of 40 or more, got 20"):
        make_phantom("organs", tmp_path / "b", size=20)
    with pytest.raises(OptionError, match="the pictures are too small for vessels: expected size of 64 or more, got 32"):
        make_phantom("vessels", tmp_path / "c", size=32)
    with pytest.raises(OptionError, match="a phantom cannot have more flawed masks than cases: expected 0 to 2 in all, got 3"):
        make_phantom("vessels", tmp_path / "d", n=2, empty=3)
    with pytest.raises(OptionError, match="masks can only be swapped between patients: expected two patients or more, got 1"):
        make_phantom("vessels", tmp_path / "e", n=1, swapped=1)
