"""The cache of prepared images: decoded once, resumed, checked against the disk."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

import vesalius.stages.prepare as prepare
from vesalius.core.cohort import Source
from vesalius.core.reads import Reads
from vesalius.errors import RunError
from vesalius.formats import find_sources
from vesalius.stages.prepare import cache_key, prepare_all

READS = Reads((8, 8))


@pytest.fixture
def pictures(tmp_path):
    """Twelve grey PNGs whose level is their number; returns ids, sources and hashes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(folder / f"{i:02d}.png")
    sources = find_sources(folder)
    return [source.path for source in sources], sources, [f"hash-{i}" for i in range(12)]


def test_rows_are_in_the_order_of_the_ids(pictures, tmp_path):
    made = prepare_all(*pictures, READS, tmp_path / "cache")
    assert made.images.shape == (12, 1, 8, 8) and made.images.dtype == np.uint8
    assert made.images[:, 0, 0, 0].tolist() == [20 * i for i in range(12)]
    assert not made.unreadable


def test_a_second_call_decodes_nothing(pictures, tmp_path, monkeypatch):
    first = prepare_all(*pictures, READS, tmp_path / "cache")
    monkeypatch.setattr(prepare, "open_study", lambda source: pytest.fail("decoded twice"))
    again = prepare_all(*pictures, READS, tmp_path / "cache")
    np.testing.assert_array_equal(first.images, again.images)


def test_a_killed_preparation_goes_on_where_it_was(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "CHUNK", 4)
    real, opened = prepare.open_study, []

    def until_killed(source: Source):
        opened.append(source.path)
        if len(opened) == 7:
            raise KeyboardInterrupt
        return real(source)

    monkeypatch.setattr(prepare, "open_study", until_killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_all(*pictures, READS, tmp_path / "cache")
    opened[:] = [""] * 10
    made = prepare_all(*pictures, READS, tmp_path / "cache")
    assert len(opened) - 10 == 8
    assert made.images[:, 0, 0, 0].tolist() == [20 * i for i in range(12)]


def test_workers_give_what_one_process_gives(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "CHUNK", 3)
    alone = prepare_all(*pictures, READS, tmp_path / "alone", jobs=1)
    monkeypatch.setattr(prepare, "PAYS_S", -1.0)
    together = prepare_all(*pictures, READS, tmp_path / "together", jobs=2)
    np.testing.assert_array_equal(alone.images, together.images)


def test_an_unreadable_image_is_named_with_its_reason_also_the_next_time(pictures, tmp_path):
    ids, sources, hashes = pictures
    with open(sources[3].path, "wb") as opened:
        opened.write(b"no picture")
    for _ in range(2):
        made = prepare_all(ids, sources, hashes, READS, tmp_path / "cache")
        assert list(made.unreadable) == [ids[3]]
        assert made.images[4, 0, 0, 0] == 80


def test_another_size_or_content_is_another_cache_and_another_mean_is_not():
    key = cache_key(READS, ["a", "b"])
    assert key == cache_key(Reads((8, 8), mean=(0.1,)), ["a", "b"])
    assert len({key, cache_key(Reads((9, 8)), ["a", "b"]), cache_key(READS, ["a", "c"]), cache_key(READS, ["b", "a"])}) == 4


def test_a_disk_without_room_is_told_before_anything_is_decoded(pictures, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(RunError, match="the disk has no room for the prepared images .*expected 0.0 GB free.*smaller --size"):
        prepare_all(*pictures, READS, tmp_path / "cache")


def test_a_disk_that_fills_while_room_is_taken_is_told(pictures, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RunError, match="No space left on device; free some space; the same command goes on"):
        prepare_all(*pictures, READS, tmp_path / "cache")
    monkeypatch.undo()
    assert prepare_all(*pictures, READS, tmp_path / "cache").images[11, 0, 0, 0] == 220
