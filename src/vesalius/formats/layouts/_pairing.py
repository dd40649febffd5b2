"""Which mask belongs to which image, by their names; what is not certain is an error that names the files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vesalius.errors import DataError
from vesalius.formats.layouts._roles import IMAGE_WORDS, MASK_WORDS, Item, tokens_of, without

Key = Callable[[str], str]
NAMED = 3
MOST_CHANNELS = 16
__all__ = ["Pair", "Pairing", "named", "pair", "views"]


@dataclass(frozen=True)
class Pair:
    """The files of one case: its channels in order and its masks."""

    images: tuple[Item, ...]
    masks: tuple[Item, ...]


@dataclass
class Pairing:
    """What one way of pairing finds; ``unclear`` are groups of files that it cannot tell apart."""

    how: str
    pairs: list[Pair] = field(default_factory=list)
    unclear: list[list[Item]] = field(default_factory=list)

    @property
    def score(self) -> tuple[int, int]:
        """Masks and images that found each other."""
        return sum(len(each.masks) for each in self.pairs), sum(len(each.images) for each in self.pairs)


def pair(items: Sequence[Item], where: str) -> Pairing:
    """Pair images with masks in the way that leaves the fewest alone; ways are tried from the plainest on.

    Raises
    ------
    DataError: some files could belong to several others, or cases have different channels.
    """
    images = [item for item in items if item.role == "image"]
    masks = _placed([item for item in items if item.role == "mask"], images)
    ways = [_same("the same name", images, masks, str), _same("the same name without words for masks", images, masks, lambda name: without(name, frozenset())),
            _same("the same name without words for images and masks", images, masks, lambda name: without(name, IMAGE_WORDS)),
            _channels(images, masks), _same("the same numbers in the name", images, masks, _digits), _folders(images, masks)]
    best = max(ways, key=lambda way: way.score)
    if best.unclear:
        raise _unclear(best, where)
    return best


def _placed(masks: list[Item], images: list[Item]) -> list[Item]:
    """Masks in a folder below the folder of masks: it is called as an image (its masks) or as a structure (a folder for each)."""
    contexts = {image.context for image in images}
    stems = {(image.context, image.stem) for image in images}
    done = []
    for mask in masks:
        above, last = mask.context[:-1], mask.context[-1:]
        if mask.context in contexts or above not in contexts or not last:
            done.append(mask)
        elif (above, last[0]) in stems:
            done.append(Item(mask.id, mask.source, mask.role, above, last[0], mask.folder, mask.split, mask.stem))
        else:
            done.append(Item(mask.id, mask.source, mask.role, above, mask.stem, mask.folder, mask.split, last[0]))
    return done


def _grouped(items: Sequence[Item], key: Key) -> dict[tuple[tuple[str, ...], str], list[Item]]:
    groups: dict[tuple[tuple[str, ...], str], list[Item]] = defaultdict(list)
    for item in items:
        groups[item.context, key(item.stem)].append(item)
    return groups


def _same(how: str, images: list[Item], masks: list[Item], key: Key) -> Pairing:
    """Pairs whose names are equal under ``key``."""
    found, by_image = Pairing(how), _grouped(images, key)
    for place, mine in _grouped(masks, key).items():
        there = by_image.get(place, [])
        if not there or (not place[1] and (len(there) > 1 or len(mine) > 1)):
            continue
        if len(there) > 1 or not _one_truth(mine):
            found.unclear.append([*there, *mine])
        else:
            found.pairs.append(Pair((there[0],), tuple(mine)))
    return found


def _one_truth(masks: list[Item]) -> bool:
    """Whether several masks of an image are parts of one truth: structures of different names, or names that differ in a last number."""
    structures = [mask.structure for mask in masks]
    if len(masks) == 1 or (None not in structures and len(set(structures)) == len(masks)):
        return True
    stems = {(re.sub(r"[\s_\-.(]*\d*\)?$", "", mask.stem), mask.id.rsplit(".", 1)[-1]) for mask in masks}
    return len(stems) == 1 and structures.count(None) == len(masks) and len({mask.stem for mask in masks}) == len(masks)


def _digits(name: str) -> str:
    """The numbers of a name without those that are part of a word for masks (``manual1``)."""
    return " ".join(str(int(number)) for token in tokens_of(name) if token.rstrip("0123456789") not in MASK_WORDS for number in re.findall(r"\d+", token))


def _channels(images: list[Item], masks: list[Item]) -> Pairing:
    """``x_0000``, ``x_0001`` with ``x``; ``x_t1``, ``x_flair`` with ``x_seg``: what follows the mask's name is the channel."""
    found = Pairing("the name of the mask and a channel")
    starts = _grouped(masks, lambda name: without(name, frozenset()))
    held: dict[tuple[tuple[str, ...], str], dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        tokens = without(image.stem, frozenset()).split()
        start = next((place for n in range(len(tokens) - 1, -1, -1) if (place := (image.context, " ".join(tokens[:n]))) in starts), None)
        if start is not None:
            held[start][" ".join(tokens[len(start[1].split()):])].append(image)
    usual = Counter(tuple(sorted(channels)) for channels in held.values()).most_common(1)
    for place, channels in held.items() if len(held) > 1 else ():  # one case alone does not show what is a channel
        files = [item for mine in channels.values() for item in mine]
        odd = tuple(sorted(channels)) != usual[0][0] or len(files) > len(channels) or not _one_truth(starts[place])
        if odd or len(channels) > MOST_CHANNELS:
            found.unclear.append([*files, *starts[place]])
        found.pairs.append(Pair(tuple(channels[name][0] for name in sorted(channels)), tuple(starts[place])))
    return found


def _folders(images: list[Item], masks: list[Item]) -> Pairing:
    """A folder a case: one image, and a file for each structure or one label map."""
    found = Pairing("the folder of the case")
    by_image, by_mask = (_grouped(items, lambda _: "") for items in (images, masks))
    cases = {place: _of_one_kind(mine) for place, mine in by_mask.items() if len(by_image.get(place, [])) == 1}
    counts = Counter(mask.stem for mine in cases.values() for mask in mine)
    structures = len(cases) == 1 or any(n > 1 for n in counts.values())
    for place, mine in cases.items():
        bare = len(mine) == 1 and not without(mine[0].stem, IMAGE_WORDS)
        named = [mask if bare or not structures else Item(**{**vars(mask), "structure": mask.stem}) for mask in mine]
        found.pairs.append(Pair((by_image[place][0],), tuple(named)))
    return found


def _of_one_kind(masks: list[Item]) -> list[Item]:
    """Without pictures that somebody put beside volumes: only files of the most frequent format."""
    usual = Counter(mask.source.format for mask in masks).most_common(1)[0][0]
    return [mask for mask in masks if mask.source.format == usual]


def _unclear(way: Pairing, where: str) -> DataError:
    files = [item.id for item in way.unclear[0]]
    return DataError("it is not certain which mask belongs to which image", where=where, expected="one image and its mask of the same name",
                     got=f"{named(files, 6)}" + (f" and {len(way.unclear) - 1} more such groups" if len(way.unclear) > 1 else ""),
                     do="rename the files, or put others into another folder")


def views(items: Sequence[Item], pairs: Sequence[Pair]) -> dict[str, Item]:
    """The field of view of each image (by the id of its first file) that has one."""
    fields = [item for item in items if item.role == "view"]
    images = [each.images[0] for each in pairs]
    best = max((_same("", images, fields, key) for key in (str, lambda name: without(name, IMAGE_WORDS), _digits)), key=lambda way: way.score)
    return {each.images[0].id: each.masks[0] for each in best.pairs}


def named(names: Sequence[str], most: int = NAMED) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
