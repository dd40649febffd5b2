"""A short run of benchmarks/fuzz_readers.py, and that it notices what it is there to notice."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_readers.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vesalius_fuzz_readers", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("target", ["dicom", "table", "upload"])
def test_broken_files_are_read_or_refused(fuzz: ModuleType, target: str) -> None:
    result = fuzz.fuzz(target, 150, seed=3)
    assert result["faults"] == []
    assert result["read"] + result["refused"] == 150 and result["refused"] > 50 and result["read"] > 5
    assert result["largest_rss_mb"] < 512


def test_cases_depend_on_their_number_alone(fuzz: ModuleType) -> None:
    seeds = fuzz.dicom_seeds()
    assert len(seeds) > 60
    cases = [fuzz.mutated(seeds[k % 5], random.Random(k), seeds) for k in range(40)]
    assert cases == [fuzz.mutated(seeds[k % 5], random.Random(k), seeds) for k in range(40)]
    assert sum(case != seeds[k % 5] for k, case in enumerate(cases)) > 35


@pytest.mark.slow
def test_a_crash_a_hang_and_an_error_are_faults(fuzz: ModuleType) -> None:
    result = fuzz.fuzz("planted", 12, seed=2, hang_s=1.0)
    told = " ".join(fault["fault"] for fault in result["faults"])
    assert all(words in told for words in ("MemoryError", "KeyError", "died (-9)", "hang of 1 s"))
