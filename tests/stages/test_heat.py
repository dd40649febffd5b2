"""Heat maps of new studies with masks and boxes, by any method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.boxed.boxstandin import Blobs
from stages.trust.test_explanations import Marks, on_disk
from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.errors import OptionError
from vesalius.formats.cases import open_case
from vesalius.mapping import BoxedMapping, TiledMapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.boxed.explain import explain_box
from vesalius.stages.heat import heat_pictures
from vesalius.stages.tiled.explain import explain_mask

MASKS, BOXES = TargetSpec("mask", ("spot",), values=((1,),)), TargetSpec("boxes", ("spot", "dark"))


@pytest.fixture
def masks() -> TiledMapping:
    return TiledMapping(TileReads((32, 32)), [Marks()], output_for(MASKS), Plan())


@pytest.fixture
def boxes() -> BoxedMapping:
    return BoxedMapping(TileReads((48, 48), 1, None, schemes=("zscore",)), [Blobs(2, 8.0)], output_for(BOXES), Plan())


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "integrated-gradients", "occlusion"])
def test_a_class_of_a_mask_is_explained_where_it_is(tmp_path: Path, masks: TiledMapping, method: str) -> None:
    study = open_case(on_disk(tmp_path, 1)[0])
    labels = masks.segment(study).labels
    picture = explain_mask(masks, study, 0, labels, method=method)
    held = labels[0] == 1
    assert held.any() and picture.grid == study.grid and picture.array.shape == study.grid.shape and picture.name == method
    assert picture.array[held].mean() > 2 * picture.array[~held].mean() and 0 <= picture.array.min() and picture.array.max() <= 1


@pytest.mark.parametrize("method", ["gradcam++", "rise", "occlusion"])
def test_a_box_is_explained_by_any_method(tmp_path: Path, boxes: BoxedMapping, method: str) -> None:
    case = on_disk(tmp_path, 1)[0]
    study, place = open_case(case), [*case.boxes[0].low, *case.boxes[0].high]  # type: ignore[index]
    heat = explain_box(boxes, study, place, 0, method=method).array
    inside = heat[tuple(slice(int(a), int(b)) for a, b in zip(place[:2], place[2:], strict=True))]
    assert heat.shape == (48, 48) and inside.mean() > 2 * heat.mean()


@pytest.mark.parametrize("which", ["masks", "boxes"])
def test_pictures_are_written_for_what_was_found(tmp_path: Path, which: str, request: pytest.FixtureRequest) -> None:
    mapping, cases = request.getfixturevalue(which), on_disk(tmp_path, 3)
    findings = [mapping.output.finding(mapping.segment(study).labels if which == "masks" else mapping.detect(study), study) for study in map(open_case, cases)]
    made = heat_pictures(mapping, cases, findings, tmp_path / "pictures", method="gradcam")
    assert set(made) == {finding.source for finding in findings} and all(1 <= len(names) <= 3 for names in made.values())
    for name in (name for names in made.values() for name in names):
        picture = np.asarray(Image.open(tmp_path / "pictures" / name)).astype(int)
        assert (picture.max(2) - picture.min(2)).max() > 60, "colour lies over the grey image"


def test_what_cannot_be_explained_is_said(tmp_path: Path, masks: TiledMapping, boxes: BoxedMapping) -> None:
    case = on_disk(tmp_path, 1)[0]
    study, labels = open_case(case), np.zeros((1, 48, 48), np.uint8)
    with pytest.raises(OptionError, match="there is no such class to explain: expected a number from 0 to 0, got 1"):
        explain_mask(masks, study, 1, labels)
    with pytest.raises(OptionError, match="unknown explanation 'lime'"):
        explain_mask(masks, study, 0, labels, method="lime")
    with pytest.raises(OptionError, match="this network has no attention to roll out"):
        explain_box(boxes, study, [0, 0, 8, 8], 0, method="attention-rollout")
