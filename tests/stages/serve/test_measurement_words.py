"""Every measurement that an output gives has a name in the page, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.boxes import Detected
from vesalius.core.finding import Finding
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.outputs.detect import _counted
from vesalius.outputs.segment import Segment
from vesalius.stages.serve.document import measurement_facts

WORDS = Path(__file__).resolve().parents[3] / "web" / "src" / "words.ts"
NAMED = dict(re.findall(r'^  measure_(\w+): \["[^"]+", "([^"]+)"\]', WORDS.read_text("utf-8"), re.M))


def base_of(name: str) -> str:
    """As `baseOf` of web/src/measurements.ts."""
    return re.sub(r"_(mm|pixel)[23]?$", "", name)


def study_of(shape: tuple[int, ...], known: bool) -> Study:
    spacing = (2.0,) * len(shape)
    grid = Grid.plain(shape, spacing) if known else Grid.plain(shape)
    assert grid.spacing_known is known
    return Study(np.arange(np.prod(shape), dtype=np.int16).reshape(1, *shape), grid, source="a.nii")


def emitted(shape: tuple[int, ...], known: bool) -> set[str]:
    """Names of all measurements of a mask and of boxes on such a study."""
    study = study_of(shape, known)
    labels = np.zeros((1, *shape), np.uint8)
    labels[(0, *(slice(2, 5),) * len(shape))] = 1
    marked = Segment(TargetSpec("mask", ("lesion",))).finding(labels, study)
    box = np.array([[1.0] * len(shape) + [4.0] * len(shape)], np.float32)
    found = Detected(box, np.zeros(1, np.int64), np.array([0.7], np.float32), np.array([np.nan], np.float32))
    boxed = Finding("a.nii", "lesion", None, study.grid, tuple(_counted("lesion", found, study)))
    return {str(row["name"]) for finding in (marked, boxed) for row in measurement_facts(finding)}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shape", [(8, 9), (7, 8, 9)])
def test_every_measurement_has_a_name_in_both_languages(shape: tuple[int, ...], known: bool) -> None:
    names = emitted(shape, known)
    assert {"n_samples", "intensity_p95", "count", "surest"} <= names
    assert [name for name in sorted(names) if base_of(name) not in NAMED] == []


def test_no_name_is_there_for_nothing_and_chinese_is_chinese() -> None:
    names = {base_of(name) for shape in ((8, 9), (7, 8, 9)) for name in emitted(shape, True)}
    assert set(NAMED) == names
    assert all(re.search(r"[\u4e00-\u9fff]", zh) for zh in NAMED.values())
