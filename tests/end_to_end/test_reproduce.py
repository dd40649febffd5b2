"""A run, run again from its record as a user does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vesalius.errors import DataError
from vesalius.stages.reproduce import reproduce


@pytest.mark.slow
def test_the_same_bits_come_out_and_a_changed_label_is_named(run: Path, pictures: Path, tmp_path: Path) -> None:
    made = reproduce(run, tmp_path / "again")
    assert made.verdict == "same" and made.exit_code == 0 and made.weights.n > 1000, made.text()
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    one = sorted((data / "normal").iterdir())[0]
    one.rename(data / "effusion" / one.name)
    with pytest.raises(DataError, match=f"normal/{one.name} was 'normal' and is 'effusion'"):
        reproduce(run, tmp_path / "other", data=data)
