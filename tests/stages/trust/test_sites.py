"""Sites: written in the image or not, going with the label or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stages.trust.runs import blobs, finished
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.trust_sites import sites as section
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.sites import names_of, sites

N = 120
NAMES = np.array(["normal", "ill"])


def run_of(folder: Path, goes: float, gain: float, **columns: object) -> Trust:
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(N) % 2)
    site = np.where(rng.random(N) < goes, label, rng.integers(0, 2, N))
    images = (blobs(label, np.arange(N)) * np.where(site > 0, gain, 1.0)[:, None, None, None]).astype(np.uint8)
    trust = finished(folder, NAMES[label], np.arange(N), images, **({"site": np.array(["north", "south"])[site]} | columns))
    for case, image in zip(trust.cases.values(), images, strict=True):
        Image.fromarray(image[0]).save(case.source.path)
    return trust


@pytest.mark.parametrize(("goes", "gain", "verdict", "severity"), [(0.8, 0.6, "usable", "warning"), (0.0, 0.6, "written", "info"), (0.8, 1.0, "hidden", "ok")])
def test_a_site_is_called_what_it_is(tmp_path: Path, goes: float, gain: float, verdict: str, severity: str) -> None:
    found = sites(run_of(tmp_path, goes, gain))
    row = found["columns"]["site"]
    assert row["verdict"] == verdict and sum(row["values"].values()) == N
    told = found["sentences"]
    assert [each["severity"] for each in told] == [severity] and "'site'" in told[0]["en"] and "“site”" in told[0]["zh"]
    shown = section(RunFacts(tmp_path, trust={"sites": found}))
    assert shown is not None and len(shown.tables[0].rows) == 1 and "north" in shown.tables[0].rows[0][1].text.en


def test_a_site_for_each_label_is_told(tmp_path: Path) -> None:
    found = sites(run_of(tmp_path, 1.0, 0.6))
    assert found["columns"]["site"]["verdict"] == "inseparable" and found["columns"]["site"]["from_image"] is None
    assert found["sentences"][0]["severity"] == "error" and "cannot be told apart" in found["sentences"][0]["en"]
    shown = section(RunFacts(tmp_path, trust={"sites": found}))
    assert shown is not None and shown.tables[0].rows[0][4].text.en == "not to be told from the label"


def test_without_sites_nothing_is_asked(tmp_path: Path) -> None:
    trust = run_of(tmp_path, 0.5, 1.0, site="north")
    found = sites(trust)
    assert found["applies"] is False and "several sites" in found["why"]["en"]
    trust.frame["site"] = ["north"] * (N - 6) + ["south"] * 6
    assert sites(trust)["applies"] is False
    shown = section(RunFacts(tmp_path, trust={"sites": found}))
    assert shown is not None and not shown.tables and section(RunFacts(tmp_path)) is None


def test_which_columns_name_a_site() -> None:
    assert names_of(pd.DataFrame({"Hospital_ID": [1], "age": [1], "scanner": [1], "path": [1], "concentre": [1]})) == ["Hospital_ID", "scanner"]
