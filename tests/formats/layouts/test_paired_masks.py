"""Images with masks beside them, in all the usual habits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from making import noise, png, series
from marking import ball, nifti, pictures, volumes
from PIL import Image

from vesalius.core.cohort import Cohort, Source
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError, OptionError
from vesalius.formats import open_case, open_truth, open_view, recognise
from vesalius.formats.cases import SOFT
from vesalius.formats.layouts._pairing import pair
from vesalius.formats.layouts._roles import items_of
from vesalius.formats.layouts._structures import named_numbers


def put(root: Path, names: Sequence[str]) -> Path:
    """Pictures by name; what a person would take for a mask is one."""
    for i, name in enumerate(names):
        is_mask = any(word in name for word in ("mask", "seg", "label", "manual", "gt", "HO", "truth", "fov"))
        png(root / name, ball((24, 20), 255, at=(9 + i % 4, 10)) if is_mask else noise(24, 20, seed=i))
    return root


def pairs(cohort: Cohort) -> dict[str, list[str]]:
    return {case.id: sorted(Path(mask.source.path).relative_to(cohort.root).as_posix() for mask in case.masks) for case in cohort.cases}


@pytest.mark.parametrize(("image", "mask"), [
    ("images/{}.png", "masks/{}.png"), ("Images/{}.png", "Ground Truth/{}.gif"), ("imgs/img_{}.png", "labels/mask_{}.png"),
    ("image/x{}.png", "gt/x{}_gt.png"), ("{}.png", "{}_mask.png"), ("{}_image.png", "{}_label.png"), ("p {}.png", "p {}-label.png"),
    ("ISIC_{}.jpg", "ISIC_{}_segmentation.png"),
    ("a/b/images/{}.png", "a/b/annotations/{}.png"), ("训练 图/images/病例{}.png", "训练 图/标注/病例{}.png"),
    ("images/case{}_scan.png", "segmentations/case{}-seg.png"),
    ("{}/image.png", "{}/mask.png"), ("{}/images/x.png", "{}/masks/y.png"), ("images/{}/x.png", "masks/{}/x.png"), ("images/s-{}.png", "manual/{}.manual1.png"),
])
def test_habits_of_naming(tmp_path: Path, image: str, mask: str) -> None:
    numbers = ["001", "002", "010", "021"]
    root = put(tmp_path / "set ü", [each.format(n) for n in numbers for each in (image,)])
    for n in numbers:
        png(root / mask.format(n), ball((24, 20), 255))
    cohort = recognise(root)
    assert cohort.layout == "paired-masks" and cohort.ndim == 2
    assert pairs(cohort) == {image.format(n): [mask.format(n)] for n in numbers}
    assert cohort.target == TargetSpec("mask", ("mask",), "mask", "the masks hold 0 and 255", ((255,),))


def test_drive_official_split_field_of_view_and_second_observer(tmp_path: Path) -> None:
    names = [f"{part}/{folder}" for part, kind in (("training", "training"), ("test", "test")) for n in ("21", "22", "23")
             for folder in (f"images/{n}_{kind}.png", f"1st_manual/{n}_manual1.gif", f"mask/{n}_{kind}_mask.gif")]
    root = put(tmp_path, [*names, *(f"test/2nd_manual/{n}_manual2.gif" for n in ("21", "22", "23"))])
    cohort = recognise(root)
    assert pairs(cohort)["test/images/22_test.png"] == ["test/1st_manual/22_manual1.gif"] and len(cohort) == 6
    assert [case.split for case in cohort.cases] == ["test"] * 3 + ["train"] * 3
    assert all(case.view is not None and Path(case.view.path).parent.name == "mask" for case in cohort.cases)
    assert any("3 masks are of a second observer and were left out: test/2nd_manual/21_manual2.gif" in note for note in cohort.notes)
    assert open_view(cohort.cases[0], open_case(cohort.cases[0])) is not None


def test_a_flat_folder_with_two_observers(tmp_path: Path) -> None:
    root = put(tmp_path, [f"Image_{n}{side}{kind}" for n in ("01", "02", "03") for side in "LR" for kind in (".jpg", "_1stHO.png", "_2ndHO.png")])
    cohort = recognise(root)
    assert pairs(cohort)["Image_02R.jpg"] == ["Image_02R_1stHO.png"] and len(cohort) == 6


def test_training_folders_alone_are_no_split_and_images_without_mask_are_named(tmp_path: Path) -> None:
    pictures(tmp_path / "train", 4, image="image/{}.png", mask="label/{}.png")
    cohort = recognise(put(tmp_path, ["test/7.png", "test/8.png"]))
    assert len(cohort) == 4 and not cohort.has_official_split
    assert "2 images have no mask and were left out: test/7.png, test/8.png" in cohort.notes


def test_a_mask_without_image_is_named(tmp_path: Path) -> None:
    cohort = recognise(put(pictures(tmp_path, 4), ["masks/lost_mask.png"]))
    assert "1 masks have no image and were left out: masks/lost_mask.png" in cohort.notes and len(cohort) == 4


def test_a_file_for_each_structure(tmp_path: Path) -> None:
    for i in range(3):
        nifti(tmp_path / f"s{i:04d}" / "ct.nii.gz", noise(8, 9, 7, seed=i))
        nifti(tmp_path / f"s{i:04d}" / "segmentations" / "liver.nii.gz", ball())
        nifti(tmp_path / f"s{i:04d}" / "segmentations" / "spleen.nii.gz", ball(at=(1, 1, 1), radius=1))
        png(tmp_path / f"s{i:04d}" / "segmentations" / "preview.png")
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("liver", "spleen") and cohort.target.values == () and cohort.target.exclusive
    truth = open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert np.array_equal(truth[0], ball().T + 2 * ball(at=(1, 1, 1), radius=1).T)
    assert any("3 masks have no image and were left out: s0000/segmentations/preview.png" in note for note in cohort.notes)
    assert recognise(tmp_path, label="spleen", target="mask").target.classes == ("spleen",)
    with pytest.raises(LabelError, match="there is no structure of that name: expected of liver, spleen, got kidney; correct --label"):
        recognise(tmp_path, label="spleen,kidney", target="mask")


def test_structures_that_overlap_do_not_exclude_one_another_and_absent_files_are_told(tmp_path: Path) -> None:
    for i in range(3):
        nifti(tmp_path / f"images/{i:02d}.nii", noise(8, 9, 7, seed=i))
        nifti(tmp_path / f"masks/lung/{i:02d}.nii", ball())
        if i != 1:
            nifti(tmp_path / f"masks/tumour/{i:02d}.nii", ball(radius=1))
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("lung", "tumour") and not cohort.target.exclusive and "may overlap, as in images/00.nii" in cohort.target.reason
    assert any("1 cases lack the file of a structure, which counts as absent there, e.g. images/01.nii" in note for note in cohort.notes)


def test_several_masks_of_one_picture_add_up(tmp_path: Path) -> None:
    names = ["benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png", "benign/benign (2).png", "benign/benign (2)_mask.png",
             "malignant/malignant (1).png", "malignant/malignant (1)_mask.png"]
    put(tmp_path, names)
    with pytest.raises(DataError, match="two readings of the data fit.*class-folders: 2 folders.*paired-masks: 3 images with masks.*choose with --layout"):
        recognise(tmp_path)
    cohort = recognise(tmp_path, target="mask")
    assert pairs(cohort)["benign/benign (1).png"] == ["benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"]
    assert recognise(tmp_path, target="binary").layout == "class-folders"


def test_instances_in_a_folder_for_each_image_are_one_structure(tmp_path: Path) -> None:
    root = put(tmp_path, [f"c{i}/{'images' if k == 0 else 'masks'}/{'gt' if k else ''}{i}abc{k}.png" for i in range(3) for k in range(4)])
    cohort = recognise(root)
    assert cohort.target.classes == ("mask",) and [len(case.masks) for case in cohort.cases] == [3, 3, 3]


def test_files_of_several_channels(tmp_path: Path) -> None:
    for i in range(3):
        for name in ("t1", "flair", "t2"):
            nifti(tmp_path / f"B_{i:03d}" / f"B_{i:03d}_{name}.nii.gz", noise(8, 9, 7, seed=i))
        nifti(tmp_path / f"B_{i:03d}" / f"B_{i:03d}_seg.nii.gz", ball())
    cohort = recognise(tmp_path)
    assert [case.id for case in cohort.cases] == [f"B_{i:03d}/B_{i:03d}_flair.nii.gz" for i in range(3)]
    assert open_case(cohort.cases[0]).image.shape == (3, 7, 9, 8)
    assert "3 files are the channels of each image" in cohort.notes
    (tmp_path / "B_001" / "B_001_t1.nii.gz").unlink()
    with pytest.raises(DataError, match="it is not certain which mask belongs to which image.*got B_001/B_001_flair.nii.gz, B_001/B_001_t2.nii.gz, B_001"):
        recognise(tmp_path)


def test_two_images_of_one_name_are_not_guessed(tmp_path: Path) -> None:
    root = put(tmp_path, [f"images/{n}.png" for n in "123"] + [f"masks/{n}.png" for n in "123"] + ["images/2.jpg"])
    with pytest.raises(DataError, match=r"not certain which mask belongs to which image.*got images/2.jpg, images/2.png, masks/2.png; rename the files"):
        recognise(root)


def test_numbers_get_names_from_a_file_or_from_the_user(tmp_path: Path) -> None:
    volumes(tmp_path, 4, image="images/{}.nii.gz", mask="labels/{}.nii.gz")
    assert recognise(tmp_path).target == TargetSpec("mask", ("class 1", "class 2"), "mask", "the masks hold the numbers 1, 2", ((1,), (2,)))
    named = recognise(tmp_path, label="anterior=1, posterior=2").target
    assert named.classes == ("anterior", "posterior") and named.values == ((1,), (2,)) and named.reason == "--label anterior=1, posterior=2"
    regions = recognise(tmp_path, label="whole=1+2,core=2,ignore=255").target
    assert (regions.values, regions.exclusive, regions.ignore) == (((1, 2), (2,)), False, 255)
    (tmp_path / "labels.txt").write_text("0 background\n1 head\n2 tail\n3 body\n")
    beside = recognise(tmp_path).target
    assert beside.classes == ("head", "tail", "body") and beside.reason == "the names are in labels.txt"
    with pytest.raises(OptionError, match="--label does not name the numbers of the masks: expected e.g. anterior=1.*got 'b=x'"):
        recognise(tmp_path, label="a=1,b=x")
    with pytest.raises(OptionError, match="there is no structure among the names.*got background"):
        recognise(tmp_path, label="background=0")
    assert recognise(tmp_path, label="front=1", target="mask").target.classes == ("front",)


@pytest.mark.parametrize(("text", "names"), [
    ("liver\nspleen", {"liver": (1,), "spleen": (2,)}), ("background\nliver", {"background": (0,), "liver": (1,)}), ("number,name\n1,liver\n5,left kidney",
     {"liver": (1,), "left kidney": (5,)}), ('# ITK-SnAP\n0 0 0 0 0 0 0 "Clear Label"\n1 255 0 0 1 1 1 "Anterior"', {"Clear Label": (0,), "Anterior": (1,)}),
    ("", {}), ("1;2;3\n4;5;6", {}),
])
def test_files_of_names(text: str, names: dict[str, tuple[int, ...]]) -> None:
    assert named_numbers(text) == names


def test_binary_masks_may_mix_1_and_255_and_255_beside_classes_is_not_judged(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 3)
    png(tmp_path / "a/masks/001.png", ball((24, 20), 1))
    assert recognise(tmp_path / "a").target.values == ((1, 255),)
    pictures(tmp_path / "b", 3, value=2)
    png(tmp_path / "b/masks/001.png", ball((24, 20), 1) + np.roll(ball((24, 20), 255), 10, 0))
    target = recognise(tmp_path / "b").target
    assert (target.classes, target.ignore) == (("class 1", "class 2"), 255) and "255 counts as not judged" in target.reason


def test_jpeg_masks_are_cut_at_half(tmp_path: Path) -> None:
    pictures(tmp_path, 4)
    for i in range(4):
        (tmp_path / f"masks/{i:03d}.png").unlink()
        Image.fromarray(ball((160, 160), 255, radius=40)).save(tmp_path / f"masks/{i:03d}.jpg", quality=70)
        png(tmp_path / f"images/{i:03d}.png", noise(160, 160, seed=i))
    cohort = recognise(tmp_path)
    assert cohort.target.values == (SOFT,) and any("soft edges" in note for note in cohort.notes)
    truth = open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert (truth[0] != (ball((160, 160), 1, radius=40))).mean() < 0.001


def test_masks_of_background_only_and_pictures_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 3, value=0)
    with pytest.raises(LabelError, match="every mask is empty.*expected samples that are not 0, got 3 masks of background only"):
        recognise(tmp_path / "a")
    pictures(tmp_path / "b", 3)
    png(tmp_path / "b/masks/001.png", noise(24, 20))
    with pytest.raises(DataError, match=r"the mask is a picture and no label map \(.*001.png\): expected a number for each structure, got"):
        recognise(tmp_path / "b")


def test_masks_that_cannot_be_read_are_left_to_check_unless_all_are_such(tmp_path: Path) -> None:
    pictures(tmp_path, 4)
    (tmp_path / "masks/001.png").write_bytes(b"")
    assert recognise(tmp_path).target.values == ((255,),)
    for i in range(4):
        (tmp_path / f"masks/{i:03d}.png").write_bytes(b"")
    with pytest.raises(DataError, match="no mask can be read.*got 4 files"):
        recognise(tmp_path)


def test_patients_and_columns_from_names_and_from_a_table(tmp_path: Path) -> None:
    root = put(tmp_path, [f"{kind}/p{p}_{k}.png" for kind in ("images", "masks") for p in (10, 11, 12) for k in range(3)])
    assert recognise(root).patients == ["10", "11", "12"]
    assert recognise(root, patient="none").patient_known is False
    (tmp_path / "info.csv").write_text("image,patient,age,split\n" + "".join(f"p{p}_{k}.png,A{p},{40 + p},{'test' if p == 12 else 'train'}\n"
                                                                           for p in (10, 11, 12) for k in range(3)))
    cohort = recognise(root, table="info.csv", target="mask")
    assert cohort.patients == ["A10", "A11", "A12"] and cohort.cases[0].clinical == {"age": 50} and cohort.cases[-1].split == "test"
    (tmp_path / "other.csv").write_text("image,patient\nq.png,1\n")
    with pytest.raises(DataError, match="no row of the table has an image"):
        recognise(root, table="other.csv", target="mask")


def test_what_was_asked_for_must_be_there(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 3)
    with pytest.raises(LabelError, match="the images have no labels"):
        recognise(tmp_path / "a", target="binary")
    with pytest.raises(OptionError, match="--layout paired-masks reads masks: expected a target of that kind.*got --target binary"):
        recognise(tmp_path / "a", target="binary", layout="paired-masks")
    with pytest.raises(OptionError, match="--layout table reads labels.*got --target mask"):
        recognise(tmp_path / "a", target="mask", layout="table")
    put(tmp_path / "c", ["x/1.png", "x/2.png", "y/3.png", "y/4.png"])
    with pytest.raises(LabelError, match="the images have no masks.*expected folders such as images and masks.*got 4 images"):
        recognise(tmp_path / "c", target="mask")
    with pytest.raises(DataError, match="no image has a mask"):
        recognise(tmp_path / "c", layout="paired-masks")
    with pytest.raises(OptionError, match="unknown target 'masks'"):
        recognise(tmp_path / "c", target="masks")


def test_numbers_alone_make_masks_only_when_they_are_asked_for(tmp_path: Path) -> None:
    for name in "abcd":
        png(tmp_path / f"{name}.png", noise(24, 20, seed=ord(name)))
        png(tmp_path / f"{name}_1.png", ball((24, 20), 255))
    with pytest.raises(LabelError, match="the images have no labels"):
        recognise(tmp_path)
    assert pairs(recognise(tmp_path, target="mask")) == {f"{name}.png": [f"{name}_1.png"] for name in "abcd"}


def test_a_dicom_series_with_a_mask_that_is_stored_in_another_direction(tmp_path: Path) -> None:
    for name in ("P1", "P2", "P3"):
        series(tmp_path / "images" / name, SeriesInstanceUID=f"1.2.{name[1]}")
        marks = np.zeros((6, 4, 5), np.uint8)
        marks[1, 2, 3] = 1
        affine = np.diag([-0.7, -0.5, 2.5, 1.0])
        affine[:3, 3] = 10, 20, 30
        flipped = nib.Nifti1Image(marks, affine).as_reoriented(np.array([[0, -1], [1, -1], [2, -1]]))
        (tmp_path / "labels").mkdir(exist_ok=True)
        nib.save(flipped, tmp_path / "labels" / f"{name}.nii.gz")
    cohort = recognise(tmp_path)
    assert cohort.layout == "paired-masks" and [case.id for case in cohort.cases] == ["images/P1", "images/P2", "images/P3"] and cohort.ndim == 3
    study = open_case(cohort.cases[0])
    truth = open_truth(cohort.cases[0], cohort.target, study)
    assert np.argwhere(truth[0]).tolist() == [[3, 2, 1]] and study.image[0, 3, 2, 1] == 300 - 1000


def test_stacks_of_pages_are_volumes_with_stacks_of_masks(tmp_path: Path) -> None:
    for i in range(3):
        for folder, stack in (("images", noise(5, 24, 20, seed=i)), ("masks", ball((5, 24, 20), 255))):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"s{i}.tif", stack, photometric="minisblack")
    cohort = recognise(tmp_path)
    assert cohort.ndim == 3
    assert np.array_equal(open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))[0], ball((5, 24, 20)))


def test_many_names_are_paired_in_little_time() -> None:
    names = [f"{folder}p{i:05d}{end}.png" for i in range(8000) for folder, end in (("", "_0000"), ("", "_0001"), ("", "_seg"))]
    items = items_of([(name, Source("raster", name)) for name in names])
    start = time.perf_counter()
    found = pair(items, "x")
    assert len(found.pairs) == 8000 and len(found.pairs[0].images) == 2 and time.perf_counter() - start < 10


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "n", "ndim", "classes"), [
    ("drive", 40, 2, 1), ("isbi2012_membrane", 30, 2, 1), ("msd_task04_hippocampus", 260, 3, 2), ("pyradiomics_cases", 4, 3, 4),
])
def test_real_sets_are_recognised_without_a_flag(shared_data: Path, name: str, n: int, ndim: int, classes: int) -> None:
    cohort = recognise(shared_data / name)
    assert (cohort.layout, len(cohort), cohort.ndim, len(cohort.target.classes)) == ("paired-masks", n, ndim, classes)
    assert all(len(case.masks) == 1 for case in cohort.cases)
    study = open_case(cohort.cases[0])
    assert open_truth(cohort.cases[0], cohort.target, study).shape == (1, *study.grid.shape)
    assert (name == "drive") == (cohort.cases[0].view is not None) == cohort.has_official_split
