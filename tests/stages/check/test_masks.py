"""The audit of images with masks: what they hold, and each thing that may be wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from stages.cohorts import picture, save
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError, TooFewError
from vesalius.formats import case_hash
from vesalius.stages.check import Audit, audit_cohort, check, to_html, to_text
from vesalius.stages.split import split_cohort
from vesalius.storage import plain


def disc(value: int = 255, at: tuple[int, int] = (20, 30), radius: float = 6, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.where((y - at[0]) ** 2 + (x - at[1]) ** 2 <= radius**2, value, 0).astype(np.uint8)


def pictures(root: Path, n: int = 12) -> Path:
    for i in range(n):
        save(root, f"images/图 {7 * i}.png", picture(i))
        save(root, f"masks/图 {7 * i}.png", disc(at=(16 + i, 30), radius=4 + i % 5))
    return root


def volumes(root: Path, n: int = 6, spacing: tuple[float, ...] = (1.0, 2.0, 3.0)) -> Path:
    for i in range(n):
        for folder, array in (("images", picture(i, (24, 24 * 20)).reshape(24, 24, 20)), ("labels", blocks(i))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), root / folder / f"v{3 * i}.nii.gz")
    return root


def blocks(i: int) -> np.ndarray:
    """Class 1: two boxes of 8 samples; class 2: one box of 27, in even cases only."""
    array = np.zeros((24, 24, 20), np.uint8)
    array[i : i + 2, 2:4, 2:4] = array[10:12, 10:12, 10:12] = 1
    if i % 2 == 0:
        array[15:18, 15:18, 15:18] = 2
    return array


def codes(audit: Audit) -> dict[str, list[str]]:
    return {issue.code: list(issue.files) for issue in audit.issues}


def test_labels_are_the_classes_that_are_there_and_sizes_are_in_mm3(tmp_path: Path) -> None:
    audit = check(str(volumes(tmp_path)), label="lobe=1,cyst=2")
    held = {case.id: case.label for case in audit.cohort.cases}
    assert held == {f"images/v{3 * i}.nii.gz": "lobe" if i % 2 else "lobe|cyst" for i in range(6)}
    facts = json.loads(json.dumps(plain(audit.to_dict())))
    assert facts["masks"] == {"lobe": {"n_cases": 6, "median_size": 96.0, "unit": "mm3", "median_parts": 2.0},
                              "cyst": {"n_cases": 3, "median_size": 162.0, "unit": "mm3", "median_parts": 1.0}}
    assert facts["label_counts"] == {"lobe": 6, "cyst": 3} and not audit.excluded
    assert "anisotropic" in codes(audit) and "few_cases" in codes(audit)
    audit.raise_if_hopeless()


def test_the_seal_covers_the_masks_and_twins_are_found_by_the_image(tmp_path: Path) -> None:
    pictures(tmp_path)
    save(tmp_path, "images/copy.png", picture(0))
    save(tmp_path, "masks/copy.png", disc(at=(40, 40)))
    audit = check(str(tmp_path))
    assert audit.hashes == {case.id: case_hash(case) for case in audit.cohort.cases}
    assert audit.twins.exact == (("images/copy.png", "images/图 0.png"),)


def test_both_renderings_show_the_table(tmp_path: Path) -> None:
    audit = check(str(pictures(tmp_path)))
    text, median = to_text(audit), audit.masks()["mask"]["median_size"]
    assert "Structure" in text and "Median size" in text and f"{median:.4g} samples" in text and "结构" in to_text(audit, "zh")
    page = to_html(audit)
    assert "<th>Structure</th>" in page and "<th>结构</th>" in page and "<td>mask</td><td>12</td>" in page


def test_a_mask_on_another_grid_with_unknown_numbers_or_unreadable_is_left_out_with_its_reason(tmp_path: Path) -> None:
    volumes(tmp_path, 9)
    nib.save(nib.Nifti1Image(blocks(1), np.diag([1.0, 2.0, 3.5, 1.0])), tmp_path / "labels/v3.nii.gz")
    nib.save(nib.Nifti1Image(blocks(2) * 4, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "labels/v6.nii.gz")
    (tmp_path / "labels/v9.nii.gz").write_bytes((tmp_path / "labels/v9.nii.gz").read_bytes()[:120])
    nib.save(nib.Nifti1Image(blocks(4).astype(np.float32) / 3, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "labels/v12.nii.gz")
    audit = check(str(tmp_path), label="lobe=1,cyst=2")
    assert audit.excluded == {"images/v3.nii.gz": "mask on another grid", "images/v6.nii.gz": "unknown number in the mask",
                              "images/v9.nii.gz": "mask cannot be read", "images/v12.nii.gz": "mask cannot be used"}
    told = {issue.code: issue.en for issue in audit.issues}
    assert "v3.nii.gz" in told["mask_grid"] and "spacing (3.5, 2, 1)" in told["mask_grid"] and "spacing (3, 2, 1)" in told["mask_grid"]
    assert "1 masks hold a number that nobody named" in told["mask_number"] and "got 4 (" in told["mask_number"] and "8 (" in told["mask_number"]
    assert {"mask_unreadable", "mask_unusable"} <= set(told) and "missing_label" not in told
    assert [case.label for case in audit.cohort.cases if case.id in audit.excluded] == [None] * 4
    frame = split_cohort(audit).frame
    assert frame.loc[frame["split"] == "excluded", "excluded_because"].tolist() == [audit.excluded[name] for name in sorted(audit.excluded)]


def test_empty_full_and_copied_masks_are_told(tmp_path: Path) -> None:
    pictures(tmp_path)
    save(tmp_path, "masks/图 0.png", disc(0))
    save(tmp_path, "masks/图 7.png", np.full((64, 64), 255, np.uint8))
    save(tmp_path, "masks/图 14.png", disc(at=(33, 33)))
    save(tmp_path, "masks/图 21.png", disc(at=(33, 33)))
    found = codes(check(str(tmp_path)))
    assert found["empty_masks"] == ["images/图 0.png"] and found["full_masks"] == ["images/图 7.png"]
    assert sorted(found["same_masks"]) == ["images/图 14.png", "images/图 21.png"]


def test_what_is_sound_is_not_reported(tmp_path: Path) -> None:
    assert set(codes(check(str(pictures(tmp_path))))) == {"patient_unknown", "no_spacing", "note"}


def test_rare_structures_varying_spacing_and_single_slices_are_told(tmp_path: Path) -> None:
    volumes(tmp_path, 3)
    volumes(tmp_path / "more", 3, spacing=(1.0, 1.0, 1.0))
    for folder, array in (("images", picture(9, (24, 24))[:, None]), ("labels", blocks(0)[:, :1, :][:, :, 2:3].repeat(24, 2))):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / "thin.nii.gz")
    audit = check(str(tmp_path))
    found = codes(audit)
    assert found["single_slice"] == ["images/thin.nii.gz"] and "mixed_spacing" in found
    assert "rare_structure" not in found
    lone = check(str(volumes(tmp_path / "lone", 3)), label="lobe=1,cyst=2")
    assert "cyst (2)" in next(issue.en for issue in lone.issues if issue.code == "rare_structure")


def test_slices_of_one_volume_are_seen_refused_and_held_out_as_a_block(tmp_path: Path) -> None:
    film = gaussian_filter(np.random.default_rng(0).normal(size=(20, 64, 64)), (2, 4, 4))
    film = (255 * (film - film.min()) / np.ptp(film)).astype(np.uint8)
    for i, frame in enumerate(film):
        save(tmp_path, f"images/{i}.png", frame)
        save(tmp_path, f"masks/{i}.png", disc(at=(20 + i, 30)))
    audit = check(str(tmp_path))
    assert "slices" in codes(audit)
    with pytest.raises(TooFewError, match="the images look like slices of one volume.*got one patient, as it seems; say who.*--patient.*--split-by-image"):
        audit.raise_if_hopeless()
    audit.raise_if_hopeless(by="image")
    frame = split_cohort(audit, by="image").frame
    place = {int(Path(name).stem): part for name, part in zip(frame["id"], frame["split"], strict=True)}
    assert [place[i] for i in range(20)] == ["train"] * 13 + ["validation"] * 3 + ["test"] * 4
    assert any(name == "source" and value == "blocks" and "consecutive numbers" in reason for name, value, reason in split_cohort(audit, by="image").decisions)
    said = check(str(tmp_path), patient="none")
    assert "slices" not in codes(said)
    said.raise_if_hopeless()
    one = check(str(tmp_path), patient="^(images)")
    with pytest.raises(TooFewError, match="expected at least 3 patients, got one patient"):
        one.raise_if_hopeless()


def test_too_few_cases_and_masks_of_background_only_are_refused(tmp_path: Path) -> None:
    check(str(volumes(tmp_path / "five", 5))).raise_if_hopeless()
    with pytest.raises(TooFewError, match="too few images.*expected at least 5 that can be read and have a mask, got 4"):
        check(str(volumes(tmp_path / "four", 4))).raise_if_hopeless()
    empty = check(str(volumes(tmp_path / "empty", 6)), label="other=0")
    blank = replace(empty, cohort=replace(empty.cohort, cases=tuple(replace(case, label="") for case in empty.cohort.cases)))
    with pytest.raises(LabelError, match="every mask is empty.*expected a structure in at least some images, got 6 masks of background only"):
        blank.raise_if_hopeless()
    two = [replace(case, label="other" if i < 2 else "") for i, case in enumerate(empty.cohort.cases)]
    with pytest.raises(TooFewError, match="too few masks hold anything.*at least 3 patients.*got 'other' in 2"):
        replace(empty, cohort=replace(empty.cohort, cases=tuple(two))).raise_if_hopeless()


def test_when_no_mask_fits_the_most_frequent_reason_is_told(tmp_path: Path) -> None:
    volumes(tmp_path, 6)
    for path in (tmp_path / "labels").iterdir():
        nib.save(nib.Nifti1Image(blocks(0)[:, :, :9], np.diag([1.0, 2.0, 3.0, 1.0])), path)
    with pytest.raises(DataError, match="none of the images can be used.*got 6 images, most of them: mask on another grid"):
        check(str(tmp_path)).raise_if_hopeless()


def test_a_file_with_four_axes_is_left_out_and_what_to_do_is_said(tmp_path: Path) -> None:
    volumes(tmp_path, 7)
    nib.save(nib.Nifti1Image(np.stack([blocks(0)] * 3, -1), np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "images/v0.nii.gz")
    audit = check(str(tmp_path))
    assert audit.excluded == {"images/v0.nii.gz": "cannot be read"} and audit.cohort.ndim == 3
    told = next(issue.en for issue in audit.issues if issue.code == "unreadable")
    assert "got 4 axes, shape (24, 24, 20, 3)" in told and "name its channels in a dataset.json" in told


def test_channels_that_do_not_fit_and_masks_that_are_missing_are_told(tmp_path: Path) -> None:
    volumes(tmp_path, 6)
    audit = check(str(tmp_path))
    cases = [replace(case, channels=(replace(case.source, path=str(tmp_path / "odd.nii")),)) if i == 0 else replace(case, masks=()) if i == 1 else case
             for i, case in enumerate(audit.cohort.cases)]
    nib.save(nib.Nifti1Image(blocks(0), np.eye(4)), tmp_path / "odd.nii")
    seen = audit_cohort(replace(audit.cohort, cases=tuple(cases)))
    assert list(seen.excluded.values()) == ["channels that do not fit together", "no mask"]
    assert {"channel_grids", "no_mask"} <= set(codes(seen))


def test_the_border_of_the_field_of_view_makes_no_twins(tmp_path: Path) -> None:
    view = disc(255, (32, 32), 30)
    for i in range(16):
        inside = np.where(view > 0, 100 + picture(i).astype(int) // 16, 0).astype(np.uint8)
        save(tmp_path, f"training/images/{i * 3}_training.png", inside)
        save(tmp_path, f"training/1st_manual/{i * 3}_manual1.png", disc(at=(20 + i, 30)))
        save(tmp_path, f"training/mask/{i * 3}_training_mask.png", view)
    audit = check(str(tmp_path))
    assert all(case.view for case in audit.cohort.cases)
    assert not audit.twins.near


def test_masks_are_spread_over_the_parts_by_what_they_hold(tmp_path: Path) -> None:
    frame = split_cohort(check(str(volumes(tmp_path, 12)), label="lobe=1,cyst=2")).frame
    assert frame.groupby("split")["label"].nunique().to_dict() == {"test": 2, "train": 2, "validation": 2}


@pytest.mark.realdata
@pytest.mark.slow
def test_real_sets(shared_data: Path) -> None:
    drive = check(str(shared_data / "drive"))
    assert not drive.twins.near and not drive.excluded
    frame = split_cohort(drive).frame
    assert frame["split"].value_counts().to_dict() == {"test": 20, "train": 16, "validation": 4}
    isbi = check(str(shared_data / "isbi2012_membrane"), label="membrane=0")
    assert "slices" in codes(isbi) and isbi.cohort.target == TargetSpec("mask", ("membrane",), "mask", "--label membrane=0", ((0,),))
    held = split_cohort(isbi, by="image").frame
    assert sorted(int(Path(name).stem) for name in held.loc[held["split"] == "test", "id"]) == list(range(24, 30))
    hippocampus = check(str(shared_data / "msd_task04_hippocampus"), label="anterior=1,posterior=2")
    assert not hippocampus.excluded and hippocampus.masks()["anterior"]["n_cases"] == 260
