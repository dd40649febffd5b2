"""A model that finds boxes in pictures reads series and volumes slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch

from formats.making import noise, series
from vesalius.core.reads import TileReads
from vesalius.core.target import TargetSpec
from vesalius.mapping import BoxedMapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.knowing import Knowing
from vesalius.stages.predict import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights; a box is promised from the faintest score on."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    network = build("yolo-like", channels=1, n_out=1, size=(32, 32))
    plan = Plan().decide("network.name", "yolo-like", "test").decide("network.options", {}, "test")
    output = output_for(TargetSpec("boxes", ("bleed",)))
    output.facts["thresholds"] = {"bleed": 0.99}
    BoxedMapping(TileReads((32, 32), 1, schemes=("full",), mean=(0.5,), std=(0.25,)), [network], output, plan).save(folder)
    Knowing("boxes", 0.1, (0.001,), facts={"n_patients": 40}).save(folder)
    return folder


def test_each_slice_of_a_series_is_a_study_and_its_report_refers_to_it(model: Path, tmp_path: Path) -> None:
    paths = series(tmp_path / "in" / "ct", 3, Rows=4, Columns=6)
    made = predict(model, tmp_path / "in", tmp_path / "out", write=("dicom-sr",), force=True, pictures=0)
    assert [finding.source for finding in made.findings] == [str(path) for path in paths] and not made.refused
    rows = pd.read_csv(made.table, encoding="utf-8-sig")
    for path, name in zip(paths, rows["dicom-sr"], strict=True):
        report = pydicom.dcmread(tmp_path / "out" / name)
        held = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert [item.ReferencedSOPInstanceUID for item in held] == [pydicom.dcmread(path).SOPInstanceUID]


def test_each_slice_of_a_volume_is_a_study_that_says_what_is_promised(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(noise(40, 36, 2), np.eye(4)), tmp_path / "in" / "ct.nii.gz")
    made = predict(model, tmp_path / "in", tmp_path / "out", write=("csv",), force=True, pictures=0)
    facts = json.loads(made.record.read_text("utf-8"))
    assert [each["source"].rpartition("#")[2] for each in facts["findings"]] == ["z:0", "z:1"] and facts["promise"]["score"] == 0.001
    for each in facts["findings"]:
        assert each["boxes"] == [] and each["kept_at_risk"] and not any(box["reported"] for box in each["kept_at_risk"])
        assert any(note["code"] == "kept-at-risk" and note["zh"] for note in each["notes"])
