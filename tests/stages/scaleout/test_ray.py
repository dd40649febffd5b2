"""An archive read by two workers of a local Ray cluster gives what one machine gives, study by study, also after a stop."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from vesalius.core.reads import Reads, TileReads
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, OptionError, RunError
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.kept import Kept, Told
from vesalius.stages.predict import case_of, predict, sources_in
from vesalius.stages.scaleout import archive, cluster
from vesalius.stages.scaleout.archive import Asked, Reader, cases_in, kept_for
from vesalius.stages.scaleout.cluster import library
from vesalius.stages.scaleout.ray import DIED, predict_on_ray

KINDS = ("classes", "mask", "boxes")
PLAIN = Asked()


def model(kind: str, folder: Path) -> Path:
    """A model folder with random weights."""
    torch.manual_seed(0)
    name, options, extra = {"classes": ("small-resnet", {"width": 8}, {}), "mask": ("unet", {}, {}), "boxes": ("yolo-like", {}, {})}[kind]
    plan = Plan().decide("network.name", name, "test").decide("network.options", options, "test")
    target = {"classes": TargetSpec("binary", ("normal", "ill")), "mask": TargetSpec("mask", ("a",)), "boxes": TargetSpec("boxes", ("a",))}[kind]
    network = build(name, channels=1, n_out=target.n_out, size=(32, 32), **options, **extra)
    reads: Any = Reads((32, 32)) if kind == "classes" else TileReads((32, 32), 1, schemes=("full",), mean=(0.5,), std=(0.25,))
    made = {"classes": Mapping, "mask": TiledMapping, "boxes": BoxedMapping}[kind](reads, [network], output_for(target), plan)
    made.save(folder)
    return folder


@pytest.fixture(scope="module")
def archive_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures and one that is broken."""
    folder = tmp_path_factory.mktemp("archive") / "data"
    folder.mkdir()
    for i in range(9):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 48), np.uint8)).save(folder / f"{i}.png")
    (folder / "4broken.png").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest engine is another matter, and looking for it takes long."""
    monkeypatch.setattr("vesalius.stages.tiled.predict.quicken", lambda *_: "torch")


def written(out: Path) -> dict[str, bytes]:
    """Every file besides the records; what is measured of the machine is left out."""
    held = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and archive.RECORDS not in path.parts}
    facts = json.loads(held["findings.json"])
    facts.pop("engine", None)
    return held | {"findings.json": json.dumps(facts, sort_keys=True).encode()}


def read_by_hand(run: Path, data: Path, out: Path, asked: Asked = PLAIN) -> Kept:
    """What the workers of a cluster do, without one."""
    reader = Reader(str(run), str(out), asked, 10)
    cases = cases_in(reader.mapping, sources_in(data, None))
    assert reader.read(list(enumerate(cases))[::2]) == len(cases[::2]) and reader.read(list(enumerate(cases))[1::2]) == len(cases[1::2])
    return kept_for(reader.mapping, out, asked)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_that_workers_kept_are_put_together_as_one_machine_writes_them(kind: str, archive_of: Path, tmp_path: Path) -> None:
    run = model(kind, tmp_path / "model")
    alone = predict(run, archive_of, tmp_path / "alone", pictures=2)
    kept = read_by_hand(run, archive_of, tmp_path / "shared")
    together = predict(run, archive_of, tmp_path / "shared", pictures=2, kept=kept)
    assert written(tmp_path / "shared") == written(tmp_path / "alone")
    assert [each.label for each in together.findings] == [each.label for each in alone.findings] and together.refused == alone.refused
    assert len(together.findings) == 9 and [Path(name).name for name in together.refused] == ["4broken.png"]


@pytest.mark.slow
@pytest.mark.alone
def test_a_cluster_of_two_workers_finds_the_same(archive_of: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray (the extra 'ray') is not installed")
    with cluster.cluster(2):
        for kind in ("classes", "boxes"):
            run, out = model(kind, tmp_path / kind), tmp_path / f"{kind}-shared"
            predict(run, archive_of, tmp_path / f"{kind}-alone", pictures=1)
            told: list[int] = []
            predict_on_ray(run, archive_of, out, workers=2, pictures=1, progress=lambda done, total, what, told=told: told.append(done))
            assert written(out) == written(tmp_path / f"{kind}-alone") and 10 in told
            assert len(list((out / archive.RECORDS).glob("*.json"))) == (10 if kind == "classes" else 1)  # boxes are kept in their own folders
        assert library().is_initialized()  # a cluster that was there stays
    assert not library().is_initialized()


def test_a_run_that_goes_on_reads_only_what_is_new(archive_of: Path, tmp_path: Path) -> None:
    run = model("classes", tmp_path / "model")
    kept = read_by_hand(run, archive_of, tmp_path / "out")
    cases = [case_of(source) for source in sources_in(archive_of, None)]
    assert all(kept.get(case) is not None for case in cases)
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(archive_of / "9.png")
    try:
        more = [case_of(source) for source in sources_in(archive_of, None)]
        assert [case.id for case in more if kept.get(case) is None] == [str(archive_of / "9.png")]
    finally:
        (archive_of / "9.png").unlink()
    other = kept_for(Mapping.load(run), tmp_path / "out", Asked(force=True))
    assert all(other.get(case) is None for case in cases)  # another option: nothing of it counts
    path = next((tmp_path / "out" / archive.RECORDS).glob("*.json"))
    path.write_text("{")
    assert sum(kept.get(case) is None for case in cases) == 1


def test_a_record_whose_file_is_gone_does_not_count(archive_of: Path, tmp_path: Path) -> None:
    run = model("mask", tmp_path / "model")
    kept = read_by_hand(run, archive_of, tmp_path / "out")
    cases = [case_of(source) for source in sources_in(archive_of, None)]
    (tmp_path / "out" / "0000" / "mask.nii.gz").unlink()
    assert [kept.get(case) is None for case in cases] == [True, *[False] * 9]


def test_a_study_whose_worker_died_is_refused_with_that_reason_and_tried_again(archive_of: Path, tmp_path: Path) -> None:
    run = model("classes", tmp_path / "model")
    kept = read_by_hand(run, archive_of, tmp_path / "out")
    case = case_of(sources_in(archive_of, None)[0])
    kept.aside[case.id] = DIED
    made = predict(run, archive_of, tmp_path / "out", pictures=0, kept=kept)
    assert made.refused[case.id] == "the worker that read it died; it was tried alone" and len(made.findings) == 8
    assert kept_for(Mapping.load(run), tmp_path / "out", Asked()).get(case) is not None
    assert "refused_because" in pd.read_csv(made.table).columns and Told().finding is None


def test_what_is_wrong_is_told_before_a_cluster_is_started(archive_of: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = model("mask", tmp_path / "model")
    monkeypatch.setattr("vesalius.stages.scaleout.ray.library", lambda: None)
    with pytest.raises(OptionError, match="there is no worker: expected --workers of 1 or more, got 0"):
        predict_on_ray(run, archive_of, tmp_path / "out", workers=0)
    with pytest.raises(OptionError, match="unknown kind of file 'nifty'"):
        predict_on_ray(run, archive_of, tmp_path / "out", workers=1, write=("nifty",))
    with pytest.raises(DataError, match="there is nothing of that name"):
        predict_on_ray(run, tmp_path / "none", tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"Ray is not installed: expected the extra 'ray', got no module 'ray'; pip install 'vesalius\[ray\]'"):
        library()


def test_an_address_without_a_cluster_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        @staticmethod
        def is_initialized() -> bool:
            return False

        @staticmethod
        def init(**_: object) -> None:
            raise ConnectionError("no")

    monkeypatch.setattr(cluster, "library", lambda: Absent)
    told = r"the Ray cluster cannot be reached \(auto\): got ConnectionError; start it with 'ray start --head'"
    with pytest.raises(RunError, match=told), cluster.cluster(1, "auto"):
        pass
