"""A case with its channels, its truth and its field of view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from making import noise, png
from marking import ONE, TWO, ball, case, nifti
from PIL import Image

from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, FormatError
from vesalius.formats.cases import MAX_CLASSES, SOFT, case_hash, image_hash, open_case, open_truth, open_view
from vesalius.formats.opening import content_hash


def truth_of(each, target=ONE):  # type: ignore[no-untyped-def]
    return open_truth(each, target, open_case(each))


def test_channels_are_joined_in_order_on_the_grid_of_the_first(tmp_path: Path) -> None:
    volumes = [noise(4, 5, 6, seed=k) for k in range(3)]
    paths = [nifti(tmp_path / f"ü {k}.nii.gz", volume) for k, volume in enumerate(volumes)]
    study = open_case(case(paths[0], channels=paths[1:]))
    assert study.image.shape == (3, 6, 5, 4) and study.grid.spacing_mm == (3.0, 2.0, 1.0)
    assert all(np.array_equal(study.image[k], volume.T) for k, volume in enumerate(volumes))


def test_channels_on_several_grids_are_refused_with_both_files_and_both_grids(tmp_path: Path) -> None:
    a, b = nifti(tmp_path / "a.nii", noise(4, 5, 6)), nifti(tmp_path / "b.nii", noise(4, 5, 6), np.diag([1.0, 2.0, 4.0, 1.0]))
    with pytest.raises(DataError, match=r"do not share one grid \(.*b.nii\): expected shape \(6, 5, 4\), spacing \(3, 2, 1\).*a.nii, "
                                        r"got .*spacing \(4, 2, 1\)"):
        open_case(case(a, channels=[b]))


def test_a_colour_file_is_no_channel_of_several(tmp_path: Path) -> None:
    a, b = png(tmp_path / "a.png", noise(6, 8)), png(tmp_path / "b.png", noise(6, 8, 3))
    with pytest.raises(DataError, match=r"a file of several is one channel \(.*b.png\): expected one channel a file, got 3 channels that differ"):
        open_case(case(a, channels=[b]))


def test_a_label_map_becomes_classes_on_the_grid_of_the_image(tmp_path: Path) -> None:
    marks = ball(value=2) + ball(value=1, at=(1, 1, 1), radius=1)
    each = case(nifti(tmp_path / "i.nii.gz", noise(8, 9, 7)), nifti(tmp_path / "m.nii.gz", marks))
    truth = truth_of(each, TWO)
    assert truth.shape == (1, 7, 9, 8) and truth.dtype == np.uint8
    assert np.array_equal(truth[0], marks.T)
    swapped = TargetSpec("mask", ("back", "front"), values=((2,), (1,)))
    assert np.array_equal(truth_of(each, swapped)[0] == 1, marks.T == 2)


@pytest.mark.parametrize("value", [1, 255])
def test_binary_pictures_may_use_1_or_255_and_three_equal_channels_are_grey(tmp_path: Path, value: int) -> None:
    disc = ball((9, 7), value)
    image = png(tmp_path / "i.png", noise(9, 7))
    for name, array in (("grey.png", disc), ("rgb.png", np.stack([disc] * 3, -1))):
        assert np.array_equal(truth_of(case(image, png(tmp_path / name, array)))[0], disc > 0)


def test_a_palette_picture_gives_its_indices(tmp_path: Path) -> None:
    marks = (ball((9, 7)) + ball((9, 7), 1, radius=1)).astype(np.uint8)
    drawn = Image.fromarray(marks, "P")
    drawn.putpalette([0, 0, 0, 200, 30, 30, 30, 30, 200])
    drawn.save(tmp_path / "m.png")
    assert np.array_equal(truth_of(case(png(tmp_path / "i.png", noise(9, 7)), tmp_path / "m.png"), TWO)[0], marks)


def test_a_mask_in_colour_is_refused(tmp_path: Path) -> None:
    each = case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "m.png", noise(9, 7, 3)))
    with pytest.raises(DataError, match=r"the mask is in colour \(.*m.png\): expected one number a sample, got 3 channels that differ; store it"):
        truth_of(each)


def test_an_unknown_number_is_named_with_the_file_and_the_known_ones(tmp_path: Path) -> None:
    marks = ball(value=2)
    marks[0, 0, :2] = 7
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", marks))
    with pytest.raises(DataError, match=r"a number that nobody named \(.*m.nii\): expected 0 background, 1 front, 2 back, got 7 \(2 samples\).*--label"):
        truth_of(each, TWO)


def test_fractions_and_negative_numbers_are_no_labels(tmp_path: Path) -> None:
    image = nifti(tmp_path / "i.nii", noise(8, 9, 7))
    with pytest.raises(DataError, match=r"the mask holds fractions \(.*f.nii\): expected whole numbers, got 0.5; store it as a label map"):
        truth_of(case(image, nifti(tmp_path / "f.nii", ball().astype(np.float32) / 2)))
    with pytest.raises(DataError, match=r"a number that is no label \(.*n.nii\): expected 0 to 65535, got -1"):
        truth_of(case(image, nifti(tmp_path / "n.nii", -ball().astype(np.int16))))


def test_whole_floats_are_labels(tmp_path: Path) -> None:
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", ball().astype(np.float64)))
    assert np.array_equal(truth_of(each)[0], ball().T)


def test_samples_that_nobody_judged_are_255(tmp_path: Path) -> None:
    marks = ball(value=3) + ball(value=1, at=(1, 1, 1), radius=1)
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", marks))
    truth = truth_of(each, replace(ONE, values=((1,),), ignore=3))
    assert np.array_equal(truth[0] == 255, marks.T == 3) and np.array_equal(truth[0] == 1, marks.T == 1)


def test_regions_share_numbers_in_a_plane_each_and_what_is_not_judged_is_so_in_all(tmp_path: Path) -> None:
    marks = np.arange(8 * 9 * 7).reshape(8, 9, 7) % 5
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", marks.astype(np.uint8)))
    truth = truth_of(each, TargetSpec("mask", ("whole", "core"), values=((1, 2, 3), (3,)), ignore=4, exclusive=False))
    assert truth.shape == (2, 7, 9, 8)
    assert np.array_equal(truth[0], np.select([marks.T == 4, marks.T > 0], [255, 1]))
    assert np.array_equal(truth[1], np.select([marks.T == 4, marks.T == 3], [255, 1]))


def test_where_zero_is_a_class_the_rest_is_background(tmp_path: Path) -> None:
    disc = ball((9, 7), 255)
    each = case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "m.png", disc))
    assert np.array_equal(truth_of(each, TargetSpec("mask", ("membrane",), values=((0,),)))[0], disc == 0)


def test_soft_edges_are_cut_at_half(tmp_path: Path) -> None:
    soft = np.linspace(0, 255, 63).astype(np.uint8).reshape(9, 7)
    each = case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "m.png", soft))
    assert np.array_equal(truth_of(each, TargetSpec("mask", ("mask",), values=(SOFT,)))[0], soft >= 128)


def test_a_file_for_each_structure_and_only_the_named_ones_count(tmp_path: Path) -> None:
    liver, spleen = ball(value=9), ball(at=(1, 1, 1), radius=1)
    image = nifti(tmp_path / "i.nii", noise(8, 9, 7))
    files = [nifti(tmp_path / f"{k}.nii", array) for k, array in enumerate((liver, spleen, ball()))]
    each = case(image, *files, names=["liver", "spleen", "other"])
    truth = truth_of(each, TargetSpec("mask", ("spleen", "liver")))
    assert np.array_equal(truth[0], np.select([liver.T > 0, spleen.T > 0], [2, 1]))


def test_structures_that_overlap_are_refused_unless_they_may(tmp_path: Path) -> None:
    image, a, b = (nifti(tmp_path / f"{name}.nii", array) for name, array in (("i", noise(8, 9, 7)), ("a", ball()), ("b", ball(radius=1))))
    each = case(image, a, b, names=["lung", "tumour"])
    with pytest.raises(DataError, match=r"the structures 'lung' and 'tumour' overlap \(.*b.nii\): expected a sample in one.*got 4 samples in both"):
        truth_of(each, TargetSpec("mask", ("lung", "tumour")))
    truth = truth_of(each, TargetSpec("mask", ("lung", "tumour"), exclusive=False))
    assert np.array_equal(truth[0], ball().T) and np.array_equal(truth[1], ball(radius=1).T)


def test_several_maps_of_a_case_add_up(tmp_path: Path) -> None:
    a, b = ball((9, 7), at=(2, 2), radius=1), ball((9, 7), at=(6, 4), radius=1)
    each = case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "a.png", a), png(tmp_path / "b.png", b))
    assert np.array_equal(truth_of(each)[0], a + b)


@pytest.mark.parametrize("affine", [np.diag([1.0, 2.0, 3.3, 1.0]), np.diag([1.0, 2.0, 3.0, 1.0]) + np.eye(4, k=3) * 5])
def test_another_spacing_or_origin_is_refused_with_both_files_and_both_grids(tmp_path: Path, affine: np.ndarray) -> None:
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", ball(), affine))
    with pytest.raises(DataError, match=r"does not lie on the grid of its image \(.*m.nii\): expected shape \(7, 9, 8\), spacing \(3, 2, 1\) mm, origin "
                                        r"\(0, 0, 0\) mm, axes RAS, as .*i.nii, got shape \(7, 9, 8\), spacing"):
        truth_of(each)


def test_another_shape_is_refused_also_where_no_spacing_is_known(tmp_path: Path) -> None:
    each = case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "m.png", ball((9, 8))))
    with pytest.raises(DataError, match=r"does not lie on the grid.*expected shape \(9, 7\), as .*i.png, got shape \(9, 8\); give the image"):
        truth_of(each)


def test_what_rounding_of_headers_does_is_no_other_grid(tmp_path: Path) -> None:
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), nifti(tmp_path / "m.nii", ball(), np.diag([1.00001, 2.0, 3.0, 1.0])))
    assert truth_of(each).any()


def test_a_mask_stored_along_other_axes_is_turned_onto_its_image(tmp_path: Path) -> None:
    marks = ball(at=(2, 3, 5), radius=1.5)
    marks[0, 0, 0] = marks[7, 0, 0] = marks[7, 8, 0] = 1
    stored = nib.Nifti1Image(marks, np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = stored.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    nib.save(turned, tmp_path / "m.nii")
    assert turned.shape != stored.shape
    each = case(nifti(tmp_path / "i.nii", noise(8, 9, 7)), tmp_path / "m.nii")
    assert np.array_equal(truth_of(each)[0], marks.T)


def test_itk_and_nifti_of_one_place_agree(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.7, 2.5, 1.0])
    affine[:3, 3] = 100, 120, -300
    image = nifti(tmp_path / "i.nii.gz", noise(8, 9, 7), affine)
    mask = SimpleITK.GetImageFromArray(ball().T)
    mask.SetSpacing((0.7, 0.7, 2.5))
    mask.SetOrigin((-100, -120, -300))
    SimpleITK.WriteImage(mask, str(tmp_path / "m.nrrd"))
    assert np.array_equal(truth_of(case(image, tmp_path / "m.nrrd"))[0], ball().T)


def test_a_case_without_mask_and_too_many_classes_are_told(tmp_path: Path) -> None:
    each = case(png(tmp_path / "i.png", noise(9, 7)))
    with pytest.raises(DataError, match=r"the image has no mask \(i.png\): expected a mask beside it; add its mask, or leave the image out"):
        truth_of(each)
    with pytest.raises(DataError, match=r"too many structures \(i.png\): expected at most 253, got 254; choose some with --label"):
        truth_of(case(png(tmp_path / "i.png", noise(9, 7)), png(tmp_path / "m.png", ball((9, 7)))), TargetSpec("mask", tuple(map(str, range(MAX_CLASSES + 1)))))


def test_the_field_of_view_is_true_inside(tmp_path: Path) -> None:
    disc = ball((9, 7), 255, radius=3)
    image = png(tmp_path / "i.png", noise(9, 7, 3))
    each = case(image, view=png(tmp_path / "v.png", disc))
    view = open_view(each, open_case(each))
    assert view is not None and view.dtype == bool and np.array_equal(view, disc > 0)
    assert open_view(case(image), open_case(case(image))) is None
    with pytest.raises(DataError, match="does not lie on the grid"):
        open_view(case(image, view=png(tmp_path / "w.png", ball((3, 3)))), open_case(each))


def test_the_hash_covers_image_channels_masks_names_and_view(tmp_path: Path) -> None:
    paths = [png(tmp_path / f"{k}.png", noise(9, 7, seed=k)) for k in range(4)]
    plain = case(paths[0])
    assert case_hash(plain) == image_hash(plain) == content_hash(plain.source)
    full = case(paths[0], paths[1], names=["a"], channels=[paths[2]], view=paths[3])
    several = [plain, full, replace(full, channels=()), replace(full, view=None), case(paths[0], paths[1]), case(paths[0], paths[1], names=["b"]),
               case(paths[0], paths[2], names=["a"])]
    assert len({case_hash(each) for each in several}) == len(several)
    before = case_hash(full)
    png(paths[1], noise(9, 7, seed=9))
    assert case_hash(full) != before and image_hash(full) == image_hash(replace(full, masks=()))


def test_all_channels_of_a_four_axis_file_or_one_of_them_are_read_when_asked_for(tmp_path: Path) -> None:
    volume = noise(4, 5, 6, 3)
    each = case(nifti(tmp_path / "v.nii.gz", volume))
    study = open_case(replace(each, source=replace(each.source, member="channels")))
    assert study.image.shape == (3, 6, 5, 4) and np.array_equal(study.image[2], volume[..., 2].T)
    one = open_case(replace(each, source=replace(each.source, member="channel:1")))
    assert one.image.shape == (1, 6, 5, 4) and np.array_equal(one.image[0], volume[..., 1].T)
    with pytest.raises(FormatError, match=r"no single image.*expected 2 or 3 axes, got 4 axes, shape \(4, 5, 6, 3\).*or name its channels in a dataset.json"):
        open_case(each)
    with pytest.raises(FormatError, match=r"no such channel.*expected 'channels', or 'channel:0' to 'channel:2'.*got 'channel:3'"):
        open_case(replace(each, source=replace(each.source, member="channel:3")))
