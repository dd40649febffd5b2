"""Laws of every format: what was written is what is read, where it was, however it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats import find_sources, open_study, recognise
from vesalius.phantoms import Truth, make_phantom


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("volumes", tmp_path_factory.mktemp("v") / "p", seed=2, n=8, flipped=0.5)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("dicom", tmp_path_factory.mktemp("d") / "p", seed=0, n=6, slices=10)


def open_one(path: Path) -> Study:
    (source,) = find_sources(path)
    return open_study(source)


@pytest.mark.parametrize(("suffix", "options"), [(".png", {}), (".tif", {}), (".bmp", {}), (".jpg", {"quality": 100, "subsampling": 0})])
def test_a_picture_is_read_as_it_was_written(suffix: str, options: dict[str, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17), dtype=np.uint8)
    try:
        Image.fromarray(pixels).save(tmp_path / f"film{suffix}", **options)
        study = open_one(tmp_path / f"film{suffix}")
    except FormatError as error:
        pytest.skip(f"not a format of this version: {error}")
    tolerance = 0 if suffix != ".jpg" else 3
    assert study.image.dtype == np.uint8 and study.image.shape == (1, 13, 17) and not study.grid.spacing_known
    assert np.abs(study.image[0].astype(int) - pixels.astype(int)).max() <= tolerance


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    study = open_one(tmp_path / "deep.png")
    assert study.bits == 16 and np.array_equal(study.image[0], pixels)


def test_a_nodule_is_found_at_its_world_mm_however_the_volume_is_stored(volumes: Truth) -> None:
    assert volumes.planted["flipped"]
    for name, nodule in volumes.planted["nodules"].items():
        study = open_one(volumes.path / name)
        index = study.grid.index(np.array(nodule["centre_lps_mm"])).round().astype(int)
        z, y, x = (slice(max(0, i - 1), i + 2) for i in index)
        assert np.median(study.image[0, z, y, x]) == pytest.approx(40, abs=35)


def test_the_volume_of_a_nodule_is_its_planted_volume(volumes: Truth) -> None:
    for name, nodule in volumes.planted["nodules"].items():
        study = open_one(volumes.path / name)
        places = np.stack(np.indices(study.grid.shape), -1)
        near = np.linalg.norm(study.grid.world(places) - nodule["centre_lps_mm"], axis=-1) < nodule["radius_mm"] + 1
        solid = (study.image[0] > -400) & near
        assert solid.sum() * study.grid.voxel_mm3 == pytest.approx(nodule["mm3"], rel=0.2)


def test_the_spacing_is_the_one_that_was_written(volumes: Truth) -> None:
    for name, spacing in volumes.planted["spacing_mm"].items():
        study = open_one(volumes.path / name)
        assert study.grid.spacing_known and study.grid.spacing_mm == pytest.approx(spacing, rel=1e-5)


def test_a_series_is_sorted_by_place_in_hu_whatever_its_syntax_and_slope(series: Truth) -> None:
    sound = [name for name in series.true_label if name not in series.planted["gap"] and name not in series.planted["tilt_deg"]]
    assert len({series.planted["syntax"][name] for name in sound}) >= 3
    for name in sound:
        study = open_one(series.path / name)
        assert study.modality == "CT" and study.image.shape == (1, 10, 40, 40)
        assert study.grid.spacing_mm == pytest.approx((2.0, 1.0, 1.0))
        assert -900 < np.median(study.image) < -820 and 0 < study.image.max() < 1500


def test_a_gap_is_named_and_never_closed_in_silence(series: Truth) -> None:
    (name,) = series.planted["gap"]
    with pytest.raises(FormatError, match="slice"):
        open_one(series.path / name)


def test_monochrome1_is_bright_where_the_body_is_dense(series: Truth) -> None:
    (name,) = series.planted["monochrome1"]
    study = open_one(series.path / name)
    assert study.image[0, -20:, :2].mean() < study.image[0, :, 36:44].mean()


@pytest.mark.parametrize("kind", ["films", "binary-folders", "multilabel", "ordinal", "regression", "volumes"])
def test_every_phantom_is_recognised_for_what_it_is(kind: str, tmp_path: Path) -> None:
    truth = make_phantom(kind, tmp_path / kind, n=60 if kind != "volumes" else 8)
    label = None if truth.target == "folder" else truth.target
    cohort = recognise(truth.data, label=label)
    assert cohort.target.kind == truth.target_kind and set(cohort.target.classes) == set(truth.classes)
    assert {case.id for case in cohort.cases} == set(truth.given_label) and cohort.patient_known
    assert groups({case.id: case.patient for case in cohort.cases}) == groups(truth.patient)


def groups(patient: Mapping[str, str]) -> set[frozenset[str]]:
    """Which images belong together, whatever the patients are called."""
    return {frozenset(name for name, whose in patient.items() if whose == who) for who in set(patient.values())}
