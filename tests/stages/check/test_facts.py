"""Every file becomes a fact, also the broken one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from stages.cohorts import case, cohort, picture, save
from vesalius.errors import DataError
from vesalius.stages.check import facts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, "good.png", picture(0, (40, 60)))
    save(tmp_path, "colour.png", np.stack([picture(1), picture(2), picture(3)], -1))
    save(tmp_path, "grey as colour.jpg", np.repeat(picture(1)[..., None], 3, -1))
    save(tmp_path, "flat.png", np.full((20, 20), 7, np.uint8))
    (tmp_path / "empty.png").write_bytes(b"")
    whole = save(tmp_path, "cut.jpg", picture(4, (200, 200))).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    return tmp_path


def test_what_is_seen_of_each_file(folder: Path) -> None:
    names = ["good.png", "colour.png", "grey as colour.jpg", "flat.png", "empty.png", "cut.jpg", "text.png", "absent.png"]
    found = {fact.id: fact for fact in facts.gather(cohort([case(folder / name, "ill") for name in names]))}
    assert list(found) == names
    problems = {name: fact.problem for name, fact in found.items() if fact.problem}
    assert problems == {"flat.png": "constant", "empty.png": "empty", "cut.jpg": "truncated", "text.png": "unreadable", "absent.png": "unreadable"}
    good = found["good.png"]
    assert (good.shape, good.bits, good.colour, good.suffix) == ((40, 60), 8, False, ".png")
    assert good.hash == hashlib.sha256((folder / "good.png").read_bytes()).hexdigest()
    assert good.n_bytes == (folder / "good.png").stat().st_size and good.print is not None
    assert found["colour.png"].colour and not found["grey as colour.jpg"].colour
    assert "empty.png" in found["empty.png"].told and found["empty.png"].hash == "" and found["absent.png"].hash == ""


def test_samples_that_are_not_numbers_are_counted(tmp_path: Path) -> None:
    some, none = np.ones((8, 8), np.float32), np.full((8, 8), np.nan, np.float32)
    some[0, 0], some[0, 1] = np.nan, 5
    np.save(tmp_path / "some.npy", some)
    np.save(tmp_path / "none.npy", none)
    seen = facts.gather(cohort([case(tmp_path / name, "ill", fmt="npy") for name in ("some.npy", "none.npy")]))
    assert [(fact.nan, fact.problem) for fact in seen] == [(1, None), (64, "no_numbers")]
    assert (seen[0].low, seen[0].high) == (1, 5)


def test_other_processes_see_the_same_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case(save(tmp_path, f"{i:03d}.png", picture(i, (16, 16))), "ill") for i in range(150)]
    alone = facts.gather(cohort(cases), jobs=1)
    monkeypatch.setattr(facts, "PATIENCE_S", 0.0)
    seen: list[tuple[int, int, str]] = []
    apart = facts.gather(cohort(cases), jobs=2, progress=lambda *args: seen.append(args))
    assert [(f.id, f.hash) for f in apart] == [(f.id, f.hash) for f in alone]
    assert all(np.array_equal(a.print, b.print) for a, b in zip(alone, apart, strict=True))
    assert seen == [(64, 150, "reading"), (128, 150, "reading"), (150, 150, "reading")]


def test_a_process_that_dies_is_an_error_and_not_a_wait() -> None:
    dying = Parallel(2, return_as="generator")(delayed(os._exit)(3) for _ in range(4))
    with pytest.raises(DataError, match="a process that read images died: got no answer from it .*--jobs 1"):
        list(facts._watched(dying))
