"""What a ``dataset.json`` says; files of that name that describe something else are passed over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import DataError
from vesalius.formats.given import Given

FILE = "dataset.json"


@dataclass(frozen=True)
class Description:
    """What a ``dataset.json`` says. ``base`` is its folder below DATA (with a slash at the end, or nothing)."""

    base: str
    facts: Mapping[str, Any]

    @property
    def channels(self) -> list[str]:
        """Names of the channels in order."""
        held = self.facts.get("channel_names") or self.facts.get("modality") or {}
        return [str(held[key]) for key in sorted(held, key=lambda key: int(key) if str(key).isdigit() else 0)] if isinstance(held, dict) else []

    @property
    def listed(self) -> list[Mapping[str, Any]] | None:
        """Cases that the file lists itself: ``image`` (a path or several) and ``label``; None where the folders tell them."""
        cases = self.facts.get("training")
        if not cases and isinstance(self.facts.get("dataset"), dict):
            cases = [{"image": each.get("images"), "label": each.get("label")} for each in self.facts["dataset"].values()]
        return [each for each in cases if isinstance(each, dict)] if cases else None


def described(given: Given) -> Description | None:
    """The description in the root or in a folder right below it; None when there is none, or it describes no masks.

    Raises
    ------
    DataError: it is damaged, beside a folder ``imagesTr``.
    """
    if not given.is_folder:
        return None
    names = [name for name in given.tree.files if name.rsplit("/", 1)[-1].lower() == FILE and name.count("/") <= 1]
    if len(names) != 1:
        return None
    base = names[0][: -len(FILE)]
    try:
        facts = json.loads(Path(given.tree.path(names[0])).read_text("utf-8-sig"))
    except (ValueError, OSError) as error:
        if not any(name.startswith(f"{base}imagesTr/") for name in given.tree.files):
            return None
        raise DataError(f"the {FILE} cannot be read", where=given.tree.path(names[0]), expected="JSON", got=type(error).__name__, do="repair it") from error
    known = isinstance(facts, dict) and isinstance(facts.get("labels"), dict) and ({"training", "dataset", "channel_names", "modality"} & facts.keys())
    return Description(base, facts) if known else None
