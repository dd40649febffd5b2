"""The node as it calls others: files go out one at a time, so that what waits in the outbox need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.serve.clinicnode import Pacs, instance, site_at
from vesalius.errors import FormatError
from vesalius.stages.serve.node import scu


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs()
    yield made
    made.close()


def kept(folder: Path, n: int, value: int = 1) -> Path:
    """An image of one value as a file."""
    path = folder / f"{n}.dcm"
    instance(n, PixelData=np.full((8, 8), value, np.uint16).tobytes()).save_as(path, enforce_file_format=True)
    return path


def test_a_file_is_read_when_its_turn_comes(tmp_path: Path, pacs: Pacs) -> None:
    paths = [kept(tmp_path, n) for n in (1, 2, 3)]
    sent = scu.send(site_at(tmp_path / "site"), pacs.peer(), paths, lambda one: kept(tmp_path, int(one.path.stem) + 1, value=9))
    assert [one.status for one in sent] == [0, 0, 0]
    values = {uid: int(np.frombuffer(item.PixelData, np.uint16).max()) for uid, item in pacs.objects.items()}
    assert values == {"1.2.3.1": 1, "1.2.3.2": 9, "1.2.3.3": 9}  # the second and third were still on the disk alone when the first had gone


def test_no_more_than_one_file_is_held(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    read = scu.pydicom.dcmread

    def counted(path: Path, **options: object) -> object:
        opened.extend([] if options.get("stop_before_pixels") else [path])
        return read(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scu.pydicom, "dcmread", counted)
    paths, held = [kept(tmp_path, n) for n in range(1, 6)], []
    scu.send(site_at(tmp_path / "site"), pacs.peer(), paths, lambda one: held.append(len(opened)))
    assert opened == paths and held == [1, 2, 3, 4, 5]


def test_what_is_no_dicom_is_told_before_anything_is_sent(tmp_path: Path, pacs: Pacs) -> None:
    (tmp_path / "notes.dcm").write_text("not an image")
    bare = tmp_path / "bare.dcm"
    item = instance(7)
    del item.SOPClassUID
    item.save_as(bare, enforce_file_format=True)
    for wrong in (tmp_path / "notes.dcm", bare, tmp_path / "absent.dcm"):
        with pytest.raises(FormatError, match="no DICOM object that can be sent"):
            scu.send(site_at(tmp_path / "site"), pacs.peer(), [kept(tmp_path, 1), wrong])
    assert pacs.objects == {}


def test_a_file_that_vanished_does_not_unsay_what_was_sent(tmp_path: Path, pacs: Pacs) -> None:
    paths, noted = [kept(tmp_path, n) for n in (1, 2)], []

    def note(one: scu.Sent) -> None:
        noted.append((one.path, one.taken))
        paths[1].unlink()

    with pytest.raises(FormatError, match="no DICOM object that can be sent"):
        scu.send(site_at(tmp_path / "site"), pacs.peer(), paths, note)
    assert noted == [(paths[0], True)] and list(pacs.deliveries) == ["1.2.3.1"]
