"""What doctors corrected, as a data set that `fit` reads with nothing else: ``SITE/truth/<model>/``.

    labels      labels.csv (image, patient, label; of several labels a column of 0/1 each) and images/
    masks       dataset.json, imagesTr/, labelsTr/ and cases.csv (image, patient)
    boxes       boxes.csv (image, patient, class, xmin, ymin(, zmin), xmax, ymax(, zmax)) and images/

Nothing in it names a patient: images are NIfTI files without a header of their own, and patients and series are called by a keyed hash (HMAC-SHA-256) whose key
lies in ``SITE/truth.key``, outside of the data set. A series is there once: a later correction takes the place of an earlier one.
"""

from __future__ import annotations

import csv
import fcntl
import hmac
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.core.geometry import Grid
from vesalius.core.target import SEPARATOR
from vesalius.errors import DataError
from vesalius.stages.serve.objects.volume import write_volume
from vesalius.storage import atomic_file, atomic_json, atomic_write, telling

KEY, LOCK = "truth.key", "truth.lock"
KEY_BYTES, NAME_LENGTH = 32, 12
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
AXES = "zyx"
Row = dict[str, str]


class Truth:
    """The corrections of one site; several threads and processes may add to it."""

    def __init__(self, site: Path) -> None:
        self.site, self.folder = Path(site), Path(site) / "truth"

    def add(self, document: Mapping[str, Any], image: Path, right: Mapping[str, Any]) -> Path:
        """Enter what is right for the study of a finding, in place of what was right before.

        Parameters
        ----------
        document: of the finding. image: its ``image.nii.gz``. right: ``{"label"}``, ``{"boxes"}`` or ``{"labels", "grid"}`` (a label map and where it lies).

        Returns the data set.

        Raises
        ------
        DataError: the name of the model cannot be one of a folder, or what is there is of other classes. RunError: it cannot be written.
        """
        folder, name, patient = self._of(document), self._case(document), self._patient(document)
        enter = {"mask": _enter_mask, "boxes": _enter_boxes}.get(document["model"]["kind"], _enter_label)
        with self._alone():
            enter(folder, name, patient, document, image, right)
        return folder

    def remove(self, document: Mapping[str, Any]) -> None:
        """Take back what was entered for the study of a finding, if anything was."""
        folder, name = self._of(document), self._case(document)
        with self._alone():
            for table in ("labels.csv", "boxes.csv", "cases.csv"):
                if (folder / table).is_file():
                    _rewrite(folder / table, name, [])
            for part in ("labelsTr", "imagesTr", "images"):
                (folder / part / f"{name}.nii.gz").unlink(missing_ok=True)

    def _of(self, document: Mapping[str, Any]) -> Path:
        model = str(document["model"]["name"])
        if not SAFE.fullmatch(model):
            raise DataError("the name of the model cannot be one of a folder", expected="letters, digits, dot, dash, underscore", got=f"'{model[:80]}'")
        return self.folder / model

    def _case(self, document: Mapping[str, Any]) -> str:
        """Stays the same however often a series is read; a picture of a series of several has its own."""
        own = list(document.get("instances") or ())[:1] if len(document["grid"]["shape"]) == 2 else []
        series = "/".join([document["series_uid"] or document["id"], *own])
        return f"{self._patient(document)}_{self._name('case', series)}"

    def _patient(self, document: Mapping[str, Any]) -> str:
        stated = document["patient"]["id"] or document["study_uid"] or document["id"]
        return f"P{self._name('patient', stated)}"

    def _name(self, kind: str, text: str) -> str:
        return hmac.new(self._key(), f"{kind}/{text}".encode(), "sha256").hexdigest()[:NAME_LENGTH]

    def _key(self) -> bytes:
        """Made at the first correction, readable by the service alone."""
        path = self.site / KEY
        if not path.is_file():
            with self._alone():
                if not path.is_file():
                    atomic_file(path, _make_key)
        return path.read_bytes()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.site.mkdir(parents=True, exist_ok=True)
        with telling(self.site / LOCK), open(self.site / LOCK, "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _make_key(part: Path) -> None:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))


def _enter_label(folder: Path, name: str, patient: str, document: Mapping[str, Any], image: Path, right: Mapping[str, Any]) -> None:
    where = _keep(image, folder / "images" / f"{name}.nii.gz")
    model = document["model"]
    held = {"label": str(right["label"])}
    if model["kind"] == "multilabel":
        present = str(right["label"]).split(SEPARATOR)
        held = {each: str(int(each in present)) for each in model["classes"]}
    _rewrite(folder / "labels.csv", name, [{"image": where, "patient": patient} | held])


def _enter_boxes(folder: Path, name: str, patient: str, document: Mapping[str, Any], image: Path, right: Mapping[str, Any]) -> None:
    """A study without a box has one row whose cells for it are empty: it was looked at, and there is nothing."""
    where = _keep(image, folder / "images" / f"{name}.nii.gz")
    ndim = len(document["grid"]["shape"])
    first = {"image": where, "patient": patient}
    rows = [first | {"class": each["label"]} | _corners(each["box"], ndim) for each in right["boxes"]]
    _rewrite(folder / "boxes.csv", name, rows or [first | {"class": ""} | dict.fromkeys(_corners([0] * 2 * ndim, ndim), "")])


def _corners(box: Sequence[float], ndim: int) -> Row:
    """``xmin ymin (zmin) xmax ymax (zmax)`` in samples with continuous edges."""
    axes = AXES[-ndim:]
    low = {f"{axis}min": f"{float(v):.6g}" for axis, v in zip(axes, box[:ndim], strict=True)}
    high = {f"{axis}max": f"{float(v):.6g}" for axis, v in zip(axes, box[ndim:], strict=True)}
    return dict(sorted(low.items())) | dict(sorted(high.items()))


def _enter_mask(folder: Path, name: str, patient: str, document: Mapping[str, Any], image: Path, right: Mapping[str, Any]) -> None:
    """The label comes last: an image without one is left out by the reader, so that a stop in between does no harm."""
    classes = list(document["model"]["classes"])
    _describe(folder / "dataset.json", classes)
    where = _keep(image, folder / "imagesTr" / f"{name}.nii.gz")
    _rewrite(folder / "cases.csv", name, [{"image": where, "patient": patient}])
    labels: np.ndarray = right["labels"]
    grid: Grid = right["grid"]
    write_volume(folder / "labelsTr" / f"{name}.nii.gz", labels.astype(np.uint8 if len(classes) < 256 else np.uint16), grid)


def _describe(path: Path, classes: Sequence[str]) -> None:
    """The form of nnU-Net (Isensee et al. 2021).

    Raises
    ------
    DataError: masks of other classes lie there.
    """
    labels = {"background": 0} | {name: number for number, name in enumerate(classes, 1)}
    if path.is_file():
        held = json.loads(path.read_text("utf-8"))["labels"]
        if held != labels:
            raise DataError("the corrections of this model are of other classes", where=path, expected=", ".join(held), got=", ".join(labels),
                            do="move the folder away, or call the new model by another name")
        return
    atomic_json(path, {"channel_names": {"0": "image"}, "labels": labels, "file_ending": ".nii.gz"})


def _keep(image: Path, to: Path) -> str:
    """Copy the image; its name as a table says it."""
    atomic_file(to, lambda part: shutil.copyfile(image, part), needed=image.stat().st_size)
    return f"{to.parent.name}/{to.name}"


def _rewrite(path: Path, name: str, rows: Iterable[Row]) -> None:
    """The table with these rows in place of those of the case; columns that only older or only newer rows have stay."""
    kept = [row for row in _rows(path) if Path(row["image"]).name != f"{name}.nii.gz"] + list(rows)
    columns = list(dict.fromkeys(column for row in kept for column in row)) or ["image", "patient"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(kept, key=lambda row: row["image"]))
    atomic_write(path, text.getvalue().encode())


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
