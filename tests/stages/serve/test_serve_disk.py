"""A disk that is really full (a small file system in memory, where the machine lets us mount one)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.serve.clinicnode import deliver, instance, serving, until

SIZE = 6_000_000


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "small"
    made.mkdir()
    told = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(made)], capture_output=True, check=False)
    if told.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield made
    subprocess.run(["umount", "-l", str(made)], check=True)


def test_a_full_disk_refuses_loses_nothing_and_recovers(small: Path) -> None:
    with serving(small / "site") as node:
        assert deliver(node.scp.port, [instance(1)]) == [0]
        until(node.store.findings)
        with open(small / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while filler.write(bytes(4096)):
                pass
        statuses = deliver(node.scp.port, [instance(n, series="1.2.4", side=100) for n in range(1, 6)])
        assert statuses == [0xA700] * 5 and list((small / "site" / "inbox").iterdir()) == []
        (small / "filler").unlink()
        assert deliver(node.scp.port, [instance(n, series="1.2.4", side=100) for n in range(1, 6)]) == [0] * 5
        until(lambda: len(node.store.findings()) == 2)
        assert {item["label"] for item in node.store.findings()} == {"1 images", "5 images"} and node.store.audit_verify() == []
