"""NIfTI volumes uploaded to the clinic, their masks corrected by a reader: what that leaves is what the next `check` and `fit` read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from stages.serve.clinicnode import Models, serving, until
from stages.serve.clinicstandins import mask_model
from vesalius.core.cohort import Source
from vesalius.formats import open_study
from vesalius.formats.masks import laid_on
from vesalius.stages.check import check
from vesalius.stages.serve.decisions import decided
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.stages.serve.reading import read_series
from vesalius.stages.serve.service import Service

from .conftest import Command

MODEL = mask_model((8, 32, 32), ("liver", "nodule"))
SMALL = ("--network", "small-unet", "--precision", "32-true", "--batch", "4", "--size", "24", "--epochs", "1", "--accelerator", "cpu")
UPLOADS = 6
AFFINE = np.diag([0.8, 0.8, 2.5, 1.0])


def really_read(job: str, files: Sequence[Path], out: Path) -> dict[str, Any]:
    return read_series(MODEL, files, out, name="lung", objects=("seg",), ids=job)


def person(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume and what is in it: blobs, a liver and a nodule of their own places, since copies of one image are kept together in the split."""
    rng = np.random.default_rng(n)
    image, drawn = rng.integers(0, 100, (10, 32, 32)), np.zeros((10, 32, 32), np.uint8)
    for _ in range(12):
        z, y, x, side = *rng.integers(0, (8, 26, 26)), int(rng.integers(3, 9))
        image[z : z + 3, y : y + side, x : x + side] += int(rng.integers(200, 900))
    z, y, x = rng.integers(0, (5, 16, 16))
    drawn[z : z + 4, y : y + 8 + n % 3, x : x + 12] = 1
    drawn[8, 28:31, 4 * n + 2 : 4 * n + 6] = 2
    image[drawn > 0] = np.choose(drawn[drawn > 0], [0, 2200, 3600])
    return image.astype(np.int16), drawn


def corrected(node: Service, client: TestClient, folder: Path, n: int) -> int:
    """Upload one volume and correct its mask; how many samples the reader marked as liver."""
    path = folder / f"{n}.nii.gz"
    image, drawn = person(n)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(image.T), AFFINE), path)
    answer = client.post("/v1/predict?wait=0", content=path.read_bytes(), headers={"Content-Type": "application/gzip"})
    assert answer.status_code == 202, answer.text
    until(lambda: len(node.store.findings()) > n, 60.0)
    finding = node.store.finding(answer.json()["id"])
    results = node.store.folder_of(finding["id"])
    kept = open_study(Source("nifti", str(results / "image.nii.gz")))
    given = Source("nifti", str(path))
    turned = laid_on(drawn, open_study(given).grid, kept, given)
    write_volume(results / "drawn.nii.gz", turned, kept.grid)
    decided(node.store, finding, "li", "correct", "", {"mask": "drawn.nii.gz"})
    return int((drawn == 1).sum())


@pytest.mark.slow
def test_a_fit_on_truth_made_from_uploads(cli: Command, tmp_path: Path) -> None:
    with serving(tmp_path / "site", Models(really_read), quiet_s=600.0) as node:
        client = TestClient(make_app(node), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
        marked = [corrected(node, client, tmp_path, n) for n in range(UPLOADS)]
        truth = node.site.folder / "truth" / "lung"
    audit = check(str(truth)).to_dict()
    assert audit["target"]["kind"] == "mask" and audit["target"]["classes"] == ["liver", "nodule"] and audit["n_patients"] == UPLOADS
    told = cli("fit", truth, "--out", tmp_path / "run", *SMALL)
    assert told.returncode == 0, told.stderr
    rows = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    cohort = pd.read_parquet(tmp_path / "run" / "cohort.parquet")
    assert sorted(cohort["split"].unique()) == ["test", "train", "validation"] and cohort["patient"].nunique() == UPLOADS
    sizes = rows[rows["class"] == "liver"]["size_true"].round(3).unique()
    assert set(sizes) <= {round(n * 0.8 * 0.8 * 2.5, 3) for n in marked} and len(rows)
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "run" / "model" / "weights.safetensors").is_file()
