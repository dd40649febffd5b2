"""Boxes as Pascal VOC states them: an XML file an image (Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from vesalius.core.cohort import Cohort, MarkedBox
from vesalius.errors import DataError, FormatError
from vesalius.formats.base import head_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._boxed import RULED_OUT, ByStem, Gathered, boxes_cohort, truth_value, whole
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.matching import stem

SNIFFED = 5
ROOT = "annotation"
EDGES = ("xmin", "ymin", "xmax", "ymax")
KNOWN = frozenset({"name", "bndbox", "difficult", "pose", "truncated", "occluded", "part", "id"})
SETS = "imagesets/main/"


@LAYOUTS.register("voc")
class Voc(Layout):
    """``Annotations/x.xml`` or ``x.xml`` beside ``x.jpg``, with ``ImageSets/Main/{train,val,trainval,test}.txt`` where there is a split."""

    name = "voc"
    boxes = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        names = xml_files(given)
        return f"{len(names)} XML files of the Pascal VOC kind, e.g. {names[0]}" if names and given.tree.images else None

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        return (*RULED_OUT, *(("paired-masks", "dataset-json") if given.options.target == "boxes" else ()))

    @classmethod
    def read(cls, given: Given) -> Cohort:
        names = xml_files(given)
        if not names:
            raise DataError("there is no XML file of the Pascal VOC kind", where=given.data, expected="<annotation> with <object>, a file an image",
                            do="give the folder that holds Annotations and JPEGImages")
        return boxes_cohort(given, cls.name, _gathered(given, names), "boxes of Pascal VOC")


def xml_files(given: Given) -> list[str]:
    """XML files of this kind; empty when the first ones are something else."""
    names = [name for name in given.tree.files if name.lower().endswith(".xml")] if given.is_folder else []
    return names if any(_is_annotation(given.tree.path(name)) for name in names[:SNIFFED]) else []


def _is_annotation(path: str) -> bool:
    return b"<annotation" in head_of(Path(path))


def _gathered(given: Given, names: list[str]) -> Gathered:
    images, gathered = ByStem(given), Gathered()
    marked: dict[str, str] = {}
    for name in names:
        root = _parsed(given.tree.path(name))
        if root.tag != ROOT:
            continue
        image = images.find(name) or next(iter(given.index.find(root.findtext("filename"))), None)
        if image is None:
            gathered.lost.append(name)
            continue
        if image in marked:
            raise DataError("two files mark the same image", where=given.data, expected="one XML file an image", got=f"{marked[image]} and {name} for {image}",
                            do="remove one of them")
        marked[image] = name
        gathered.boxes[image] = [_box(each, given.tree.path(name)) for each in root.findall("object")]
        shape = _shape(root)
        if shape:
            gathered.stated[image] = shape
    gathered.splits.update(_splits(given, marked))
    return gathered


def _parsed(path: str) -> ElementTree.Element:
    """The root of a file; a document with entities of its own is refused before they are expanded."""
    data = Path(path).read_bytes()
    if b"<!ENTITY" in data:
        raise FormatError("the XML file defines entities", where=path, expected="plain <annotation>", got="<!ENTITY", do="save it again without them")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise FormatError("the XML file cannot be read", where=path, expected="<annotation> with <object>", got=str(error),
                          do="repair it, or leave it out") from error


def _shape(root: ElementTree.Element) -> tuple[int, int] | None:
    """Height and width that the file states; None where they are absent or 0, as some programs write."""
    height, width = (whole(root.findtext(f"size/{name}")) for name in ("height", "width"))
    return (height, width) if height and width else None


def _box(thing: ElementTree.Element, path: str) -> MarkedBox:
    """Corners are numbers of samples from 1, both inside of the box: edges are (xmin - 1, ymin - 1, xmax, ymax).

    A box whose corners are one sample, or in the wrong order, was not drawn by anybody: it keeps no extent, so that it is set aside.
    """
    name = (thing.findtext("name") or "").strip()
    texts = [thing.findtext(f"bndbox/{edge}") for edge in EDGES]
    try:
        x0, y0, x1, y1 = (float(text or "") for text in texts)
    except ValueError as error:
        raise FormatError("a box of the XML file has no corners", where=path, expected="<bndbox> with xmin, ymin, xmax and ymax",
                          got=f"{name or 'an object'}: {', '.join(text or 'nothing' for text in texts)}", do="correct it") from error
    low = (y0 - (y1 > y0), x0 - (x1 > x0))
    facts = {each.tag: truth_value(each.text) for each in thing if each.tag not in KNOWN and each.text and not len(each)}
    return MarkedBox(name, low, (y1, x1), ignored=truth_value(thing.findtext("difficult")) == 1, facts=facts)


def _splits(given: Given, marked: dict[str, str]) -> dict[str, str]:
    """``ImageSets/Main``: a stem a line. ``trainval`` is for images that neither ``train`` nor ``val`` names; lists of one class are passed over."""
    of_stem: dict[str, list[str]] = defaultdict(list)
    for image in marked:
        of_stem[stem(image.rsplit("/", 1)[-1])].append(image)
    lists = [name for name in given.tree.files if SETS in "/" + name.lower() and name.lower().endswith(".txt")]
    known: dict[str, str] = {}
    for name in sorted(lists, key=lambda each: split_of(stem(each.rsplit("/", 1)[-1])) is None):
        base = stem(name.rsplit("/", 1)[-1])
        split = split_of(base) or ("train" if base.lower() == "trainval" else None)
        for line in Path(given.tree.path(name)).read_text("utf-8-sig", errors="replace").splitlines() if split else ():
            for image in of_stem.get(stem(line.split()[0].rsplit("/", 1)[-1]) if line.strip() else "", []):
                known.setdefault(image, str(split))
    return known
