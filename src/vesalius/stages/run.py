"""The run folder: its paths, its lock, and whether a command may go on in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vesalius.errors import RunError
from vesalius.stages.request import Request
from vesalius.storage import atomic_json

PACKAGES = (
    "vesalius", "torch", "torchvision", "monai", "timm", "lightning-fabric", "numpy", "scipy", "scikit-learn", "scikit-image", "pydicom", "nibabel", "pandas",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of the record of one run; see docs/architecture.md."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.toml"

    @property
    def cohort(self) -> Path:
        return self.path / "cohort.parquet"

    @property
    def audit(self) -> Path:
        return self.path / "audit.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.parquet"

    @property
    def baselines(self) -> Path:
        return self.path / "baselines.parquet"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def explain(self) -> Path:
        return self.path / "explain"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    def facts(self) -> dict[str, Any]:
        """What `environment.json` holds; empty when there is none yet."""
        return dict(json.loads(self.environment.read_text("utf-8"))) if self.environment.is_file() else {}

    @contextmanager
    def claimed(self, request: Request) -> Iterator[RunFolder]:
        """Hold the folder for this process and this request.

        Raises
        ------
        RunError: it cannot be written, another process works in it, it holds something else, or another request.
        """
        lock = FileLock(str(self.path / ".lock"), timeout=0)
        self._make()
        try:
            with lock:
                self._agree(request)
                yield self
        except Timeout as error:
            raise RunError("another process works in this run folder", where=self.path, do="wait until it has finished, or choose another --out") from error

    def _make(self) -> None:
        if self.path.is_dir() and any(self.path.iterdir()) and not self.environment.is_file() and not (self.path / ".lock").exists():
            raise RunError(
                "the run folder holds something else", where=self.path, expected="an empty or new folder, or a run to go on with", do="choose another --out",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise RunError(
                "the run folder cannot be written", where=self.path, got=error.strerror, do="choose another --out, or free or unlock this one",
            ) from error

    def _agree(self, request: Request) -> None:
        before, now = self.facts().get("request"), request.remembered()
        if before is None:
            atomic_json(self.environment, {"schema": 1, "request": now, "seed": request.seed} | environment())
            return
        other = {k: (before.get(k), v) for k, v in now.items() if before.get(k) != v}
        if other:
            name, (was, wanted) = next(iter(other.items()))
            raise RunError(
                "the run folder belongs to another request", where=self.path, expected=f"{name} = {was} as when it was started", got=wanted,
                do="repeat the same options to go on, or choose another --out",
            )


def environment() -> dict[str, Any]:
    """Versions and the machine, for the record."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {"versions": versions, "python": platform.python_version(), "system": platform.platform()}
