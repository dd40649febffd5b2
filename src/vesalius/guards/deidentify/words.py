"""Free text without the patient: what the object itself says of persons and numbers is taken out of every sentence of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom import Dataset

GONE = "[removed]"
LEAST, LEAST_DIGITS, LEAST_IN_CODES = 2, 4, 4
NUMBERS = ("PatientID", "AccessionNumber", "IssuerOfPatientID", "AdmissionID", "OtherPatientIDs", "PatientBirthName", "StudyID", "PatientTelephoneNumbers",
           "MedicalRecordLocator", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
           "ServiceEpisodeID", "RequestedProcedureID", "PerformedProcedureStepID", "ScheduledProcedureStepID", "MilitaryRank")
PHRASES = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "PatientAddress", "StationName", "CurrentPatientLocation",
           "RequestingService", "PatientInstitutionResidence", "RegionOfResidence", "CountryOfResidence", "Occupation")
PATTERNS = (
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    re.compile(r"\b(?:19|20)\d{2}[-/. ]?(?:0[1-9]|1[0-2])[-/. ]?(?:0[1-9]|[12]\d|3[01])\b"),
    re.compile(r"\b\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)?\d{2}\b"),
    re.compile(r"(?:19|20)\d{2}\s*年\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*日)?"),
    re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|Doctor|Nurse)\.?\s+[^\W\d_][\w'-]+(?:\s+[A-Z][\w'-]+)?"),
    re.compile(r"(?:\+?\d[\d ()/-]{7,}\d)"),
    re.compile(r"\b\w*\d{5,}\w*\b"),
)
"""Addresses of mail, dates, titled names, telephone numbers and long numbers, whoever they belong to."""


@dataclass(frozen=True)
class Words:
    """What identifies in this object, the longest first."""

    held: tuple[str, ...]
    known: re.Pattern[str] | None = None
    long: re.Pattern[str] | None = None

    def out_of_code(self, text: str) -> str:
        """A code string without the longer ones: short names are codes too (CT, MR)."""
        return self.long.sub("", text).strip() if self.long is not None else text

    def out_of(self, text: str, thorough: bool = False) -> str:
        """The text without these words; ``thorough``: also without what looks like a date, a titled name, or a long number."""
        cleaned = self.known.sub(GONE, text) if self.known is not None else text
        for pattern in PATTERNS if thorough else ():
            cleaned = pattern.sub(GONE, cleaned)
        return cleaned


def words_of(item: Dataset, house: bool = True) -> Words:
    """Names of all persons, numbers of the patient and (``house``) names of the house, as they are in the data set and its sequences."""
    found = {text for text in _found(item, house) if len(text) >= LEAST and not (text.isdigit() and len(text) < LEAST_DIGITS)}
    ordered = tuple(sorted(found, key=lambda text: (-len(text), text)))
    return Words(ordered, _any_of(ordered), _any_of(tuple(text for text in ordered if len(text) >= LEAST_IN_CODES)))


def _any_of(words: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(_bounded(text) for text in words), re.IGNORECASE) if words else None


def _bounded(text: str) -> str:
    """Whole words only, where the script has them: Ann is not taken out of Annular."""
    before, after = (r"(?<![^\W_])" if text[0].isascii() else ""), (r"(?![^\W_])" if text[-1].isascii() else "")
    return before + re.escape(text) + after


def _found(item: Dataset, house: bool) -> Iterator[str]:
    for element in item.iterall():
        if element.VR == "PN":
            for name in _texts(element.value):
                yield from _parts(name)
        elif element.keyword in NUMBERS or (house and element.keyword in PHRASES):
            yield from (text.strip() for text in _texts(element.value) if text.strip())
        elif element.keyword == "PatientBirthDate":
            yield from _dates(str(element.value or ""))


def _texts(value: object) -> list[str]:
    if value is None or isinstance(value, (bytes, Dataset)):
        return []
    if isinstance(value, Iterable) and not isinstance(value, str) and type(value).__name__ != "PersonName":
        return [str(each) for each in value if not isinstance(each, Dataset)]
    return [str(value)]


def _parts(name: str) -> Iterator[str]:
    """Each word of each component of each group of a person's name (PS3.5 6.2.1), and the components in both orders."""
    for group in name.split("="):
        components = [part.strip() for part in group.split("^") if part.strip()]
        yield from (word for part in components for word in re.split(r"[\s,]+", part) if len(word) > 1 or not word.isascii())
        if len(components) > 1:
            joiner = ("", " ", ", ")
            yield from (each for gap in joiner for each in (gap.join(components[:2]), gap.join(components[1::-1])))


def _dates(day: str) -> Iterator[str]:
    if len(day) == 8 and day.isdigit():
        year, month, date = day[:4], day[4:6], day[6:]
        yield day
        yield from (gap.join(parts) for gap in "-./" for parts in ((year, month, date), (date, month, year), (month, date, year)))
