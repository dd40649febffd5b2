"""What is planted can be seen in the pixels: copies, markers, nodules of the stated volume, odd DICOM, bad files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from vesalius.phantoms import Truth, make_phantom


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom("films", tmp_path_factory.mktemp("films") / "p", seed=1, n=80, duplicates=2, naive_split=True)


def pixels(truth: Truth, name: str) -> np.ndarray:
    return np.asarray(Image.open(truth.path / name)).astype(float)


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_exact_copies_are_the_same_bytes_of_another_patient(films: Truth) -> None:
    pairs = films.planted["exact_duplicates"]
    assert len(pairs) == 2
    for pair in pairs:
        a, b = pair["ids"]
        assert (films.path / a).read_bytes() == (films.path / b).read_bytes() and films.patient[a] != films.patient[b]
    last = pairs[-1]["ids"]
    assert films.given_label[last[0]] != films.given_label[last[1]]


def test_near_copies_are_of_each_kind_and_alike_after_undoing(films: Truth) -> None:
    pairs = films.planted["near_duplicates"]
    assert sorted(pair["how"] for pair in pairs) == sorted(2 * ["re-encoded", "brightness", "crop", "flip"])
    for pair in pairs:
        a, b = (pixels(films, name) for name in pair["ids"])
        assert not np.array_equal(a, b)
        if pair["how"] == "crop":
            a, b = a[3:-3, 3:-3], np.asarray(Image.fromarray(b).resize((106, 106), Image.Resampling.BICUBIC))
        assert alike(a, b[:, ::-1] if pair["how"] == "flip" else b) > 0.97


def test_copies_cross_the_naive_split(films: Truth) -> None:
    lines = (films.path / "table.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("split")
    split = {line.split(",")[0]: line.split(",")[column] for line in lines[1:]}
    for pair in films.planted["exact_duplicates"] + films.planted["near_duplicates"]:
        assert {split[name] for name in pair["ids"]} == {"train", "test"}


def test_films_that_are_no_copies_are_not_the_same(films: Truth) -> None:
    named = {name for pair in films.planted["exact_duplicates"] + films.planted["near_duplicates"] for name in pair["ids"]}
    others = [name for name in films.true_label if name not in named]
    assert len({(films.path / name).read_bytes() for name in others}) == len(others)


def test_the_marker_lies_in_its_corner_on_a_share_of_one_class(films: Truth) -> None:
    marker = films.planted["marker"]
    y0, x0, y1, x1 = marker["box"]
    ill = [name for name, label in films.true_label.items() if label == "effusion"]
    marked = [name for name in marker["ids"] if name.endswith(".png")]
    assert set(marker["ids"]) <= set(ill) and 0.25 < len(marker["ids"]) / len(ill) < 0.6
    originals = {pair["ids"][1] for pair in films.planted["near_duplicates"]}
    for name in films.true_label:
        if name not in originals:
            white = (pixels(films, name)[y0:y1, x0:x1] > 250).sum()
            assert (white > 10) == (name in marked)


def test_mislabelled_films_are_the_ones_whose_labels_differ(films: Truth) -> None:
    differing = sorted(name for name in films.true_label if films.true_label[name] != films.given_label[name])
    assert differing == films.planted["mislabelled"] and 3 <= len(differing) <= 10


def test_the_nodule_is_brighter_than_the_same_film_without_it() -> None:
    from vesalius.phantoms.anatomy import Findings, chest_film, draw_person, draw_pose, nodule_box, place_nodule

    rng = np.random.default_rng(5)
    for _ in range(20):
        person, pose = draw_person(rng), draw_pose(rng)
        nodule = place_nodule(rng, person)
        change = chest_film(person, pose, Findings((nodule,)), 112) - chest_film(person, pose, Findings(), 112)
        y0, x0, y1, x1 = nodule_box(nodule, pose, 112)
        inside = np.zeros_like(change, bool)
        inside[y0:y1, x0:x1] = True
        assert change[inside].max() > 0.2 and np.abs(change[~inside]).max() < 0.05


def test_a_heart_of_the_stated_ratio_is_drawn_that_wide() -> None:
    from vesalius.phantoms.anatomy import Findings, Pose, chest_film, draw_person

    widths = []
    for half in (0.26, 0.36, 0.46):
        person = draw_person(np.random.default_rng(0), half)
        film = chest_film(person, Pose(), Findings(), 256)
        row = film[int((person.lung_bottom - 0.3 + 1) / 2 * 256)]
        widths.append(float((row > 0.5).sum()))
        assert person.cardiothoracic_ratio == pytest.approx(half / (0.42 + person.lung_width))
    assert widths == sorted(widths) and widths[2] > widths[0] + 20


def test_nodules_have_the_stated_volume_and_place(tmp_path: Path) -> None:
    truth = make_phantom("volumes", tmp_path / "v", seed=2, n=8, flipped=0.5)
    assert truth.planted["flipped"] and len(truth.planted["nodules"]) == 4
    for name, nodule in truth.planted["nodules"].items():
        image = nib.load(truth.path / name)
        volume = np.asarray(image.dataobj)
        index = np.stack(np.indices(volume.shape), -1)
        lps = nib.affines.apply_affine(image.affine, index) * np.array([-1, -1, 1])
        near = np.linalg.norm(lps - nodule["centre_lps_mm"], axis=-1) < nodule["radius_mm"]
        assert np.median(volume[near]) == pytest.approx(40, abs=30)
        assert near.sum() * abs(np.linalg.det(image.affine)) == pytest.approx(nodule["mm3"], rel=0.15)


def test_flipped_volumes_say_so_in_their_affine(tmp_path: Path) -> None:
    truth = make_phantom("volumes", tmp_path / "v", seed=2, n=8, flipped=0.5)
    for name in truth.true_label:
        code = "".join(nib.aff2axcodes(nib.load(truth.path / name).affine))
        assert code == ("RPS" if name in truth.planted["flipped"] else "LPS")


def test_dicom_series_hold_what_is_planted(tmp_path: Path) -> None:
    truth = make_phantom("dicom", tmp_path / "d", seed=0, n=6, slices=8, size=32)
    for series in truth.true_label:
        slices = [pydicom.dcmread(path) for path in sorted((truth.path / series).iterdir())]
        heights = [float(ds.ImagePositionPatient[2]) for ds in slices]
        assert heights != sorted(heights)
        assert {str(ds.file_meta.TransferSyntaxUID) for ds in slices} == {truth.planted["syntax"][series]}
        assert {ds.PatientID for ds in slices} == {truth.patient[series]}
        steps = np.diff(sorted(heights))
        assert (steps.max() > 1.5 * steps.min()) == (series in truth.planted["gap"])
        tilt = np.rad2deg(np.arcsin(float(slices[0].ImageOrientationPatient[5])))
        assert tilt == pytest.approx(truth.planted["tilt_deg"].get(series, 0), abs=0.01)
        hu = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])
        assert float(slices[0].RescaleSlope) == truth.planted["slope"].get(series, 1)
        assert -900 < np.median(hu) < -800 and hu.max() > 0
    assert len(set(truth.planted["syntax"].values())) == 5


def test_the_inverted_film_is_monochrome1(tmp_path: Path) -> None:
    truth = make_phantom("dicom", tmp_path / "d", n=2, slices=4, size=48)
    (name,) = truth.planted["monochrome1"]
    ds = pydicom.dcmread(truth.path / name)
    assert ds.PhotometricInterpretation == "MONOCHROME1" and ds.Modality == "DX"
    corner, middle = ds.pixel_array[-20:, :2].mean(), ds.pixel_array[:, 44:52].mean()
    assert corner > middle


def test_broken_files_are_broken_in_the_stated_way(tmp_path: Path) -> None:
    truth = make_phantom("broken", tmp_path / "b", n=4)
    files = truth.planted["files"]
    assert {"zero-bytes", "truncated", "not-an-image", "constant", "nan", "colour", "wrong-suffix", "good", "other-size"} == set(files.values())
    for name, what in files.items():
        path = truth.path / name
        if what == "zero-bytes":
            assert path.stat().st_size == 0
        elif path.suffix in (".png", ".jpg") and what in ("truncated", "not-an-image"):
            with pytest.raises((OSError, SyntaxError)):
                Image.open(path).load()
        elif what == "constant":
            assert np.ptp(np.asarray(Image.open(path))) == 0
        elif what == "nan":
            image = np.asarray(Image.open(path)) if path.suffix == ".tif" else np.asarray(nib.load(path).dataobj)
            assert np.isnan(image).any() and not np.isnan(image).all()
        elif what in ("good", "wrong-suffix", "other-size"):
            Image.open(path).load()
