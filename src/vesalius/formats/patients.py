"""Who the patient is, with the evidence: DICOM PatientID, a column, sub-folders, a pattern of file names, or nobody knows."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vesalius.errors import DataError, OptionError

KEYWORD = re.compile(
    r"(?:^|[^a-z])(?:patient|subject|sub|subj|person|pat|pid|case|mrn)[\s_-]{0,2}0*(?P<id>\d+[a-z]?)|^p[_-]?0*(?P<p>\d{2,})(?![a-z0-9])|^s[_-]?0*(?P<s>\d{3,})(?![a-z0-9])"
    r"|^(?P<tcga>tcga-\w{2}-\w{4})|(?:患者|病人|病例)[\s_-]?0*(?P<zh>\d+)", re.IGNORECASE)
FIRST_TOKEN = re.compile(r"^([^_\-]*\d[^_\-]*)[_\-].")
ALL_BUT_LAST = re.compile(r"^(.*\d.*)[_\-][^_\-]+$")
KEYWORD_SHARE = 0.3
"""A keyword that is in fewer names than this part is an accident."""
RESTART_SHARE = 0.8
"""Numbers that start again in each class: this part of the smaller class's numbers is in every other class."""
LARGEST_GROUP = (20, 0.1)
"""A group of names larger than both this many and this part of all is no patient (it is a date, a scanner, a class)."""


@dataclass(frozen=True)
class Patients:
    """The patient of each image, in the order of the names that were asked about."""

    ids: tuple[str, ...]
    known: bool
    evidence: str


def alone(names: Sequence[str], why: str) -> Patients:
    """Nobody knows the patient: each image is its own."""
    return Patients(tuple(names), False, why)


def by_option(names: Sequence[str], option: str) -> Patients:
    """``--patient``: ``none``, or a regular expression on the relative path whose first group (or whole match) is the patient.

    Raises
    ------
    OptionError: it is no regular expression. DataError: it does not match every name.
    """
    if option.lower() == "none":
        return alone(names, "--patient none: each image counts as one patient")
    try:
        pattern = re.compile(option)
    except re.error as error:
        raise OptionError("--patient is neither a column nor a regular expression", expected="e.g. '(\\d+)_', a column, or none",
                          got=f"'{option}' ({error})") from error
    found = [pattern.search(name) for name in names]
    missed = [name for name, match in zip(names, found, strict=True) if match is None]
    if missed:
        raise DataError("--patient does not match every image", expected=f"'{option}' in each path",
                        got=f"{len(missed)} of {len(names)} without, e.g. {missed[0]}",
                        do="correct the expression, or give --patient none")
    ids = tuple((match[1] if pattern.groups else match[0]) or "" for match in found if match)
    return _told(ids, f"--patient '{option}'")


def by_facts(names: Sequence[str], stated: Mapping[str, str | None], what: str) -> Patients | None:
    """The patient that the files or the table state; None when fewer than all do (an image without one is its own patient if most have one)."""
    held = [stated.get(name) for name in names]
    known = sum(value is not None and value != "" for value in held)
    if known == 0 or known < 0.5 * len(names):
        return None
    ids = tuple(value if value else name for value, name in zip(held, names, strict=True))
    return _told(ids, what if known == len(names) else f"{what} (absent for {len(names) - known} images, which count as one patient each)")


def by_names(names: Sequence[str], classes: Sequence[str] = ()) -> Patients:
    """The patient by a pattern of file names; a pattern counts only if it repeats or matches every name.

    Parameters
    ----------
    names: relative posix paths. classes: the class folder of each, if there is one; where numbering starts again in each class,
        equal numbers are not the same patient.
    """
    stems = [_stem(name) for name in names]
    for read, what in ((_by_keyword, "a word such as 'patient' with a number"), (_by_first, "the part before the first '_' or '-' repeats"),
                       (_by_rest, "the part before the last '_' or '-' repeats")):
        ids = read(stems)
        held, restart = ([], "") if ids is None else _apart(ids, classes)
        if ids is not None and (read is _by_keyword or not restart or len(set(held)) < len(held)):
            filled = tuple(value if value is not None else name for value, name in zip(held, names, strict=True))
            few = "" if None not in ids else f" (in {sum(i is not None for i in ids)} of {len(ids)} names; the others count as one patient each)"
            return _told(filled, f"file names: {what}{few}{restart}")
    return alone(names, "nothing names the patient: each image counts as one")


def by_folders(folders: Sequence[str], classes: Sequence[str]) -> Patients | None:
    """Sub-folders below a class, when nearly all of their names hold a number and there are more than two."""
    distinct = {folder for folder in folders if folder}
    if len(distinct) < 3 or not all(folders) or sum(any(c.isdigit() for c in folder) for folder in distinct) < 0.8 * len(distinct):
        return None
    held, restart = _apart(list(folders), classes)
    return _told(tuple(str(value) for value in held), f"sub-folders below the class{restart}")


def _told(ids: tuple[str, ...], evidence: str) -> Patients:
    return Patients(ids, True, f"{evidence} ({len(set(ids)):,} patients, {len(ids):,} images)")


def _stem(name: str) -> str:
    base = name.rsplit("/", 1)[-1].split("#", 1)[0]
    return base[:-7] if base.lower().endswith(".nii.gz") else base.rsplit(".", 1)[0]


def _by_keyword(stems: Sequence[str]) -> list[str | None] | None:
    ids = [next((value for value in match.groups() if value), None) if (match := KEYWORD.search(stem)) else None for stem in stems]
    matched = [value for value in ids if value is not None]
    if len(matched) < max(2, KEYWORD_SHARE * len(stems)) or len(set(matched)) < 2:
        return None
    return ids if len(matched) == len(stems) or _repeats(matched) else None


def _by_first(stems: Sequence[str]) -> list[str | None] | None:
    return _structural(stems, FIRST_TOKEN)


def _by_rest(stems: Sequence[str]) -> list[str | None] | None:
    return _structural(stems, ALL_BUT_LAST)


def _structural(stems: Sequence[str], pattern: re.Pattern[str]) -> list[str | None] | None:
    matches = [pattern.match(stem) for stem in stems]
    ids = [match[1] for match in matches if match]
    return list(ids) if len(ids) == len(stems) and _repeats(ids) else None


def _repeats(ids: Sequence[str]) -> bool:
    """Whether names group as patients do: some repeat, none holds most of the images."""
    counts = Counter(ids)
    largest = max(counts.values(), default=0)
    return len(counts) >= 2 and largest > 1 and largest <= max(LARGEST_GROUP[0], LARGEST_GROUP[1] * len(ids)) and len(counts) >= 0.02 * len(ids)


def _apart(ids: Sequence[str | None], classes: Sequence[str]) -> tuple[list[str | None], str]:
    """Put the class before the number when every class counts from its own start (most numbers of the smaller class are in the larger one)."""
    if len(set(classes)) < 2:
        return list(ids), ""
    held: dict[str, set[str]] = defaultdict(set)
    for value, each in zip(ids, classes, strict=True):
        if value is not None:
            held[each].add(value)
    groups = sorted(held.values(), key=len)
    counted = len(groups) > 1 and len(groups[0]) > 2 and all(value.isdigit() for group in groups for value in group)
    if not counted or not all(len(groups[0] & group) >= RESTART_SHARE * len(groups[0]) for group in groups[1:]):
        return list(ids), ""
    return [None if value is None else f"{each}/{value}" for value, each in zip(ids, classes, strict=True)], "; the numbers start again in each class"
