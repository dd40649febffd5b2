"""What follows from a doctor's decision: which objects leave, signed by whom, and what the next `fit` may learn from it."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pydicom
from pydicom import Dataset

from vesalius.core.cohort import Source
from vesalius.errors import DataError, OptionError
from vesalius.formats.dicom import facts_of
from vesalius.registry import unknown
from vesalius.stages.serve.correction import Corrected, corrected
from vesalius.stages.serve.objects import Ids, Imaged, Signed, write_objects
from vesalius.stages.serve.truth import Truth
from vesalius.storage import telling

ACTIONS = ("accept", "correct", "reject")
UNSTATED = "not stated"
DECISION = "decision-"
KEY_LENGTH = 12
REPORT = "sr.dcm"
OUTLINES = ("rtstruct",)
"""Written of a corrected mask where the model's finding had one; a segmentation is always written."""


class Keeps(Protocol):
    """What is asked of the store."""

    folder: Path

    def folder_of(self, finding_id: str) -> Path: ...

    def files_of(self, series_uid: str) -> list[Path]: ...


def decided(
    store: Keeps, finding: Mapping[str, Any], user: str, action: str, comment: str = "", correction: Mapping[str, Any] | None = None, *,
    organization: str = UNSTATED,
) -> list[Path]:
    """Make what a decision asks for; the files to send.

    ``accept``: a verified report that names the model's as its predecessor, and the model's other objects as they are. ``correct``: a verified report, and for
    masks a segmentation (and outlines, where the finding had them), of what the doctor says; and an entry in the site's `Truth`.
    ``reject``: nothing. The model's own unverified report never leaves after a decision. An image that is no DICOM has no objects.

    Called again with the same decision (after a stop) it gives the same files; nothing is made twice.

    Parameters
    ----------
    finding: a document of the store. user: name of the doctor. correction: see `correction.corrected`. organization: that the doctor signs for.

    Raises
    ------
    OptionError: an unknown action, a refused study that is accepted, one without an image that is corrected, or a correction without what is right.
    LabelError, DataError: the correction is of other classes or on another grid. RunError: something could not be written.
    """
    if action not in ACTIONS:
        raise unknown("action", action, list(ACTIONS))
    folder, truth = store.folder_of(str(finding["id"])), Truth(store.folder)
    if action == "reject":
        truth.remove(finding)
        return []
    if action == "accept":
        if not finding["files"]["objects"] and finding["refused"] and not finding["forced"]:
            raise OptionError("there is nothing to accept", expected="a finding", got="a study that the model refused", do="correct it, or reject it")
        truth.remove(finding)
    if action == "correct" and not finding["files"].get("image"):
        raise OptionError("there is nothing to correct", expected="a study that was read", got="one that could not be read", do="reject it")
    right = corrected(finding, correction or {}, folder) if action == "correct" else None
    made = _objects(store, finding, folder, right, Signed(user, organization or UNSTATED, comment), _key(user, action, comment, correction, folder))
    if right is not None:
        truth.add(finding, folder / finding["files"]["image"], right.truth)
        return made
    return [*(folder / name for name in finding["files"]["objects"] if name != REPORT), *made]


def _key(user: str, action: str, comment: str, correction: Mapping[str, Any] | None, folder: Path) -> str:
    """Changes with anything that the decision says, a mask's samples too."""
    mask = folder / Path(str(correction["mask"])).name if correction and correction.get("mask") else None
    drawn = hashlib.sha256(mask.read_bytes()).hexdigest() if mask is not None and mask.is_file() else ""
    said = json.dumps([user, action, comment, {name: value for name, value in (correction or {}).items() if name != "mask"}, drawn], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:KEY_LENGTH]


def _objects(store: Keeps, finding: Mapping[str, Any], folder: Path, right: Corrected | None, signed: Signed, key: str) -> list[Path]:
    """Write the objects of a decision into a folder of its own, as a whole or not at all."""
    source = _source(store, finding)
    if source is None:
        return []
    done = folder / f"{DECISION}{key}"
    if not done.is_dir():
        _write(finding, folder, right, Signed(signed.name, signed.organization, signed.words, _predecessor(folder)), source, done)
    return sorted(done.iterdir())


def _write(finding: Mapping[str, Any], folder: Path, right: Corrected | None, signed: Signed, source: Source, done: Path) -> None:
    part = folder / f".{done.name}.{uuid.uuid4().hex[:8]}.part"
    ids = Ids(str(finding["id"])).within(done.name)
    with telling(part):
        part.mkdir(parents=True)
    try:
        if right is None:
            write_objects(Imaged(finding, source, ids), part, ("sr",), signed=signed, seg=folder / "seg.dcm")
        else:
            imaged = Imaged(right.document, source, ids, by_person=True)
            also = tuple(kind for kind in OUTLINES if f"{kind}.dcm" in finding["files"]["objects"])
            write_objects(imaged, part, ("seg", *also, "sr"), finding=right.finding, study=right.study, signed=signed, algorithm="SEMIAUTOMATIC")
        _into_place(part, done)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _into_place(part: Path, done: Path) -> None:
    """One step; where somebody made the same decision at the same time, his objects are these."""
    with telling(done):
        try:
            part.replace(done)
        except OSError:
            if not done.is_dir():
                raise


def _source(store: Keeps, finding: Mapping[str, Any]) -> Source | None:
    """The images that were read; instances that have come since are not among them. None for an image that is no DICOM.

    Raises
    ------
    DataError: some are no longer there.
    """
    wanted = {uid: place for place, uid in enumerate(finding.get("instances") or ())}
    if not wanted:
        return None
    held = {str(facts_of(str(path)).get("SOPInstanceUID")): str(path) for path in store.files_of(str(finding["series_uid"]))}
    lost = [uid for uid in wanted if uid not in held]
    if lost:
        raise DataError("images of the finding are no longer there", expected=f"{len(wanted)} images", got=f"{len(lost)} missing", do="send the series again")
    files = tuple(held[uid] for uid in wanted)
    return Source("dicom", files[0]) if len(files) == 1 else Source("dicom", str(Path(files[0]).parent), None, files)


def _predecessor(folder: Path) -> Dataset | None:
    """The report that a new one replaces: that of the last decision, else the model's own."""
    reports = sorted(folder.glob(f"{DECISION}*/{REPORT}"), key=lambda path: path.stat().st_mtime_ns) or [folder / REPORT]
    return pydicom.dcmread(reports[-1], stop_before_pixels=True) if reports[-1].is_file() else None
