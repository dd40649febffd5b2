"""Tables whose columns name images and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from making import noise, png
from marking import ball, nifti, pictures, volumes

from vesalius.errors import DataError, LabelError
from vesalius.formats import open_case, open_truth, recognise


def put(root: Path, columns: str, rows: Sequence[str], table: str = "sheet.csv") -> Path:
    (root / table).write_text("\n".join([columns, *rows]), "utf-8")
    return root


def odd(root: Path, n: int = 4) -> Path:
    """Images and masks whose names do not tell which belong together: image a_i has mask 1_(n-1-i), a disc whose radius is 2 + i."""
    for i in range(n):
        png(root / "x" / f"a_{i}.png", noise(24, 20, seed=i))
        png(root / "y" / f"1_{n - 1 - i}.png", ball((24, 20), 255, radius=2 + i))
    return root


def test_a_column_names_the_mask_of_each_image(tmp_path: Path) -> None:
    odd(tmp_path)
    put(tmp_path, "image,mask,patient,split,age", [f"x/a_{i}.png,y/1_{3 - i}.png,p{i // 2},{'train' if i < 2 else 'test'},{50 + i}" for i in range(4)])
    cohort = recognise(tmp_path)
    assert cohort.layout == "mask-table" and cohort.target.kind == "mask" and cohort.target.classes == ("mask",)
    assert [case.patient for case in cohort.cases] == ["p0", "p0", "p1", "p1"] and [case.split for case in cohort.cases] == ["train"] * 2 + ["test"] * 2
    assert cohort.cases[3].clinical == {"age": 53} and "column 'image' names the images and column 'mask' the masks" in cohort.notes
    for i, case in enumerate(cohort.cases):
        assert np.array_equal(open_truth(case, cohort.target, open_case(case))[0] != 0, ball((24, 20), radius=2 + i) != 0)


def test_a_table_elsewhere_with_paths_from_its_own_folder_and_absolute_ones(tmp_path: Path) -> None:
    data, papers = tmp_path / "data", tmp_path / "papers"
    for i in range(3):
        png(data / f"{i}.png", noise(24, 20, seed=i))
        png(papers / "drawn" / f"m{i}.png", ball((24, 20), 255))
    papers.joinpath("sheet.csv").write_text(f"file,segmentation_path\n0.png,drawn/m0.png\n1.png,./drawn/m1.png\n2.png,{papers / 'drawn' / 'm2.png'}\n", "utf-8")
    cohort = recognise(data, table=papers / "sheet.csv")
    assert [Path(case.masks[0].source.path).name for case in cohort.cases] == ["m0.png", "m1.png", "m2.png"] and cohort.layout == "mask-table"


def test_names_without_folders_mean_the_only_file_or_that_in_the_folder_of_masks(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    put(tmp_path, "image,mask", ["000.png,001.png", "001.png,000.png", "002.png,002.png"])
    cohort = recognise(tmp_path)
    assert [(case.id, case.masks[0].source.path.rsplit("/", 2)[1:]) for case in cohort.cases] == [
        ("images/000.png", ["masks", "001.png"]), ("images/001.png", ["masks", "000.png"]), ("images/002.png", ["masks", "002.png"])]


def test_several_columns_are_structures_that_may_overlap(tmp_path: Path) -> None:
    nifti(tmp_path / "ct.nii.gz", noise(8, 9, 7))
    nifti(tmp_path / "l.nii.gz", ball())
    nifti(tmp_path / "t.nii.gz", ball(radius=1))
    nifti(tmp_path / "ct2.nii.gz", noise(8, 9, 7, seed=1))
    put(tmp_path, "image,liver_mask,tumour_mask", ["ct.nii.gz,l.nii.gz,t.nii.gz", "ct2.nii.gz,l.nii.gz,"])
    cohort = recognise(tmp_path)
    assert cohort.target.classes == ("liver", "tumour") and not cohort.target.exclusive
    truth = open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))
    assert truth.shape == (2, 7, 9, 8) and truth[0].sum() == ball().sum() and truth[1].sum() == ball(radius=1).sum()
    assert any("lack the file of a structure, which counts as absent there, e.g. ct2.nii.gz" in note for note in cohort.notes)
    assert recognise(tmp_path, label="tumour").target.classes == ("tumour",)
    assert recognise(tmp_path, label="liver_mask").cases[0].masks[0].name is None


def test_label_gives_the_numbers_of_one_column_their_names(tmp_path: Path) -> None:
    volumes(tmp_path, 2, image="ct/{}.nii.gz", mask="drawn/{}.nii.gz")
    put(tmp_path, "image,seg", [f"ct/case_{i:02d}.nii.gz,drawn/case_{i:02d}.nii.gz" for i in range(2)])
    assert recognise(tmp_path).target.classes == ("class 1", "class 2")
    assert recognise(tmp_path, label="front=1,back=2").target.classes == ("front", "back")


def test_label_names_a_column_that_does_not_speak_of_masks(tmp_path: Path) -> None:
    odd(tmp_path)
    put(tmp_path, "image,expert_a", [f"x/a_{i}.png,y/1_{3 - i}.png" for i in range(4)])
    cohort = recognise(tmp_path, label="expert_a", target="mask")
    assert cohort.layout == "mask-table" and len(cohort) == 4


def test_rows_of_one_image_add_up(tmp_path: Path) -> None:
    png(tmp_path / "a.png", noise(24, 20))
    png(tmp_path / "m1.png", ball((24, 20), 255, at=(5, 5)))
    png(tmp_path / "m2.png", ball((24, 20), 255, at=(16, 14)))
    (case,) = (cohort := recognise(put(tmp_path, "image,mask", ["a.png,m1.png", "a.png,m2.png"]))).cases
    assert len(case.masks) == 2 and (open_truth(case, cohort.target, open_case(case)) != 0).sum() == 2 * (ball((24, 20), at=(5, 5)) != 0).sum()


def test_images_without_a_mask_or_a_row_are_left_out_and_told(tmp_path: Path) -> None:
    odd(tmp_path)
    cohort = recognise(put(tmp_path, "image,mask", ["x/a_0.png,y/1_3.png", "x/a_1.png,", "x/none.png,y/1_2.png"]))
    assert [case.id for case in cohort.cases] == ["x/a_0.png"]
    told = "\n".join(cohort.notes)
    assert "1 rows of the table have no image: x/none.png" in told and "1 images have a row without a mask and were left out: x/a_1.png" in told
    assert "5 images or masks have no row in the table" in told


@pytest.mark.parametrize(("cell", "what"), [
    ("y/none.png", r"the mask that a row names is not there.*row 3, 'mask'.*y/none.png.*an empty cell says that the image is not marked"),
    ("x/a_1.png", "a row names the image as its own mask"),
])
def test_a_mask_that_is_not_one(tmp_path: Path, cell: str, what: str) -> None:
    odd(tmp_path)
    put(tmp_path, "image,mask", ["x/a_0.png,y/1_3.png", f"x/a_1.png,{cell}"])
    with pytest.raises(DataError, match=what):
        recognise(tmp_path)


def test_a_mask_or_an_image_whose_name_several_files_have(tmp_path: Path) -> None:
    for folder in ("p1", "p2"):
        png(tmp_path / folder / "im.png", noise(24, 20, seed=len(folder)))
        png(tmp_path / folder / "m.png", ball((24, 20), 255))
    with pytest.raises(DataError, match="not certain which mask a row means.*m.png: p1/m.png, p2/m.png"):
        recognise(put(tmp_path, "image,mask", ["p1/im.png,m.png"]))
    with pytest.raises(DataError, match="not certain which image a row means.*im.png: p1/im.png, p2/im.png"):
        recognise(put(tmp_path, "image,mask", ["im.png,p1/m.png"]))


def test_a_mask_on_another_grid_names_both(tmp_path: Path) -> None:
    nifti(tmp_path / "ct.nii.gz", noise(8, 9, 7))
    nifti(tmp_path / "m.nii.gz", ball((8, 9, 5)))
    cohort = recognise(put(tmp_path, "image,mask", ["ct.nii.gz,m.nii.gz"]))
    with pytest.raises(DataError, match=r"does not lie on the grid of its image.*m.nii.gz.*\(7, 9, 8\).*ct.nii.gz.*\(5, 9, 8\)"):
        open_truth(cohort.cases[0], cohort.target, open_case(cohort.cases[0]))


def test_pictures_and_volumes_are_not_mixed(tmp_path: Path) -> None:
    odd(tmp_path, 2)
    for i in range(2):
        nifti(tmp_path / f"ct{i}.nii.gz", noise(8, 9, 7))
        nifti(tmp_path / f"m{i}.nii.gz", ball())
    put(tmp_path, "image,mask", [*(f"x/a_{i}.png,y/1_{1 - i}.png" for i in range(2)), *(f"ct{i}.nii.gz,m{i}.nii.gz" for i in range(2))])
    with pytest.raises(DataError, match="pictures and volumes are mixed"):
        recognise(tmp_path)


def test_a_table_of_classes_beside_masks_is_two_readings(tmp_path: Path) -> None:
    odd(tmp_path)
    put(tmp_path, "image,mask,diagnosis", [f"x/a_{i}.png,y/1_{3 - i}.png,{'ab'[i % 2]}" for i in range(4)])
    with pytest.raises(DataError, match="two readings of the data fit.*mask-table.*--layout"):
        recognise(tmp_path)
    assert recognise(tmp_path, label="diagnosis").target.kind == "binary"
    assert recognise(tmp_path, target="mask").layout == "mask-table"


def test_a_table_without_masks_asked_for_as_one(tmp_path: Path) -> None:
    odd(tmp_path)
    put(tmp_path, "image,diagnosis", ["x/a_0.png,a", "x/a_1.png,b"])
    with pytest.raises(LabelError, match="no column of the table names masks.*--label COLUMN"):
        recognise(tmp_path, layout="mask-table")
    put(tmp_path, "image,mask", ["x/a_0.png,", "x/a_1.png,y/1_2.png"])
    (tmp_path / "x" / "a_1.png").unlink()
    with pytest.raises(LabelError, match="no row of the table names an image and its mask.*1 rows without an image that is there, 1 without a mask"):
        recognise(tmp_path)


def test_boxes_around_the_parts_of_masks_of_a_table(tmp_path: Path) -> None:
    odd(tmp_path)
    put(tmp_path, "image,mask", [f"x/a_{i}.png,y/1_{3 - i}.png" for i in range(4)])
    assert recognise(tmp_path, target="boxes").target.kind == "boxes"
