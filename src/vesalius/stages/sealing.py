"""The sealed test set: which images it holds is fixed by a hash, and every look at it is counted."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.target import missing, text_of
from vesalius.errors import SealError
from vesalius.storage import append_line


def seal(frame: pd.DataFrame) -> str:
    """sha256 over the sorted (id, content hash, label) of the test rows; the order of the rows does not matter."""
    test = frame[frame["split"] == "test"]
    rows = sorted((str(i), str(h), "" if missing(label) else text_of(label)) for i, h, label in zip(test["id"], test["hash"], test["label"], strict=True))
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def verify_seal(frame: pd.DataFrame, sealed: str) -> None:
    """Refuse a test part that is not the one that was sealed.

    Raises
    ------
    SealError: images, their content or their labels were changed, added or taken away.
    """
    now = seal(frame)
    if now != sealed:
        advice = "restore the data and labels, or fit into a new folder"
        raise SealError("the test set is not the one that was sealed", expected=f"seal {sealed[:12]}", got=f"seal {now[:12]}", do=advice)


class Looks:
    """The ledger of looks at the test set: ``RUN/log/looks.jsonl``, one line a look, only ever appended to."""

    def __init__(self, run: str | Path) -> None:
        self.path = Path(run) / "log" / "looks.jsonl"

    def entries(self) -> list[dict[str, Any]]:
        """All looks, oldest first. A line that a crash cut or a hand changed is a look all the same: ``{"damaged": line}``."""
        lines = self.path.read_text("utf-8", errors="replace").splitlines() if self.path.is_file() else []
        return [_entry(line) for line in lines if line.strip()]

    def count(self) -> int:
        """How often the test set has been looked at."""
        return len(self.entries())

    def record(self, sealed: str, model_hash: str, purpose: str) -> int:
        """Write a look down before it happens, flushed to the disk; returns how many there are now.

        Raises
        ------
        RunError: it cannot be written, so there must be no look.
        """
        number = self.count() + 1
        entry = {"look": number, "time": datetime.now(UTC).isoformat(timespec="seconds"), "seal": sealed, "model": model_hash, "purpose": purpose}
        cut = self.path.is_file() and not self.path.read_bytes().endswith(b"\n")
        append_line(self.path, ("\n" if cut else "") + json.dumps(entry, ensure_ascii=False))
        return number


def _entry(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError):
        return {"damaged": line}
