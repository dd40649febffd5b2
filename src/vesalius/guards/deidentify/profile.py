"""The tables of PS3.15: what is done with each attribute (E.1-1), and which private ones are safe (E.3.10-1)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vesalius.errors import OptionError

FOLDER = Path(__file__).parent
Private = Mapping[str, frozenset[tuple[int, int]]]
CHOSEN = {"X/Z": "Z", "X/D": "D", "Z/D": "D", "X/Z/D": "D", "X/Z/U*": "U"}
"""What is done where the standard leaves it to the object's definition: the one that every type of attribute (PS3.5 7.4) allows."""


@cache
def profile() -> dict[str, dict[str, str]]:
    """Actions by tag (eight hexadecimal digits, ``X`` for any) and column: ``basic`` and the options."""
    rows = tomllib.loads((FOLDER / "profile.toml").read_text(encoding="utf-8"))
    return {tag: {"basic": text.split()[0], **dict(cell.split("=") for cell in text.split()[1:])} for tag, text in rows.items()}


def action_of(tag: int, active: tuple[str, ...]) -> str | None:
    """D, Z, X, K, C or U for an attribute under these options; None when the table does not list it.

    Where several options speak of one attribute, cleaning goes before keeping.

    >>> action_of(0x00100010, ()), action_of(0x00080022, ()), action_of(0x00080022, ("modified",)), action_of(0x60023000, ())
    ('Z', 'Z', 'C', 'X')
    """
    row = _row(tag)
    if row is None:
        return None
    said = {row[name] for name in active if name in row}
    if said:
        return "C" if "C" in said else "K"
    return CHOSEN.get(row["basic"], row["basic"])


def structured(tag: int) -> bool:
    """Whether a sequence holds content items, which Clean Structured Content speaks of."""
    return "structured" in (_row(tag) or {})


def _row(tag: int) -> dict[str, str] | None:
    text, rows = f"{tag:08X}", profile()
    if text[:2] == "50" and not tag >> 16 & 1:
        return rows["50XXXXXX"]
    return rows.get(text) or (rows.get(f"60XX{text[4:]}") if text[:2] == "60" else None)


@cache
def safe_private() -> Private:
    """Private attributes of Table E.3.10-1 by creator."""
    return private_of((FOLDER / "safe_private.toml").read_text(encoding="utf-8"))


def private_of(text: str, where: str | Path | None = None) -> Private:
    """Private attributes from TOML: a table a creator, a key a group, its value the last two digits of the elements.

    >>> private_of('["ACME 1.1"]\\n0019 = "0c"')
    {'ACME 1.1': frozenset({(25, 12)})}

    Raises
    ------
    OptionError: it is written otherwise.
    """
    try:
        held: dict[str, Any] = tomllib.loads(text)
        found = {creator: frozenset((int(group, 16), int(last, 16)) for group, lasts in groups.items() for last in lasts.split())
                 for creator, groups in held.items()}
    except (tomllib.TOMLDecodeError, AttributeError, ValueError) as error:
        raise OptionError("the list of private attributes cannot be read", where=where, expected='a table a creator: ["CREATOR"] and 0019 = "0c 27"',
                          got=type(error).__name__, do="correct it") from error
    odd = next((f"group {group:04X}" for each in found.values() for group, last in each if not group & 1 or not 0 <= last <= 255), None)
    if odd:
        raise OptionError("the list of private attributes names one that is not private", where=where, expected="an odd group and two digits", got=odd)
    return found


def private_file(path: Path) -> Private:
    """The site's own list of safe private attributes, in the form of `private_of`.

    Raises
    ------
    OptionError: it is absent or written otherwise.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise OptionError("the list of private attributes cannot be read", where=path, expected="a TOML file", got=type(error).__name__,
                          do="check the path") from error
    return private_of(text, path)
