"""Content items of structured reports and of contexts (PS3.15 E.3.4): what is done with one by the code of its concept name, Table E.3.4-1."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydicom import DataElement, Dataset

from vesalius.guards.deidentify.values import OLDEST_YEARS

Row = dict[str, str]
SUBJECT_AGE = ("DCM", "121033")
VALUES = {
    0x0040A120: "D", 0x0040A121: "D", 0x0040A122: "D", 0x0040A123: "D", 0x0040A124: "U", 0x0040A160: "D", 0x0040A168: "D", 0x00081199: "U",
    0x0040A300: "Z", 0x0040A30A: "Z", 0x0040A161: "Z",
}
"""The attributes that hold the value of a content item (PS3.3 C.17.3, 10.2), and how it is replaced. A reference keeps pointing, to the new UID."""
BY_REFERENCE = 0x0040DB73
"""Referenced Content Item Identifier: an item is named by its position, so that none before it may go."""


@cache
def content_items() -> dict[tuple[str, str], dict[str, Row]]:
    """Rows by coding scheme and code, then by value type: ``basic`` and the options, as `profile.profile` has them."""
    schemes = tomllib.loads((Path(__file__).parent / "content.toml").read_text(encoding="utf-8"))
    return {(scheme, code): dict(map(_row, text.split("; "))) for scheme, codes in schemes.items() for code, text in codes.items()}


def _row(text: str) -> tuple[str, Row]:
    kind, basic, *cells = text.split()
    return kind, {"basic": "D" if basic == "X/D" else basic, **dict(cell.split("=") for cell in cells)}


def content_action(item: Dataset, active: tuple[str, ...]) -> str | None:
    """D, X, K or C for a content item under these options; None for what is none, or is not listed.

    A concept with a value type that the table does not list under it is treated as the first one that it does list. A subject older than 89 years has no age.
    """
    concept = _concept(item)
    rows = content_items().get(concept) if concept else None
    if rows is None:
        return None
    row = rows.get(str(item.get("ValueType") or "")) or next(iter(rows.values()))
    said = {row[name] for name in active if name in row}
    if not said or (concept == SUBJECT_AGE and _old(item)):
        return row["basic"]
    return "C" if "C" in said else "K"


def _concept(item: Dataset) -> tuple[str, str] | None:
    names = item.get("ConceptNameCodeSequence")
    if not names:
        return None
    return str(names[0].get("CodingSchemeDesignator") or "").strip(), str(names[0].get("CodeValue") or "").strip()


def _old(item: Dataset) -> bool:
    """Whether a number of it is beyond 89, whatever its unit: days and months are not used for the old."""
    numbers = [each["NumericValue"] for each in (*(item.get("MeasuredValueSequence") or ()), item) if each.get("NumericValue") is not None]
    return any(float(value) > OLDEST_YEARS for number in numbers for value in (number.value if number.VM > 1 else [number.value]))


def value_action(element: DataElement, said: str) -> str | None:
    """What becomes of one attribute of a content item for which the table says ``said``; None for an attribute that is not its value."""
    replaced = VALUES.get(int(element.tag))
    if replaced is None or (said == "C" and int(element.tag) != 0x0040A160):
        return None
    if said == "C":
        return "C"
    return ("S" if element.VR in ("UT", "SQ", "DS") else "K") if said == "K" else replaced


def by_reference(item: Dataset) -> bool:
    """Whether content items are named by their position anywhere in the data set."""
    return any(int(element.tag) == BY_REFERENCE for element in item.iterall())
