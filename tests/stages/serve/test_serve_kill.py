"""kill -9 at any moment loses nothing and repeats nothing (five moments; benchmarks/clinic_kill.py has a hundred)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.serve.clinickills import campaign


@pytest.mark.slow
@pytest.mark.alone
def test_five_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    outcome = campaign(tmp_path / "site", 5, seed=3)
    assert outcome.faults == [] and outcome.series >= 2 and outcome.instances == 4 * outcome.series
