from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from making import dicom, noise, png, series, source

from vesalius.errors import DataError, FormatError
from vesalius.formats import content_hash, find_sources, open_study
from vesalius.formats.sources import find
from vesalius.formats.walk import walk


def test_one_file_and_a_folder(tmp_path: Path) -> None:
    png(tmp_path / "中文 文件夹" / "1.png")
    png(tmp_path / "2.png")
    (tmp_path / "notes.txt").write_text("x")
    assert [Path(s.path).name for s in find_sources(tmp_path)] == ["2.png", "1.png"]
    assert [s.format for s in find_sources(tmp_path / "2.png")] == ["raster"]
    assert find(walk(tmp_path)).skipped == ((".txt", 1),)
    assert "1 files are no images and were left out (1 .txt)" in str(find(walk(tmp_path)).skipped_note())


def test_series_files_and_reports_are_counted(tmp_path: Path) -> None:
    series(tmp_path / "s", 3)
    path = dicom(tmp_path / "report.dcm", noise(4, 6))
    import pydicom

    item = pydicom.dcmread(path)
    del item.Rows, item.PixelData
    item.save_as(path)
    found = find(walk(tmp_path))
    assert [name for name, _ in found.items] == ["s"]
    assert found.skipped == (("DICOM without image", 1),)
    assert found.dicom["s"]["PatientID"] == "P1"


def test_nothing_to_predict(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder has no images.*got an empty folder"):
        find_sources(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="got 1 files .txt"):
        find_sources(tmp_path)
    with pytest.raises(DataError, match="there is nothing of that name"):
        find_sources(tmp_path / "none")
    with pytest.raises(FormatError, match="not an image that can be read.*got text"):
        find_sources(tmp_path / "a.txt")
    np.savez(tmp_path / "a.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(DataError, match=r"the npz has no images.*a \(3,\), b \(3,\)"):
        find_sources(tmp_path / "a.npz")


def test_a_file_without_suffix_is_sniffed(tmp_path: Path) -> None:
    png(tmp_path / "a.png").rename(tmp_path / "scan")
    assert open_study(find_sources(tmp_path / "scan")[0]).grid.shape == (6, 8)


def test_hash_of_a_file_and_of_a_series(tmp_path: Path) -> None:
    import hashlib

    path = png(tmp_path / "a.png")
    assert content_hash(source(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    series(tmp_path / "s", 3)
    (first,) = find_sources(tmp_path / "s")
    before = content_hash(first)
    (tmp_path / "s" / "001.dcm").rename(tmp_path / "s" / "zzz.dcm")
    assert content_hash(find_sources(tmp_path / "s")[0]) == before
    with pytest.raises(FormatError, match="there is no such file"):
        content_hash(first)


def test_an_unknown_reader(tmp_path: Path) -> None:
    from vesalius.core.cohort import Source

    with pytest.raises(FormatError, match="no reader of that name.*got fits"):
        open_study(Source("fits", str(png(tmp_path / "a.png"))))
