"""``corrections.csv``: labels that a reader has looked at again, taken by the next ``fit``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from vesalius.core.cohort import Cohort
from vesalius.core.target import MARKED, missing, text_of
from vesalius.errors import DataError, LabelError
from vesalius.registry import nearest

COLUMNS = ("id", "label", "who", "when")


@dataclass(frozen=True)
class Corrections:
    """What a file of corrections says: the label of each id, who gave it and when; ``hash`` is the first 16 hex digits of the file's sha256."""

    path: str
    hash: str
    labels: dict[str, str]
    who: dict[str, str]
    when: dict[str, str]


def read_corrections(path: str | Path) -> Corrections:
    """Read ``corrections.csv`` with the columns id, label, who and when.

    Raises
    ------
    DataError: it cannot be read or a column is absent. LabelError: an id is named twice with two labels.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError("the corrections cannot be read", where=path, expected="a CSV file", got=error,
                        do="give the file that the page of doubtful labels made") from error
    absent = [name for name in COLUMNS if name not in frame]
    if absent:
        raise DataError("the corrections lack a column", where=path, expected=", ".join(COLUMNS), got=f"no column {absent[0]}", do="add it")
    labels: dict[str, str] = {}
    for name, label in zip(frame["id"], frame["label"], strict=True):
        if labels.setdefault(name, label) != label:
            raise LabelError("an image is corrected twice", where=f"{path}, {name}", got=f"'{labels[name]}' and '{label}'", do="keep one line for each image")
    facts = (dict(zip(frame["id"], frame[column], strict=True)) for column in ("who", "when"))
    return Corrections(str(path), hashlib.sha256(content).hexdigest()[:16], labels, *facts)


def corrected(cohort: Cohort, corrections: Corrections) -> tuple[Cohort, list[dict[str, Any]]]:
    """The cohort with the labels of the file, and what was changed: ``[{"id", "was", "label", "who", "when"}]``.

    Lines that repeat the given label confirm it and change nothing.

    Raises
    ------
    DataError: an id is not in the data, or the target is marked in the images. LabelError: a label is not one of the classes, or not a number.
    """
    if cohort.target.kind in MARKED:
        raise DataError("masks and boxes are not corrected by a table", where=corrections.path, expected="a classification or regression target",
                        got=cohort.target.kind, do="correct the mask or box files themselves")
    there = {case.id for case in cohort.cases}
    strange = [name for name in corrections.labels if name not in there]
    if strange:
        near = nearest(strange[0], sorted(there), 1)
        raise DataError("the corrections name an image that is not in the data", where=corrections.path, expected=f"an id such as {(near or sorted(there))[0]}",
                        got=f"{strange[0]} ({len(strange)} in all)", do="give the file that belongs to this data")
    _known(cohort, corrections)
    changed = [
        {"id": case.id, "was": None if missing(case.label) else text_of(case.label), "label": corrections.labels[case.id],
         "who": corrections.who[case.id], "when": corrections.when[case.id]}
        for case in cohort.cases if case.id in corrections.labels and not _same(cohort, case.label, corrections.labels[case.id])
    ]
    new = {str(row["id"]): str(row["label"]) for row in changed}
    cases = tuple(replace(case, label=_value(cohort, new[case.id])) if case.id in new else case for case in cohort.cases)
    return replace(cohort, cases=cases), changed


def _known(cohort: Cohort, corrections: Corrections) -> None:
    for name, label in corrections.labels.items():
        try:
            cohort.target.encode([label])
        except LabelError as error:
            raise LabelError(error.what, where=f"{corrections.path}, {name}", expected=error.expected, got=label, do="correct the line") from error
        if missing(label) and cohort.target.kind != "multilabel":
            raise LabelError("a correction has no label", where=f"{corrections.path}, {name}", do="fill it in, or delete the line")


def _same(cohort: Cohort, given: Any, label: str) -> bool:
    if missing(given) != missing(label):
        return False
    rows = cohort.target.encode([given, label])
    return bool((rows[0] == rows[1]).all())


def _value(cohort: Cohort, label: str) -> Any:
    return float(label) if cohort.target.kind == "regression" else label


def note_of(changed: list[dict[str, Any]], splits: dict[str, str]) -> dict[str, str]:
    """What the report says of corrected labels, those of the test counted.

    ``splits``: the part of each id.
    """
    test = sum(splits.get(row["id"]) == "test" for row in changed)
    people = ", ".join(sorted({row["who"] for row in changed if row["who"]})) or "-"
    return {
        "code": "corrected-labels", "severity": "warning" if test else "info",
        "en": f"{len(changed)} labels were corrected before this run (by {people}), {test} of them in the test set"
              + ("; its figures cannot be compared with those before the correction." if test else "."),
        "zh": f"本次运行前更正了 {len(changed)} 个标签（{people}），其中测试集 {test} 个" + ("；测试指标不可与更正前直接比较。" if test else "。"),
    }


def with_corrections(cohort: Cohort, path: str | None) -> tuple[Cohort, dict[str, Any] | None]:
    """The cohort with the labels of a file, and the record for ``audit.json``; the cohort as it is where no file is given.

    Raises
    ------
    See `read_corrections` and `corrected`.
    """
    if path is None:
        return cohort, None
    read = read_corrections(path)
    made, changed = corrected(cohort, read)
    return made, {"path": read.path, "hash": read.hash, "n_lines": len(read.labels), "n_changed": len(changed), "changed": changed}


def recorded(record: dict[str, Any] | None, notes: list[dict[str, str]], frame: pd.DataFrame) -> dict[str, Any]:
    """What ``audit.json`` keeps of corrections, those of the test counted; the note for the report is added to ``notes``.

    ``frame``: the split cohort.
    """
    if record is None:
        return {}
    splits = dict(zip(frame["id"], frame["split"], strict=True))
    notes.append(note_of(record["changed"], splits))
    return {"corrections": record | {"n_test": sum(splits.get(row["id"]) == "test" for row in record["changed"])}}


def same_corrections(record: dict[str, Any] | None, audit: Path) -> None:
    """A run that goes on must have the corrections that it was started with.

    Raises
    ------
    DataError: the file has changed since.
    """
    before = json.loads(audit.read_text("utf-8")).get("corrections", {}).get("hash")
    now = None if record is None else record["hash"]
    if before != now:
        raise DataError("the corrections have changed since this run was started", where=None if record is None else record["path"], expected=before, got=now,
                        do="choose another --out for the new corrections")
