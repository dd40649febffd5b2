"""Values in the place of values, by VR (PS3.5 6.2): dummies, emptiness, shifted dates."""

from __future__ import annotations

import datetime
import re
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence

TEXT = frozenset({"LO", "LT", "SH", "ST", "UC", "UT", "PN", "CS", "AE", "UR"})
DUMMIES: dict[str, Any] = {
    "AE": "ANONYMOUS", "AS": "000Y", "AT": 0, "CS": "ANONYMIZED", "DA": "19000101", "DS": "0", "DT": "19000101000000", "FD": 0.0, "FL": 0.0, "IS": "0",
    "LO": "ANONYMIZED", "LT": "ANONYMIZED", "OB": b"\0\0", "OD": bytes(8), "OF": bytes(4), "OL": bytes(4), "OV": bytes(8), "OW": b"\0\0", "PN": "ANONYMIZED",
    "SH": "ANONYMIZED", "SL": 0, "SS": 0, "ST": "ANONYMIZED", "SV": 0, "TM": "000000", "UC": "ANONYMIZED", "UI": "2.25.0", "UL": 0, "UN": b"\0\0",
    "UR": "urn:anonymized", "US": 0, "UT": "ANONYMIZED", "UV": 0,
}
"""A value of each VR that says nothing."""
DAY = re.compile(r"(\d{4})(\d{2})(\d{2})")
OLDEST_YEARS = 89
"""An age above it is one of few people (45 CFR 164.514)."""


def dummy(element: DataElement) -> Any:
    """A value that is not empty and says nothing; a sequence gets one item of a code that says so."""
    if element.VR == "SQ":
        return Sequence([_nothing()])
    return DUMMIES.get(str(element.VR)[:2], b"\0\0")


def _nothing() -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "0", "99ANON", "ANONYMIZED"
    return item


def moved(element: DataElement, days: int) -> Any:
    """Dates and times of a DA or DT that many days earlier; a time of day (TM) stays. What is no date becomes empty.

    A range (PS3.5 6.2, in queries) and each of several values is moved alike.
    """
    if element.VR == "TM":
        return element.value
    values = element.value if element.VM > 1 else [element.value]
    found = [_earlier(str(value or ""), days) for value in values]
    return found if len(found) > 1 else found[0]


def _earlier(text: str, days: int) -> str:
    """
    >>> _earlier("20260301", 1), _earlier("20260301101500.5+0100", 60), _earlier("2026", 5), _earlier("unknown", 5)
    ('20260228', '20251231101500.5+0100', '', '')
    """
    match = DAY.match(text.replace(".", "") if text.count(".") == 2 and len(text) == 10 else text)
    if match is None:
        return ""
    try:
        day = datetime.date(*map(int, match.groups())) - datetime.timedelta(days)
    except (ValueError, OverflowError):
        return ""
    rest = text[8:] if text[:8].isdigit() else ""
    return f"{day:%Y%m%d}{rest}"


def bounded_age(text: str) -> str:
    """An age (AS) above 89 years becomes 90.

    >>> bounded_age("045Y"), bounded_age("097Y"), bounded_age("0x")
    ('045Y', '090Y', '')
    """
    if not re.fullmatch(r"\d{3}[DWMY]", text):
        return ""
    return "090Y" if text.endswith("Y") and int(text[:3]) > OLDEST_YEARS else text
