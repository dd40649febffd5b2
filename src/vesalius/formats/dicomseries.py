"""Which DICOM files belong together: the slices of one SeriesInstanceUID in one folder are one volume.

Files without a position (radiographs, ultrasound) and multi-frame files are images of their own. The same series in two
folders is two images: `check` finds that they are duplicates.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from vesalius.core.cohort import Source
from vesalius.formats.dicom import facts_of
from vesalius.formats.walk import Tree


@dataclass(frozen=True, slots=True)
class Instance:
    """One slice of a series: the relative path of its file, its SOPInstanceUID and Instance Number (0020,0013; None where it states none)."""

    name: str
    uid: str
    number: int | None = None


@dataclass(frozen=True)
class Group:
    """One image: its id (relative path of the file, or of the series' folder), where it is stored, and attributes of its first file.

    ``instances``: of a series its slices, in the order of ``source.files``; empty for an image of its own.
    """

    id: str
    source: Source
    facts: dict[str, Any]
    instances: tuple[Instance, ...] = ()


def group_series(tree: Tree, names: list[str]) -> tuple[list[Group], int]:
    """Group files by series; second, how many DICOM files hold no image (structured reports, DICOMDIR ...).

    A file that does not parse stays a group of its own, so that `check` can name it.
    """
    series: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    no_images = 0
    for name in names:
        facts = _facts(tree.path(name))
        if facts is not None and not (facts.get("Rows") and facts.get("Columns")):
            no_images += 1
            continue
        facts = facts or {}
        whose = _whose(facts)
        series[os.path.dirname(name) if whose else name, whose].append((name, facts))
    groups = [_group(tree, folder, uid, members) for (folder, uid), members in series.items()]
    return _unique(groups), no_images


def _facts(path: str) -> dict[str, Any] | None:
    """None when the file does not parse: it is then left to `open_study` to say why."""
    try:
        return facts_of(path)
    except Exception:  # noqa: BLE001 - the parser raises anything on broken files; the file stays in the list and `open_study` tells its error
        return None


def _whose(facts: dict[str, Any]) -> str:
    """What the slices of one series share; where de-identification took the UID away, their orientation and size; nothing for an image of its own."""
    if not _is_slice(facts):
        return ""
    uid = facts.get("SeriesInstanceUID")
    return str(uid) if uid else f"{[round(float(v), 3) for v in facts['ImageOrientationPatient']]} {facts['Rows']}x{facts['Columns']}"


def _is_slice(facts: dict[str, Any]) -> bool:
    single = int(facts.get("NumberOfFrames") or 1) == 1
    return bool(single and facts.get("ImageOrientationPatient") and facts.get("ImagePositionPatient"))


def _group(tree: Tree, folder: str, uid: str, members: list[tuple[str, dict[str, Any]]]) -> Group:
    if len(members) == 1:
        name, facts = members[0]
        return Group(name, Source("dicom", tree.path(name)), facts)
    files = tuple(tree.path(name) for name, _ in members)
    instances = tuple(Instance(name, str(facts.get("SOPInstanceUID") or ""), _number(facts)) for name, facts in members)
    return Group(folder or ".", Source("dicom", tree.path(folder) if folder else tree.root, uid, files), members[0][1], instances)


def _number(facts: dict[str, Any]) -> int | None:
    stated = str(facts.get("InstanceNumber") or "").strip()
    return int(stated) if stated.lstrip("-").isdigit() else None


def _unique(groups: list[Group]) -> list[Group]:
    """A folder with one series is its id; the series of a folder with several are told apart by their UID."""
    counts: dict[str, int] = defaultdict(int)
    for group in groups:
        counts[group.id] += 1
    done = []
    for group in groups:
        source = group.source
        if not source.files:
            done.append(group)
        elif counts[group.id] > 1 or group.id == ".":
            done.append(replace(group, id=f"{group.id}#{source.member}"))
        else:
            done.append(replace(group, source=replace(source, member=None)))
    return done
