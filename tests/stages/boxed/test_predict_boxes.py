"""Boxes in new studies: what is written, what is refused, and that a run goes on where it was."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from vesalius.core.boxes import Detected
from vesalius.core.cohort import Source
from vesalius.core.finding import Boxes
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError
from vesalius.formats import find_sources, open_study
from vesalius.outputs.detect import Detect
from vesalius.phantoms import make_phantom
from vesalius.stages.boxed.findings import lesions_of
from vesalius.stages.boxed.predict import predict_boxes

CLASSES = ("grey", "white")


def output(**thresholds: float) -> Detect:
    return Detect(TargetSpec("boxes", CLASSES, risk="malignant"), facts={"thresholds": thresholds})


@dataclass
class Blobs:
    """Bright places: class by brightness, score by size."""

    output: Detect = field(default_factory=lambda: output(grey=0.3, white=0.6))
    reads: Any = field(default_factory=lambda: SimpleNamespace(channels=1))
    hash: str = "0123456789abcdef"
    level: float = 100.0
    seen: list[str] = field(default_factory=list)

    def detect(self, study: Study) -> Detected:
        self.seen.append(study.source)
        image = study.image[0].astype(float)
        parts, n = ndimage.label(image > self.level)
        found = ndimage.find_objects(parts)
        boxes = np.array([[*(s.start for s in part), *(s.stop for s in part)] for part in found], np.float32).reshape(n, 2 * study.ndim)
        labels = np.array([int(image[part].max() > 2 * self.level) for part in found], np.int64)
        scores = np.array([min(0.99, (parts == i + 1).sum() / 100) for i in range(n)], np.float32)
        order = np.argsort(-scores, kind="stable")
        return Detected(boxes, labels, scores, np.full(n, np.nan, np.float32)).kept(order)


def picture(path: Path, *blobs: tuple[int, int, int, int, int]) -> Path:
    image = np.zeros((60, 80), np.uint8)
    image[-1, -1] = 1  # where every sample is the same, the image is refused as empty
    for y, x, height, width, value in blobs:
        image[y : y + height, x : x + width] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def pictures(folder: Path) -> Path:
    """A sure and an unsure white blob and a grey one; nothing; a broken file; a small grey one."""
    picture(folder / "a.png", (10, 20, 10, 8, 250), (40, 60, 5, 6, 250), (30, 5, 6, 6, 150))
    picture(folder / "b" / "b.png")
    (folder / "c.png").write_bytes(b"\x89PNG nothing")
    picture(folder / "d.png", (0, 0, 8, 8, 150), (50, 70, 2, 2, 150))
    return folder


def quiet(done: int, total: int, what: str) -> None:
    return None


def test_pictures_are_read_written_and_refused(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    sources = find_sources(pictures(tmp_path / "in"))
    made = predict_boxes(Blobs(), sources, tmp_path / "out", kinds=("coco", "csv", "png"), progress=lambda *each: told.append(each))
    findings, refused, table, record = made
    assert [finding.label for finding in findings] == ["grey|white", "", "grey"]
    assert list(refused) == [str(tmp_path / "in" / "c.png")] and "not what its name says" in next(iter(refused.values()))
    assert told[-1] == (4, 4, "studies read") and len(told) == 4
    rows = pd.read_csv(table, encoding="utf-8-sig")
    assert rows["grey.count"].tolist()[:3] == [1, 0, 1] and rows["white.count"].tolist()[:3] == [1, 0, 0]
    assert rows.loc[0, "surest.class"] == "white" and rows.loc[0, "surest.score"] == pytest.approx(0.8)
    assert rows.loc[0, ["surest.low_y", "surest.low_x", "surest.high_y", "surest.high_x"]].tolist() == [10, 20, 20, 28]
    assert "name says" in rows.loc[3, "refused_because"]
    boxes = pd.read_csv(tmp_path / "out" / "boxes.csv", encoding="utf-8-sig")
    assert boxes["class"].tolist() == ["white", "grey", "grey"] and boxes["area"].tolist() == [80, 36, 64]
    facts = json.loads(record.read_text())
    assert facts["thresholds"] == {"grey": 0.3, "white": 0.6} and facts["model"] == "0123456789abcdef"
    assert [len(each["boxes"]) for each in facts["findings"]] == [2, 0, 1]
    for row in facts["findings"]:
        assert all((tmp_path / "out" / row["written"][kind]).is_file() for kind in ("json", "coco", "csv", "png"))
    first = json.loads((tmp_path / "out" / "0000" / "boxes.json").read_text())
    assert [each["class"] for each in first["candidates"]] == ["white", "grey", "white"], "the unsure one is a candidate"
    coco = COCO(str(tmp_path / "out" / "coco.json"))
    assert [coco.imgs[i]["file_name"] for i in (1, 2, 3)] == ["a.png", "b/b.png", "d.png"]
    assert len(coco.anns) == 3 and coco.cats[2]["name"] == "white"


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    sources = find_sources(pictures(tmp_path / "in"))
    first = predict_boxes(Blobs(), sources, tmp_path / "out", progress=quiet)
    record = first[3].read_text()
    again = Blobs()
    second = predict_boxes(again, sources, tmp_path / "out", progress=quiet)
    assert again.seen == []
    assert second[3].read_text() == record
    for mine, theirs in zip(first[0], second[0], strict=True):
        assert (mine.label, mine.probability, mine.grid, mine.scores) == (theirs.label, theirs.probability, theirs.grid, theirs.scores)
        (a,), (b,) = ([item for item in each.items if isinstance(item, Boxes)] for each in (mine, theirs))
        assert np.array_equal(a.array, b.array) and a.labels == b.labels and a.scores == b.scores
    picture(tmp_path / "in" / "d.png", (1, 1, 9, 9, 150))
    (tmp_path / "out" / "0000" / "boxes.png").unlink()
    (tmp_path / "out" / "0001" / "found.json").write_text("{")
    predict_boxes(again, sources, tmp_path / "out", progress=quiet)
    assert [Path(name).name for name in again.seen] == ["a.png", "b.png", "d.png"], "a file is gone, a record damaged, an image changed"
    for changed in (Blobs(hash="another"), Blobs(output=output(grey=0.1))):
        predict_boxes(changed, sources, tmp_path / "out", progress=quiet)
        assert len(changed.seen) == 3
    assert predict_boxes(changed, sources, tmp_path / "out", kinds=("csv",), progress=quiet)[0]
    assert len(changed.seen) == 6


def test_a_series_has_a_report_and_its_boxes_are_where_they_were_planted(tmp_path: Path) -> None:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=1, size=32, slices=10, oblique=True, objects="seg")
    sources = [source for source in find_sources(truth.data) if source.files]
    findings, _, table, _ = predict_boxes(Blobs(level=20.0), sources, tmp_path / "out", progress=quiet)
    row = pd.read_csv(table, encoding="utf-8-sig").iloc[0]
    assert row["dicom-sr"] == "0000/boxes.sr.dcm" and row["surest.unit"] == "mm"
    study = open_study(sources[0])
    lesions = lesions_of(next(item for item in findings[0].items if isinstance(item, Boxes)))
    assert lesions
    for lesion in lesions:
        inside = np.round(study.grid.index(np.array(lesion.centre_mm)) + 0.5 - (np.array(lesion.low) + lesion.high) / 2, 6)
        assert not inside.any()
    report = pydicom.dcmread(tmp_path / "out" / row["dicom-sr"])
    assert report.Modality == "SR" and report.VerificationFlag == "UNVERIFIED"


def test_a_kind_that_does_not_suit_refuses_the_study_before_it_is_read(tmp_path: Path) -> None:
    truth = make_phantom("dicom-masks", tmp_path / "p", n=1, size=32, slices=10, objects="seg")
    flat = picture(tmp_path / "a.png", (10, 20, 10, 8, 250))
    volume = next(source for source in find_sources(truth.data) if source.files)
    mapping = Blobs()
    findings, refused, *_ = predict_boxes(mapping, [volume, Source("raster", str(flat))], tmp_path / "out", kinds=["coco"], progress=quiet)
    assert len(findings) == 1 and "COCO holds boxes of pictures" in next(iter(refused.values())) and len(mapping.seen) == 1
    with pytest.raises(OptionError, match="unknown kind of box file 'xml'"):
        predict_boxes(mapping, [volume], tmp_path / "out", kinds=["xml"], progress=quiet)
    (tmp_path / "b.png").write_bytes(b"x")
    with pytest.raises(DataError, match="no study could be read.*run 'vesalius check'"):
        predict_boxes(mapping, [Source("raster", str(tmp_path / "b.png"))], tmp_path / "none", progress=quiet)


def test_the_risk_of_a_study_is_that_of_its_riskiest_box(tmp_path: Path) -> None:
    class Risky(Blobs):
        def detect(self, study: Study) -> Detected:
            found = super().detect(study)
            return Detected(found.boxes, found.labels, found.scores, np.linspace(0.2, 0.9, len(found), dtype=np.float32))

    flat = picture(tmp_path / "a.png", (10, 20, 10, 8, 250), (30, 5, 6, 6, 150))
    *_, table, record = predict_boxes(Risky(), [Source("raster", str(flat))], tmp_path / "out", progress=quiet)
    assert pd.read_csv(table).loc[0, "highest_risk"] == pytest.approx(0.9)
    assert [each["risk"] for each in json.loads(record.read_text())["findings"][0]["boxes"]] == pytest.approx([0.2, 0.9])
    assert json.loads((tmp_path / "out" / "0000" / "boxes.json").read_text())["risk"] == "malignant"
