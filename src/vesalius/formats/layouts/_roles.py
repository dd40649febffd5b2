"""What names of files and folders say: image, mask, second observer or field of view, and what remains of a name without such words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vesalius.core.cohort import Source
from vesalius.formats.layouts.class_folders import split_of
from vesalius.formats.matching import stem

Role = Literal["image", "mask", "second", "view"]
FOLDERS: dict[str, Role] = {
    **dict.fromkeys(("image", "images", "img", "imgs", "input", "inputs", "scan", "scans", "volumes", "raw", "original", "originals", "photos", "jpegimages",
                     "imagestr", "imagests", "图像", "影像", "原图", "图片"), "image"),
    **dict.fromkeys(("mask", "masks", "label", "labels", "annotation", "annotations", "seg", "segs", "segmentation", "segmentations", "gt", "gts",
                     "ground_truth", "groundtruth", "ground_truths", "truth", "manual", "manual1", "manual_1", "1st_manual", "first_manual", "annot", "annots",
                     "segmentationclass", "labelstr", "labelsts", "标注", "标签", "掩膜", "金标准", "分割"), "mask"),
    **dict.fromkeys(("2nd_manual", "second_manual", "manual2", "manual_2", "observer2", "observer_2"), "second"),
    **dict.fromkeys(("fov", "fovs", "field_of_view", "fov_mask", "fov_masks", "视野"), "view"),
}
SPLIT_IN_NAME = {"imagestr": "train", "labelstr": "train", "imagests": "test", "labelsts": "test"}
PLAIN_MASK = ("mask", "masks")
"""Beside another folder of masks such as ``1st_manual`` a folder of this name holds the field of view, as in DRIVE and HRF."""
MASK_WORDS = frozenset({"mask", "masks", "seg", "segs", "segmentation", "segmentations", "label", "labels", "gt", "groundtruth", "ground", "truth", "manual",
                        "annotation", "annotations", "annot", "1stho", "标注", "标签", "掩膜", "金标准"})
SECOND_WORDS = frozenset({"2ndho", "manual2"})
VIEW_WORDS = frozenset({"fov"})
IMAGE_WORDS = frozenset({"image", "images", "img", "imgs", "scan", "volume", "vol", "input", "ct", "original", "orig", "raw", "photo", "training", "train",
                         "testing", "test", "图像", "影像", "原图"})


@dataclass(frozen=True)
class Item:
    """One file with what its path says; ``context`` are the folders that are no role: images and masks that belong together share it."""

    id: str
    source: Source
    role: Role
    context: tuple[str, ...]
    stem: str
    folder: str
    split: str | None = None
    structure: str | None = None


def items_of(found: Sequence[tuple[str, Source]]) -> list[Item]:
    """All images of a folder with their roles: that of the nearest folder that has one, else that of the file's name."""
    items = [_item(name, source) for name, source in found]
    truths: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in items:
        if item.role == "mask" and item.folder:
            truths[item.context].add(item.folder)
    items = [replace(item, role="view") if item.folder in PLAIN_MASK and truths[item.context] - set(PLAIN_MASK) else item for item in items]
    return _by_name(items)


def _item(name: str, source: Source) -> Item:
    path = name.split("#", 1)[0]
    *folders, base = path.split("/")
    known = [_folder(folder) for folder in folders]
    acting = next((folder for folder in reversed(known) if folder in FOLDERS), "")
    place = len(known) - 1 - known[::-1].index(acting) if acting else -1
    marked = [SPLIT_IN_NAME[acting]] if acting in SPLIT_IN_NAME else []
    context = (*(folder for i, folder in enumerate(folders) if i != place), *marked)
    split = next((split for folder in context if (split := split_of(folder))), None)
    return Item(name, source, FOLDERS.get(acting, "image"), context, stem(base), acting, split)


def _folder(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _by_name(items: list[Item]) -> list[Item]:
    """Files outside of folders of masks: ``x_mask`` beside ``x`` is its mask."""
    held: dict[tuple[tuple[str, ...], str], set[str]] = defaultdict(set)
    for item in items:
        if item.role == "image" and not _speaking(item.stem):
            held[item.context, item.folder] |= _starts(without(item.stem, IMAGE_WORDS)) | _starts(without(item.stem, frozenset()))
    done = []
    for item in items:
        spoken = _speaking(item.stem) if item.role == "image" else None
        done.append(replace(item, role=spoken) if spoken and without(item.stem, IMAGE_WORDS) in held[item.context, item.folder] else item)
    return done


def _starts(name: str) -> set[str]:
    """A name in words, and all that it begins with (a mask may be called as several channels begin)."""
    tokens = name.split()
    return {" ".join(tokens[:n]) for n in range(len(tokens) + 1)}


def by_number(items: Sequence[Item]) -> list[Item]:
    """Where no name speaks of masks: ``x_1`` beside every ``x`` of a folder is its mask, with one and the same number for all."""
    found = {item.id: match for item in items if (match := re.match(r"^(.+)[_\-](\d)$", item.stem))}
    others = {(item.context, item.stem) for item in items if item.id not in found}
    bases = {(item.context, found[item.id][1]) for item in items if item.id in found}
    if len({match[2] for match in found.values()}) != 1 or bases != others or len(found) != len(others):
        return list(items)
    return [replace(item, role="mask", stem=found[item.id][1]) if item.id in found else item for item in items]


def _speaking(name: str) -> Role | None:
    """The role that a word at the end (or the start) of a file name gives."""
    tokens = tokens_of(name)
    while len(tokens) > 1 and tokens[-1].isdigit():
        tokens = tokens[:-1]
    words = {tokens[-1], tokens[-1].rstrip("0123456789"), tokens[0]} if tokens else set()
    roles: tuple[tuple[frozenset[str], Role], ...] = ((SECOND_WORDS, "second"), (VIEW_WORDS, "view"), (MASK_WORDS, "mask"))
    return next((role for known, role in roles if words & known), None)


def tokens_of(name: str) -> list[str]:
    """A file name in words.

    >>> tokens_of("Benign (1)_mask")
    ['benign', '1', 'mask']
    """
    return [token for token in re.split(r"[^0-9a-z\u4e00-\u9fff]+", name.lower()) if token]


def without(name: str, words: frozenset[str]) -> str:
    """A file name without the words for masks and ``words``; a number behind a word for masks counts its parts and goes too.

    >>> without("21_manual1", frozenset()), without("mask_007", frozenset()), without("x_mask_2", frozenset())
    ('21', '007', 'x')
    """
    kept: list[str] = []
    dropping = False
    for token in tokens_of(name):
        is_mask = token in MASK_WORDS | SECOND_WORDS | VIEW_WORDS or (token.rstrip("0123456789") in MASK_WORDS and bool(kept))
        if is_mask or token in words:
            dropping = is_mask and bool(kept)
        elif not (dropping and token.isdigit()):
            kept.append(token)
            dropping = False
    return " ".join(kept)
