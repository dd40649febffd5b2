"""The plan: every decision of a run with its reason, as data.

A plan is frozen. On disk it is TOML, one line per decision, the reason beside the
value; its hash covers values, not reasons, so that a better wording is the same plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from vesalius.errors import RunError
from vesalius.storage import atomic_write

SCHEMA = 1


@dataclass(frozen=True)
class Decision:
    """A value and why it was chosen."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """Decisions by section and name.

    >>> plan = Plan().decide("train.epochs", 20, "2,000 images")
    >>> plan["train.epochs"], plan.reason("train.epochs")
    (20, '2,000 images')
    """

    sections: Mapping[str, Mapping[str, Decision]] = field(default_factory=dict)
    schema: int = SCHEMA

    def __getitem__(self, path: str) -> Any:
        return self._find(path).value

    def reason(self, path: str) -> str:
        """Why the value at ``section.name`` was chosen."""
        return self._find(path).reason

    def _find(self, path: str) -> Decision:
        section, _, name = path.partition(".")
        try:
            return self.sections[section][name]
        except KeyError as error:
            raise RunError(f"the plan has no decision '{path}'", do="run the same version that wrote it, or start a new run folder") from error

    def get(self, path: str, default: Any = None) -> Any:
        """The value at ``section.name``, or the default."""
        section, _, name = path.partition(".")
        found = self.sections.get(section, {}).get(name)
        return default if found is None else found.value

    def decide(self, path: str, value: Any, reason: str) -> Plan:
        """A new plan with one decision added or replaced."""
        section, _, name = path.partition(".")
        changed = dict(self.sections)
        changed[section] = {**changed.get(section, {}), name: Decision(value, reason)}
        return Plan(changed, self.schema)

    @property
    def hash(self) -> str:
        """First 16 hex digits of the sha256 of all values."""
        plain = {s: {n: plain_value(d.value) for n, d in sorted(part.items())} for s, part in sorted(self.sections.items())}
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """The plan as TOML text; values of None are written as the empty string."""
        document = tomlkit.document()
        document["schema"], document["hash"] = self.schema, self.hash
        for section, part in self.sections.items():
            table = tomlkit.table()
            for name, decision in part.items():
                line = tomlkit.inline_table()
                line.update({"value": plain_value(decision.value), "reason": decision.reason})
                table[name] = line
            document[section] = table
        return tomlkit.dumps(document)

    @classmethod
    def from_toml(cls, text: str, where: str = "") -> Plan:
        """The inverse of `to_toml`. RunError for another schema or a damaged file."""
        try:
            document = tomlkit.parse(text).unwrap()
        except TOMLKitError as error:
            raise RunError("the plan is damaged", where=where, got=str(error), do="start a new run folder") from error
        if document.get("schema") != SCHEMA:
            raise RunError("the plan has another schema", where=where, expected=SCHEMA, got=document.get("schema"), do="use the version that wrote it")
        parts = {s: p for s, p in document.items() if isinstance(p, dict)}
        return cls({s: {n: Decision(d["value"], d["reason"]) for n, d in p.items()} for s, p in parts.items()})

    def save(self, path: Path) -> None:
        """Write the plan as one file, whole or not at all."""
        atomic_write(path, self.to_toml().encode())

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan; RunError when there is none."""
        if not path.is_file():
            raise RunError("there is no plan", where=path, expected="a run folder or its model folder", do="give the folder that 'vesalius fit --out' wrote")
        return cls.from_toml(path.read_text("utf-8"), str(path))


def plain_value(value: Any) -> Any:
    """A value as TOML knows it: tuples become lists, None the empty string (also inside), numpy scalars numbers."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(v) for v in value]
    return value.item() if hasattr(value, "item") and not isinstance(value, str) else value
