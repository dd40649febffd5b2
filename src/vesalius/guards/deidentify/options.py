"""Which options of PS3.15 E.3 go with the Basic Profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vesalius.errors import OptionError
from vesalius.registry import nearest

DATES = ("remove", "shift", "keep")
KEEPS = ("device", "institution", "patient", "uids", "private")
CLEANS = ("pixels", "structured", "graphics", "descriptors")
CODES = {
    "basic": ("113100", "Basic Application Confidentiality Profile"),
    "pixels": ("113101", "Clean Pixel Data Option"),
    "graphics": ("113103", "Clean Graphics Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "full": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "uids": ("113110", "Retain UIDs Option"),
    "private": ("113111", "Retain Safe Private Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
}
"""Codes of PS3.16 CID 7050 by the option's name here."""


@dataclass(frozen=True)
class Options:
    """The Basic Profile and what is done beyond it.

    ``dates``: ``remove`` (Basic Profile), ``shift`` (Modified Dates: the same number of days for all of a patient) or ``keep`` (Full Dates);
    ``keep``: of `KEEPS`; ``clean``: of `CLEANS`, kept in a form without identity rather than removed;
    ``private``: further private attributes that the site knows to be safe, ``{creator: {(group, last two digits of the element)}}``.

    Raises
    ------
    OptionError: a name is unknown.
    """

    dates: str = "remove"
    keep: frozenset[str] = frozenset()
    clean: frozenset[str] = frozenset({"pixels", "structured"})
    private: Mapping[str, frozenset[tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, given, known in (("dates", {self.dates}, DATES), ("keep", self.keep, KEEPS), ("clean", self.clean, CLEANS)):
            for name in sorted(set(given) - set(known)):
                near = nearest(name, list(known))
                raise OptionError(f"unknown value '{name}' of {what}", expected=f"'{near[0]}'" if near else f"one of {', '.join(known)}", do="correct it")

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the options in force, as the columns of the profile call them."""
        dates = {"shift": ("modified",), "keep": ("full",)}.get(self.dates, ())
        held = {*self.keep, *self.clean, *(("private",) if self.private else ())}
        return tuple(sorted({*held, *dates}))

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code values and meanings for De-identification Method Code Sequence (0012,0064), the Basic Profile first."""
        return (CODES["basic"], *(CODES[name] for name in self.active))
