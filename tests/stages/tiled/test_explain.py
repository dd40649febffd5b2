"""Which cases of a mask run are shown, and that their pictures show the right place of the right class."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import IGNORED, TargetSpec
from vesalius.errors import DataError
from vesalius.stages.explain.pictures import BOTH, PREDICTION, TRUTH, outlined, scaled_mask, scaled_size
from vesalius.stages.tiled.explain import Case, choose_masks, explain_masks, gradcam_on, judged, of_class, shown_axes
from vesalius.transforms.reading import canonical

TARGET = TargetSpec("mask", ("head", "tail"), values=((1,), (2,)))


@dataclass(frozen=True)
class Trace:
    order: tuple[int, ...]
    flips: tuple[int, ...]
    stored: tuple[int, ...]
    shape: tuple[int, ...]


class Bright(nn.Module):
    """Class 1 where it is bright, class 2 where it is dark, seen at half the resolution."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        conv, pool = (nn.Conv2d, nn.AvgPool2d) if ndim == 2 else (nn.Conv3d, nn.AvgPool3d)
        self.see, self.pool = conv(1, 2, 1, bias=False), pool(2)
        self.see.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, *(1,) * ndim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = F.relu(self.pool(self.see(x)))
        return F.interpolate(torch.cat([torch.full_like(seen[:, :1], 0.5), seen], 1), x.shape[2:])


@dataclass
class Stub:
    """The part of `TiledMapping` that explanations use; it answers ``labels`` for everything."""

    labels: np.ndarray
    size: tuple[int, ...]
    uncertainty: np.ndarray | None = None
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    device: str = "cpu"
    asked: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reads, self.output, self.network = SimpleNamespace(size=self.size), SimpleNamespace(target=TARGET), Bright(len(self.size))

    def encode(self, study: Study) -> tuple[np.ndarray, Trace]:
        order, flips = canonical(study.grid)
        image = study.image.astype(np.float32).transpose(0, *(1 + a for a in order))
        image = np.flip(image, [1 + a for a in flips])
        shape = tuple(round(n * s) for n, s in zip(image.shape[1:], self.scale, strict=False))
        mode = "bilinear" if study.ndim == 2 else "trilinear"
        made = F.interpolate(torch.from_numpy(image.copy())[None], shape, mode=mode)[0].numpy()
        return made, Trace(order, flips, image.shape[1:], shape)

    def segment(self, study: Study, *, uncertainty: bool = False) -> SimpleNamespace:
        self.asked.append(uncertainty)
        doubt = np.zeros(study.grid.shape, np.float32) if self.uncertainty is None else self.uncertainty
        return SimpleNamespace(labels=self.labels, uncertainty=doubt)


def rows(dices: dict[str, tuple[float, float]], split: str = "test") -> pd.DataFrame:
    facts = [{"id": c, "patient": c, "split": split, "class": n, "dice": d} for c, each in dices.items() for n, d in zip(TARGET.classes, each, strict=True)]
    return pd.DataFrame(facts)


def volume(axes: tuple[int, ...] = (0, 1, 2), flip: int | None = None, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> tuple[Study, np.ndarray, np.ndarray]:
    """A bright and a dark block, the truth, and a prediction that is wrong about the bright one in canonical slice 14; stored as told."""
    image, truth = np.zeros((24, 26, 28), np.float32), np.zeros((24, 26, 28), np.uint8)
    image[6:16, 4:12, 6:14], image[4:8, 18:24, 18:24] = 2, -2
    truth[6:16, 4:12, 6:14], truth[4:8, 18:24, 18:24] = 1, 2
    truth[10, 3:13, 5:15] = 1
    wrong = truth.copy()
    wrong[14, 4:12, 6:13] = 0
    wrong[9, 4:12, 6:8] = 0
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing[::-1])
    made = []
    for array in (image, truth, wrong):
        array = array if flip is None else np.flip(array, flip)
        made.append(np.ascontiguousarray(array.transpose(axes)))
    columns = affine[:3, :3].copy()
    if flip is not None:
        columns[:, 2 - flip] *= -1
    turned = affine.copy()
    turned[:3, :3] = columns[:, [2 - axes[2 - c] for c in range(3)]]
    grid = Grid(made[0].shape, tuple(spacing[a] for a in axes), turned)
    return Study(made[0][None], grid), made[1][None], made[2][None]


def test_the_worst_come_first_with_their_worst_class() -> None:
    dices = {f"c{i:02d}": (0.1 * i / 2 + 0.2, 0.1 * i / 2 + 0.1) for i in range(14)} | {"empty": (np.nan, np.nan), "half": (0.95, np.nan)}
    chosen = choose_masks(pd.concat([rows(dices).sample(frac=1, random_state=0), rows({"v": (0.0, 0.0)}, "validation")]))
    assert [c[0] for c in chosen] == ["c00", "c01", "c02", "c03", "c04", "c05", "c06", "c07", "c13", "half"]
    assert [c[1] for c in chosen] == ["worst"] * 6 + ["middle"] * 2 + ["best"] * 2
    assert chosen[0][2:] == ("tail", pytest.approx(0.1)) and chosen[-1][2:] == ("head", 0.95)


@pytest.mark.parametrize(("n", "roles"), [(1, ["worst"]), (3, ["worst", "worst", "best"]), (5, ["worst"] * 3 + ["best"] * 2), (0, [])])
def test_few_cases_are_shown_once(n: int, roles: list[str]) -> None:
    chosen = choose_masks(rows({f"c{i}": (0.1 * i, 0.5) for i in range(n)}) if n else rows({"e": (np.nan, np.nan)}))
    assert [c[1] for c in chosen] == roles and len({c[0] for c in chosen}) == n


def test_validation_is_shown_where_there_is_no_test() -> None:
    assert [c[0] for c in choose_masks(rows({"v": (0.3, 0.4)}, "validation"))] == ["v"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="the predictions lack a column: expected dice, got id, patient, split, class; evaluate the run again"):
        choose_masks(rows({"a": (0, 0)}).drop(columns="dice"))


def test_pictures_and_index(tmp_path: Path) -> None:
    study, truth, wrong = volume()
    mapping = Stub(wrong, (16, 16, 16))
    said: list[tuple[int, int, str]] = []
    predictions = rows({"a": (0.4, 0.9), "b": (0.9, 0.95)})
    explain_masks(mapping, predictions, lambda case: (study, truth), tmp_path, progress=lambda *facts: said.append(facts))
    found = json.loads((tmp_path / "cases.json").read_text("utf-8"))
    assert [(c["id"], c["role"], c["class"], c["dice"]) for c in found] == [("a", "worst", "head", 0.4), ("b", "best", "head", 0.9)]
    assert said == [(1, 2, "explain"), (2, 2, "explain")] and mapping.asked == [True, True]
    for case in found:
        files = [case["image"], case["overlay"], case["uncertainty"], *(m["file"] for m in case["maps"])]
        assert [m["method"] for m in case["maps"]] == ["gradcam", "largest"] and len(set(files)) == 5
        sizes = {Image.open(tmp_path / file).size for file in files}
        assert sizes == {(384, 357)}
    overlaid, plain = (np.asarray(Image.open(tmp_path / found[0][which])) for which in ("overlay", "image"))
    assert (overlaid == TRUTH).all(-1).sum() > 50 and (plain == TRUTH).all(-1).sum() == 0


@pytest.mark.parametrize(("axes", "flip"), [((0, 1, 2), None), ((2, 1, 0), None), ((1, 2, 0), 0), ((0, 2, 1), 2), ((0, 1, 2), 1)])
def test_a_volume_is_shown_alike_however_it_is_stored(axes: tuple[int, ...], flip: int | None) -> None:
    plain, turned = volume(), volume(axes, flip)
    shown = []
    for study, truth, wrong in (plain, turned):
        case = Case.of(study, truth[0] == 1, wrong[0] == 1, judged(truth, TARGET, 0), np.zeros(study.grid.shape, np.float32))
        assert case.wrong == 14 and case.largest == 10
        assert (truth[0] != wrong[0])[case.centre]
        shown.append(case)
    assert np.array_equal(shown[0].overlay(14), shown[1].overlay(14))
    heats = [gradcam_on(Stub(wrong, (16, 16, 16)), study, 0, case.centre) for (study, _, wrong), case in zip((plain, turned), shown, strict=True)]
    assert heats[1].shape == turned[0].grid.shape
    assert np.allclose(shown[0].turn(heats[0]), shown[1].turn(heats[1]), atol=0.02)


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (0.5, 1.0, 1.0)])
def test_gradcam_lies_on_the_class_in_the_study(scale: tuple[float, ...]) -> None:
    study, truth, wrong = volume((2, 0, 1), 1)
    case = Case.of(study, truth[0] == 1, wrong[0] == 1, judged(truth, TARGET, 0), np.zeros(study.grid.shape, np.float32))
    heat = gradcam_on(Stub(wrong, (16, 16, 16), scale=scale), study, 0, case.centre)
    assert heat.shape == study.grid.shape and heat.max() > 0.5
    bright = study.image[0] == 2
    assert heat[bright].mean() > 10 * heat[study.image[0] == 0].mean()
    assert heat[study.image[0] == -2].max() < 0.05


def test_a_tile_larger_than_the_study_is_padded() -> None:
    study, _, wrong = volume()
    heat = gradcam_on(Stub(wrong, (40, 32, 32)), study, 1, (6, 20, 20))
    assert heat.shape == (24, 26, 28) and heat[study.image[0] == -2].mean() > 0.7 and heat[study.image[0] == 2].max() < 0.05


def test_flat_volumes_are_cut_across_the_long_axis_with_the_head_up() -> None:
    study, *_ = volume(spacing=(1.0, 4.0, 1.0))
    order, flips = shown_axes(study)
    assert order == (1, 0, 2) and flips == (1,), "coronal slices, superior (the last index of z) at the top"
    assert shown_axes(volume()[0]) == ((0, 1, 2), ())


def test_where_nothing_is_wrong_the_structure_is_shown_and_where_there_is_none_the_doubt() -> None:
    study, truth, _ = volume()
    known, doubt = np.ones(study.grid.shape, bool), np.zeros(study.grid.shape, np.float32)
    doubt[3, 5, 7] = 0.5
    assert Case.of(study, truth[0] == 1, truth[0] == 1, known, doubt).wrong == 10
    nothing = np.zeros(study.grid.shape, bool)
    case = Case.of(study, nothing, nothing, known, doubt)
    assert (case.wrong, case.largest, case.centre) == (3, None, (3, 5, 7))


def test_what_nobody_judged_is_not_wrong() -> None:
    study, truth, wrong = volume()
    truth[0, 14] = IGNORED
    case = Case.of(study, of_class(truth, TARGET, 0), wrong[0] == 1, judged(truth, TARGET, 0), np.zeros(study.grid.shape, np.float32))
    assert case.wrong == 9


def test_classes_that_overlap_have_a_plane_each() -> None:
    several = TargetSpec("mask", ("whole", "core"), exclusive=False)
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, :2], labels[1, 0], labels[1, 3] = 1, 1, IGNORED
    assert of_class(labels, several, 0).sum() == 8 and of_class(labels, several, 1).sum() == 4
    assert judged(labels, several, 0).all() and judged(labels, several, 1).sum() == 12


def test_several_channels_are_no_colours_unless_bytes() -> None:
    flat, mask = Grid.plain((8, 8)), np.zeros((8, 8), bool)
    for image, grey in ((np.stack([np.eye(8), 1 - np.eye(8), np.eye(8)]).astype(np.float32), True), (np.zeros((3, 8, 8), np.uint8), False)):
        image[0, :4] = 200
        shown = Case.of(Study(image, flat), mask, mask, ~mask, np.zeros((8, 8), np.float32)).picture(None)
        assert (shown[..., 0] == shown[..., 1]).all() == grey


def test_outlines_and_fills() -> None:
    truth, predicted = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[2:12, 2:12], predicted[6:16, 6:16] = True, True
    shown = outlined(np.zeros((20, 20, 3), np.uint8), truth, predicted)
    assert tuple(shown[2, 5]) == TRUTH and tuple(shown[15, 10]) == PREDICTION
    assert tuple(shown[4, 4]) == tuple(int(0.3 * c + 0.5) for c in TRUTH) and tuple(shown[13, 13]) == tuple(int(0.3 * c + 0.5) for c in PREDICTION)
    assert tuple(shown[3, 5]) == TRUTH and not shown[8:10, 8:10].any() and not shown[0].any()
    assert tuple(outlined(np.zeros((20, 20, 3), np.uint8), truth, truth)[2, 5]) == BOTH


def test_masks_are_scaled_as_pictures_are() -> None:
    thin = np.zeros((30, 40), bool)
    thin[:, 20] = True
    big = scaled_mask(thin, 384, (2.0, 1.0))
    assert big.shape == scaled_size((30, 40), 384, (2.0, 1.0)) == (384, 256) and big.any(1).all() and big.mean() == pytest.approx(1 / 40, rel=0.3)
