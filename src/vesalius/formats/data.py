"""Recognise DATA: which layout it is, and read it."""

from __future__ import annotations

from pathlib import Path

from vesalius.core.cohort import Cohort
from vesalius.core.target import KINDS
from vesalius.errors import DataError, LabelError, OptionError
from vesalius.formats.given import Given, Layout, Options
from vesalius.formats.layouts import LAYOUTS
from vesalius.registry import unknown

SCHEME = ":"


def recognise(
    data: str | Path, *, table: str | Path | None = None, label: str | None = None, patient: str | None = None, image: str | None = None,
    target: str | None = None, layout: str | None = None, cache: str | Path | None = None, gaps: str | None = None,
) -> Cohort:
    """Read DATA as the cohort that it is.

    Parameters
    ----------
    data: a folder, a file, or ``medmnist:NAME[@SIZE]``.
    table: a CSV, TSV, Parquet or XLSX file with the labels. label: its column, or several joined by commas; of masks the names of
        their numbers (``"anterior=1,posterior=2"``) or the structures to take; of boxes the classes to take.
    patient: a column, a regular expression on the relative path, or ``none``. image: the column that names the image.
    target: binary, multiclass, multilabel, ordinal, regression, mask or boxes; layout: a name of `LAYOUTS`; cache: where downloads are kept.
    gaps: ``"fill"`` interpolates slices that are missing within a DICOM series; ``"refuse"`` (as None) does not.

    Raises
    ------
    DataError: there is no image, nothing of that name, or two readings fit. LabelError: no labels, or a column is misspelt.
    OptionError: no target, layout or way with gaps of that name.
    """
    if target is not None and target not in KINDS:
        raise unknown("target", target, list(KINDS))
    if gaps not in (None, "refuse", "fill"):
        raise unknown("way with missing slices", str(gaps), ["refuse", "fill"])
    options = Options(_text(table), label, patient, image, target, layout, _text(cache), gaps)
    given = Given(str(data), options)
    if layout is not None:
        return _asked(layout, given).read(_present(given))
    return LAYOUTS.get(_chosen(_present(given))).read(given)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _present(given: Given) -> Given:
    if given.data.startswith("medmnist" + SCHEME):
        return given
    if not given.path.exists():
        raise DataError("there is nothing of that name", where=given.data, expected="a folder, a file or medmnist:NAME", do="check the path")
    if given.options.table and not Path(given.options.table).is_file() and not (given.path / given.options.table).is_file():
        raise LabelError("there is no such table", where=given.options.table, expected="a CSV, TSV, Parquet or XLSX file", do="check the path of --table")
    return given


def _asked(name: str, given: Given) -> type[Layout]:
    layout = LAYOUTS.get(name)
    if not _fits(layout, given):
        held = "masks" if layout.marks else "boxes" if layout.boxes else "labels"
        raise OptionError(f"--layout {name} reads {held}", expected=f"a target of that kind, and --label for {held}",
                          got=f"--target {given.options.target}" if given.options.target else f"--label {given.options.label}", do="leave one of them out")
    return layout


def _fits(layout: type[Layout], given: Given) -> bool:
    """Whether the layout gives what ``--target`` asks for; names with numbers (``--label a=1``) are of masks."""
    target, label = given.options.target, given.options.label
    if target is None:
        return layout.marks or label is None or "=" not in label
    return layout.boxes or layout.marks if target == "boxes" else layout.marks == (target == "mask") and not layout.boxes


def _chosen(given: Given) -> str:
    evidence: dict[str, str] = {}
    wrong: set[str] = set()
    for name in sorted(LAYOUTS, key=lambda name: not LAYOUTS.get(name).boxes):  # files of boxes are unmistakable: what they rule out is not even asked
        layout = LAYOUTS.get(name)
        said = layout.matches(given) if name not in wrong and _fits(layout, given) else None
        if said:
            evidence[name] = said
            wrong |= set(layout.rules_out(given)) if layout.boxes else set()
    wrong |= {other for name in evidence for other in LAYOUTS.get(name).rules_out(given)} if len(evidence) > 1 else set()
    evidence = {name: said for name, said in evidence.items() if name not in wrong}
    if len(evidence) > 1:
        told = "; ".join(f"{name}: {said}" for name, said in evidence.items())
        raise DataError("two readings of the data fit", where=given.data, expected="one", got=told, do=f"choose with --layout {' or --layout '.join(evidence)}")
    if not evidence:
        raise _nothing(given)
    return next(iter(evidence))


def _nothing(given: Given) -> DataError:
    """Why no layout fits: no images at all, or images without labels."""
    if given.path.is_file():
        return DataError("one file is not a data set", where=given.data, expected="a folder, an npz with train_images, or medmnist:NAME", got=given.path.name,
                         do="give the folder that holds the images (and --table FILE if the labels are in a table)")
    if not given.tree.images:
        kinds = sorted({Path(name).suffix or "no suffix" for name in given.tree.files})
        got = f"{len(given.tree.files)} files ({', '.join(kinds[:6])})" if kinds else "an empty folder"
        return DataError("the folder has no images", where=given.data, expected="PNG, JPEG, TIFF, NIfTI, DICOM, NRRD or NumPy files", got=got,
                         do="give the folder that holds the images")
    if given.options.target == "mask":
        return LabelError("the images have no masks", where=given.data, expected="folders such as images and masks, names such as x.png and x_mask.png, "
                          "a dataset.json, a table with a column of masks, or DICOM SEG or RTSTRUCT", got=f"{len(given.tree.images)} images",
                          do="put the masks beside them, named as they are")
    if given.options.target == "boxes":
        return LabelError("the images have no boxes", where=given.data, expected="boxes (COCO JSON, Pascal VOC XML, YOLO text, a table with xmin, ymin, xmax "
                          "and ymax) or masks", got=f"{len(given.tree.images)} images", do="put them beside the images, or name the table with --table")
    return LabelError("the images have no labels", where=given.data, expected="a folder a class, a table with a label column, masks or boxes",
                      got=f"{len(given.tree.images)} images" + (f" and the tables {', '.join(given.tree.tables)}" if given.tree.tables else ""),
                      do="sort them into class folders, or give --table FILE")
