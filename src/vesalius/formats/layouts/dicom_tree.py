"""DICOM files in any folders, with a table beside them: its rows are joined by PatientID, Study-, Series- or SOPInstanceUID, or path."""

from __future__ import annotations

from collections import Counter

from vesalius.core.cohort import Cohort
from vesalius.errors import LabelError
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts.class_folders import ClassFolders
from vesalius.formats.layouts.table import read_table


@LAYOUTS.register("dicom-tree")
class DicomTree(Layout):
    """``PATIENT/STUDY/SERIES/…`` or any other order of folders; more than half of the files are DICOM."""

    name = "dicom-tree"

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or given.options.table or not given.tree.tables or not _mostly_dicom(given):
            return None
        if given.options.label is None and ClassFolders.matches(given):
            return None
        return f"DICOM files and the table {', '.join(given.tree.tables[:3])}"

    @classmethod
    def read(cls, given: Given) -> Cohort:
        if not given.tree.tables and not given.options.table:
            raise LabelError("the DICOM files have no labels", where=given.data, expected="a table beside them, with PatientID or a UID and a label",
                             got=f"{len(given.tree.images)} files", do="give --table FILE, or sort them into class folders")
        return read_table(given, cls.name)


def _mostly_dicom(given: Given) -> bool:
    kinds = Counter(kind if kind != "?" else _sniffed(given) for kind in given.tree.formats if kind)
    return kinds["dicom"] > 0.5 * sum(kinds.values())


def _sniffed(given: Given) -> str:
    """Files without a suffix are DICOM when the images that were found are."""
    return "dicom" if any(source.format.startswith("dicom") for _, source in given.found.items) else ""
