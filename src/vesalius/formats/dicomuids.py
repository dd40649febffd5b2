"""What a unique identifier may be (PS3.5 9.1)."""

from __future__ import annotations

import re

LONGEST = 64
STRICT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
"""No separator, no control character, no dot at the start: cannot leave a folder, whatever is made of it."""


def uid_fault(text: str) -> str:
    """Why a text is no UID; empty when it is one. The text itself is never quoted: a UID identifies.

    >>> uid_fault("1.2.840.10008.1.2"), uid_fault("1.02.3"), uid_fault("../../etc"), uid_fault("")
    ('', 'a component with a leading zero', 'characters other than digits and dots', 'nothing')
    """
    if STRICT.match(text):
        return "" if len(text) <= LONGEST else f"{len(text)} characters"
    if DIGITS.match(text):
        return "a component with a leading zero"
    if not text:
        return "nothing"
    return "an empty component" if set(text) <= set("0123456789.") else "characters other than digits and dots"


def harmless(text: str) -> bool:
    """Whether a text that is no UID could at least not be a path.

    >>> harmless("series-1"), harmless("../x"), harmless("a/b")
    (True, False, False)
    """
    return not text or (len(text) <= 4 * LONGEST and bool(HARMLESS.match(text)))
