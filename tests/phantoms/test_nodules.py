"""Volumes with planted nodules: box, mask, table and picture say the same in samples and in mm."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from vesalius.core.boxes import boxes_mm
from vesalius.core.cohort import Source
from vesalius.core.study import Study
from vesalius.errors import OptionError
from vesalius.formats.opening import open_study
from vesalius.phantoms import Truth, make_phantom
from vesalius.phantoms.chest import draw_nodule, sphere

EXTENT_MM = 72


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Truth]:
    root = tmp_path_factory.mktemp("n")
    names = ("world", "centres", "voxels", "masks")
    return {name: make_phantom("nodules", root / name, seed=3, n=9, extent_mm=EXTENT_MM, layout=name, turned=0.5) for name in names}


def opened(truth: Truth, name: str) -> Study:
    return open_study(Source("nifti", str(truth.path / name)))


def table(truth: Truth) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    with (truth.path / "nodules.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["patient"] == truth.patient[row["image"]]
            found.setdefault(row["image"], []).extend([row] if row["class"] else [])
    return found


def test_boxes_are_those_of_the_parts_of_the_masks(layouts: dict[str, Truth]) -> None:
    truth, n = layouts["masks"], 0
    for name, held in truth.planted["nodules"].items():
        labels = opened(truth, truth.planted["masks"][name]).image[0]
        parts, count = ndimage.label(labels, np.ones((3, 3, 3)))
        assert count == len(held)
        hulls = sorted([*(s.start for s in part), *(s.stop for s in part)] for part in ndimage.find_objects(parts))
        for hull, each in zip(hulls, sorted(held, key=lambda e: hulls_order(e["box"], hulls)), strict=True):
            assert np.abs(np.array(hull) - each["box"]).max() < 1.01
            n += 1
    assert n >= 8


def hulls_order(box: list[float], hulls: list[list[int]]) -> int:
    return int(np.argmin([np.abs(np.array(hull) - box).sum() for hull in hulls]))


def test_the_reader_finds_the_box_where_the_table_says_in_mm(layouts: dict[str, Truth]) -> None:
    turned = set()
    for layout in ("world", "centres", "voxels"):
        truth, rows = layouts[layout], table(layouts[layout])
        assert set(rows) == set(truth.true_label)
        for name, held in truth.planted["nodules"].items():
            study = opened(truth, name)
            assert study.grid.axes[0] in "LRPAIS" and study.grid.spacing_mm == pytest.approx(truth.planted["spacing_mm"][name], abs=1e-4)
            turned.add(truth.planted["axes"][name])
            assert len(rows[name]) == len(held)
            for row, each in zip(rows[name], held, strict=True):
                corners = boxes_mm(np.array([each["box"]]), study.grid)[0]
                low, high = corners.min(0), corners.max(0)
                assert row["malignant"] == str(each["malignant"])
                if layout == "world":
                    assert [float(row[f"{e}_mm"]) for e in ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")] == pytest.approx([*low, *high], abs=0.01)
                elif layout == "centres":
                    assert [float(row[f"coord{a}"]) for a in "XYZ"] == pytest.approx(list((low + high) / 2), abs=0.01)
                    assert float(row["diameter_mm"]) == pytest.approx((high - low).mean(), abs=0.01)
                else:
                    assert [float(row[e]) for e in ("zmin", "ymin", "xmin", "zmax", "ymax", "xmax")] == each["box"]
    assert len(turned) >= 2


def test_nodules_shine_in_air_and_only_malignant_ones_have_spikes(layouts: dict[str, Truth]) -> None:
    truth = layouts["world"]
    shells: dict[int, list[float]] = {0: [], 1: []}
    for name, held in truth.planted["nodules"].items():
        study = opened(truth, name)
        assert study.image.min() >= -1024 and np.abs(np.median(study.image[study.image < -700]) + 850) < 60
        index = np.stack(np.meshgrid(*(np.arange(s) for s in study.grid.shape), indexing="ij"), -1)
        for each in held:
            away = np.linalg.norm(study.grid.world(index) - each["centre_lps_mm"], axis=-1) / (each["diameter_mm"] / 2)
            assert np.median(study.image[0][away < 0.6]) > -600
            shell = study.image[0][(away > 1.25) & (away < 1.5)]
            shells[each["malignant"]].append(float(((shell > -700) & (shell < 0)).mean()))
    assert min(len(v) for v in shells.values()) >= 2 and np.mean(shells[1]) > np.mean(shells[0])


def test_malignant_nodules_are_larger_and_less_round() -> None:
    drawn = [draw_nodule(np.random.default_rng(i), i % 2, 3, 30) for i in range(400)]
    size, rough = {0: [], 1: []}, {0: [], 1: []}  # type: ignore[var-annotated]
    for each in drawn:
        low, high = each.box_mm()
        size[each.malignant].append((high - low).mean())
        rim = each.rim(sphere(500))
        rough[each.malignant].append(rim.std() / rim.mean())
        assert bool(len(each.spikes)) == bool(each.malignant)
    assert min(size[0]) >= 3 - 1e-6 and max(size[1]) <= 30 + 1e-6 and min(size[0]) < 3.6 and max(size[1]) > 27
    assert np.median(size[1]) > 1.5 * np.median(size[0]) and np.quantile(rough[1], 0.05) > np.quantile(rough[0], 0.95)
    np.testing.assert_allclose(np.linalg.norm(sphere(100), axis=-1), 1)


def test_some_patients_have_none_and_a_malignant_nodule_grows(layouts: dict[str, Truth]) -> None:
    truth = layouts["world"]
    assert truth.planted["negative"] and all(truth.true_label[name] == "" for name in truth.planted["negative"])
    first = {name: held for name, held in truth.planted["nodules"].items() if name.endswith("_1.nii.gz")}
    grown = 0
    for name, held in first.items():
        later = truth.planted["nodules"].get(name.replace("_1.", "_2."))
        for a, b in zip(held, later or held, strict=True):
            assert b["diameter_mm"] == pytest.approx(a["diameter_mm"] * (1 + 0.12 * a["malignant"] * bool(later)), rel=1e-3)
            grown += bool(later) and a["malignant"]
    assert grown >= 1


def test_shuffled_nodules_are_those_of_another_patient(tmp_path: Path) -> None:
    truth = make_phantom("nodules", tmp_path / "s", n=4, extent_mm=48, negative=0, shuffle=True)
    rows = table(truth)
    for name, held in truth.planted["nodules"].items():
        said = [[float(row["xmin_mm"]), float(row["ymin_mm"])] for row in rows[name]]
        assert said != [each["low_lps_mm"][:2] for each in held]
        assert said in [[each["low_lps_mm"][:2] for each in truth.planted["nodules"][o]] for o in truth.patient if truth.patient[o] != truth.patient[name]]


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no such layout of a phantom with nodules: expected centres or world or voxels or masks, got coco"):
        make_phantom("nodules", tmp_path / "a", layout="coco")
    with pytest.raises(OptionError, match="the volumes are too small for nodules: expected extent_mm of 48 or more, got 20"):
        make_phantom("nodules", tmp_path / "b", extent_mm=20)
    with pytest.raises(OptionError, match="the share of patients without a nodule is no share: expected 0 to 1, got -1"):
        make_phantom("nodules", tmp_path / "c", negative=-1)
    with pytest.raises(OptionError, match="nodules can only be shuffled between patients: expected two patients or more, got 1; ask for more volumes"):
        make_phantom("nodules", tmp_path / "d", n=1, shuffle=True)
