"""Writing that loses nothing."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from vesalius import storage
from vesalius.errors import RunError


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "新 folder" / "a.bin"
    storage.atomic_write(target, b"one")
    storage.atomic_write(target, b"two")
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["a.bin"]


REFUSALS = [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written"), (errno.EIO, "could not")]


@pytest.mark.parametrize(("code", "words"), REFUSALS)
def test_a_refusal_of_the_system_is_one_sentence_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    target = tmp_path / "plan.toml"
    storage.atomic_write(target, b"old")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match=words) as caught:
        storage.atomic_write(target, b"x" * 2_000_000)
    assert str(target) in str(caught.value)
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    if code == errno.ENOSPC:
        assert "2.0 MB" in str(caught.value) and "MB free" in str(caught.value) and "nothing that was there is lost" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device_is_told(tmp_path: Path) -> None:
    (tmp_path / "looks.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="the disk is full"):
        storage.append_line(tmp_path / "looks.jsonl", "{}")


def test_what_a_writer_raises_goes_through_and_the_part_is_removed(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        part.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        storage.atomic_file(tmp_path / "x", write)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="could not be written"):
        storage.atomic_write(tmp_path / "run", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        storage.atomic_write(tmp_path / "file" / "x", b"")


def test_json_understands_numpy_nan_and_chinese(tmp_path: Path) -> None:
    storage.atomic_json(tmp_path / "a.json", {"n": np.int64(3), "x": float("nan"), "v": np.arange(2.0), "字": {"b", "a"}, "p": Path("q"), 3: True})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "字" in text
    assert json.loads(text) == {"n": 3, "x": None, "v": [0.0, 1.0], "字": ["a", "b"], "p": "q", "3": True}


def test_lines_are_appended(tmp_path: Path) -> None:
    storage.append_line(tmp_path / "log" / "l", "a")
    storage.append_line(tmp_path / "log" / "l", "b\n")
    assert (tmp_path / "log" / "l").read_text() == "a\nb\n"
