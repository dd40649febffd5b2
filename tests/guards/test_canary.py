from __future__ import annotations

import gzip
import sqlite3
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from vesalius.guards.canary import found_in_header, scan

NAME = "Zwickelbart"


def plain(path: Path) -> None:
    path.write_text(f"log: {NAME.upper()}")


def wide(path: Path) -> None:
    path.write_bytes(b"\0" * 7 + f"by {NAME}".encode("utf-16-le"))


def named(path: Path) -> None:
    path.with_name(f"{NAME}.bin").write_bytes(b"x")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.gz", gzip.compress(f"a {NAME} b".encode()))


def arrays(path: Path) -> None:
    with path.open("wb") as opened:
        np.savez_compressed(opened, names=np.array([NAME] * 50))


def table(path: Path) -> None:
    pd.DataFrame({"patient": [NAME] * 500}).to_parquet(path, compression="zstd")


def weights(path: Path) -> None:
    safetensors.numpy.save_file({"w": np.zeros(3)}, path, metadata={"trained on": NAME})


def picture(path: Path) -> None:
    facts = PngImagePlugin.PngInfo()
    facts.add_text("a", NAME * 5, zip=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path, "PNG", pnginfo=facts)


def database(path: Path) -> None:
    with sqlite3.connect(path) as opened:
        opened.execute("create table t (n text)")
        opened.execute("insert into t values (?)", (NAME,))
    opened.close()


def report(path: Path) -> None:
    path.write_bytes(b"%PDF-1.4\nstream\n" + zlib.compress(f"({NAME}) Tj".encode()) + b"\nendstream")


def dicom(path: Path) -> None:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID, item.PatientName = "1.2.840.10008.5.1.4.1.1.2", "1.2.3", f"{NAME}^Anna"
    item.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("write", [plain, wide, named, zipped, arrays, table, weights, picture, database, report, dicom], ids=lambda each: each.__name__)
def test_a_canary_is_found_wherever_it_sits(tmp_path: Path, write: object) -> None:
    write(tmp_path / "file.bin")  # type: ignore[operator]
    assert {hit.canary for hit in scan([tmp_path], [NAME, "Hohlweg"])} == {NAME}


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(np.random.default_rng(0).bytes(200_000) + b"\x78\x9c\x1f\x8bPK\x03\x04")
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8bbroken")
    assert scan([tmp_path], [NAME, "ab", "Li"]) == []


def test_names_in_a_header() -> None:
    item, inner = Dataset(), Dataset()
    inner.StudyComments = "for zwickelbart, again"
    item.RequestAttributesSequence = [inner]
    assert found_in_header(item, (NAME, "ab")) == "(0032,4000)"
    assert found_in_header(item, ("Zwickel",)) == "" and found_in_header(item, ("ab",)) == ""
