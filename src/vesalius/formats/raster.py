"""PNG, JPEG, BMP, GIF and WebP pictures through Pillow; PNG with 16-bit colour through imagecodecs; TIFF through tifffile.

PNG: W3C Portable Network Graphics (third edition). JPEG: ITU-T T.81. TIFF: Adobe TIFF 6.0.
Pictures state no trustworthy spacing (dots per inch are a printer's), so that ``grid.spacing_known`` is False.
"""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format, bits_of, bounded, head_of, lean

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is told once, by `open_study`
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIGNATURES = (PNG_SIGNATURE, b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a")
TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PALETTES_TO_RGB = ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX")
EXIF_ORIENTATION = 0x0112
EXIF_LYING = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
ALPHA_NOTE = "transparency was dropped"


@FORMATS.register("raster")
class Raster(Format):
    """Pictures; several frames of a GIF are a stack ``[C, Z, Y, X]``."""

    name = "raster"
    suffixes = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".webp")

    @classmethod
    def sniff(cls, path: Path) -> bool:
        head = head_of(path)
        return head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

    @classmethod
    def read(cls, source: Source) -> Study:
        path = Path(source.path)
        with path.open("rb") as opened:
            head = opened.read(33)
            _whole_chunks(opened, head, source.path)
            if _is_deep_png(head):
                return _study(imagecodecs.png_decode(path.read_bytes()), source, {})
            opened.seek(0)
            with Image.open(opened) as picture:
                bounded((getattr(picture, "n_frames", 1), picture.height, picture.width, len(picture.getbands())), source.path)
                return _frames(picture, source) if getattr(picture, "n_frames", 1) > 1 else _one(picture, source)

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        with Path(source.path).open("rb") as opened:
            head = opened.read(33)
            opened.seek(0)
            with Image.open(opened) as picture:
                frames, bands = int(getattr(picture, "n_frames", 1)), picture.getbands()
                deep = head[24] == 16 if head.startswith(PNG_SIGNATURE) and len(head) == 33 else picture.mode.startswith("I")
                shape = (picture.height, picture.width) if frames == 1 else (frames, picture.height, picture.width)
                if picture.format == "JPEG" and picture.getexif().get(EXIF_ORIENTATION, 1) in EXIF_LYING:
                    shape = shape[::-1]
                colour = len(bands) >= 3 or picture.mode in PALETTES_TO_RGB
        return {"shape": shape, "channels": 3 if colour else 1, "bits": 16 if deep else 8, "modality": None}


@FORMATS.register("tiff")
class Tiff(Format):
    """TIFF; pages of one size are a stack ``[C, Z, Y, X]``, pages of several sizes are refused."""

    name = "tiff"
    suffixes = (".tif", ".tiff")

    @classmethod
    def sniff(cls, path: Path) -> bool:
        return head_of(path).startswith(TIFF_SIGNATURES)

    @classmethod
    def read(cls, source: Source) -> Study:
        with tifffile.TiffFile(source.path) as opened:
            pages = _pages(opened, source)
            bounded((len(pages), *pages[0].shape), source.path)
            arrays = [_page(page) for page in pages]
        image = arrays[0] if len(arrays) == 1 else np.stack(arrays)
        return _study(image, source, {"frames": len(arrays)} if len(arrays) > 1 else {})

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        with tifffile.TiffFile(source.path) as opened:
            pages = _pages(opened, source)
            page = pages[0]
            shape = (page.imagelength, page.imagewidth)
            colour = page.samplesperpixel >= 3 or page.photometric == tifffile.PHOTOMETRIC.PALETTE
        return {"shape": shape if len(pages) == 1 else (len(pages), *shape), "channels": 3 if colour else 1, "bits": int(page.bitspersample), "modality": None}


def _is_deep_png(head: bytes) -> bool:
    """Whether it is a PNG of 16 bits with colour or alpha, which Pillow would cut to 8 bits (colour types: W3C PNG 11.2.1)."""
    return len(head) == 33 and head.startswith(PNG_SIGNATURE) and head[24] == 16 and head[25] in (2, 4, 6) and _png_bounded(head)


def _whole_chunks(opened: BinaryIO, head: bytes, where: str) -> None:
    """A PNG's chunks are as long as they state: decoders take memory for what they state. Ends at the first one of another kind."""
    place, size = len(PNG_SIGNATURE), opened.seek(0, os.SEEK_END) if head.startswith(PNG_SIGNATURE) else 0
    while place + 8 <= size:
        opened.seek(place)
        length, name = struct.unpack(">L4s", opened.read(8))
        if name.isalpha() and place + 12 + length > size:
            raise FormatError("the file is truncated or damaged", where=where, expected=f"{length:,} bytes of a chunk", got=f"{size - place - 8:,}",
                              do="fetch it again, or leave it out")
        place = size if name == b"IEND" or not name.isalpha() else place + 12 + length


def _png_bounded(head: bytes) -> bool:
    width, height = struct.unpack(">II", head[16:24])
    bounded((height, width, 4), "PNG")
    return True


def _one(picture: Image.Image, source: Source) -> Study:
    meta: dict[str, Any] = {}
    if picture.format == "JPEG" and picture.getexif().get(EXIF_ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
        meta["notes"] = ("turned as its EXIF orientation says",)
    return _study(_array(picture), source, meta)


def _frames(picture: Image.Image, source: Source) -> Study:
    frames = []
    for index in range(picture.n_frames):  # type: ignore[attr-defined]
        picture.seek(index)
        frames.append(_array(picture.convert("RGB")))
    stack = np.stack(frames)
    return _study(stack[..., 0] if _is_grey(stack) else stack, source, {"frames": len(frames)})


def _is_grey(image: np.ndarray) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())


def _array(picture: Image.Image) -> np.ndarray:
    """``[Y, X]`` or ``[Y, X, C]`` in the file's own depth."""
    if picture.mode == "1":
        return np.asarray(picture, np.uint8) * np.uint8(255)
    if picture.mode in PALETTES_TO_RGB:
        seen = np.asarray(picture.convert("RGB"))
        return seen[..., 0] if picture.mode in ("P", "PA") and _is_grey(seen) else seen
    array = np.asarray(picture)
    return array.astype(np.uint16) if picture.mode == "I" and array.min() >= 0 and array.max() < 2**16 else array


def palette_indices(source: Source) -> np.ndarray | None:
    """``[Y, X]`` indices of a picture drawn with a coloured palette, which in a label map are the labels; None for any other picture."""
    with Image.open(source.path) as picture:
        if picture.mode != "P" or getattr(picture, "n_frames", 1) > 1 or _is_grey(np.asarray(picture.convert("RGB"))):
            return None
        return np.asarray(picture)


def _pages(opened: tifffile.TiffFile, source: Source) -> list[Any]:
    held: list[Any] = list(opened.pages)
    pages = [page for page in held if not page.keyframe.is_reduced]
    shapes = {tuple(page.shape) for page in pages}
    if len(shapes) != 1:
        raise FormatError("the pages of the TIFF are of several sizes", where=source.path, expected="pages of one size (a stack)",
                          got=", ".join(map(str, sorted(shapes)[:4])) or "no page", do="keep one image a file")
    return pages


def _page(page: Any) -> np.ndarray:
    array = page.asarray()
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        colours = (page.colormap[:, array] >> 8).astype(np.uint8)
        return np.moveaxis(colours, 0, -1)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype != np.bool_:
        return (np.iinfo(array.dtype).max - array) if array.dtype.kind == "u" else -array
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        array = ~array
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1:
        array = np.moveaxis(array, 0, -1)
    return array.astype(np.uint8) * np.uint8(255) if array.dtype == np.bool_ else array


def _study(image: np.ndarray, source: Source, meta: dict[str, Any]) -> Study:
    """``[(Z,) Y, X(, C)]`` to a study; alpha is dropped and said."""
    stacked = "frames" in meta
    if image.ndim == (4 if stacked else 3):
        if image.shape[-1] in (2, 4):
            meta["notes"] = (*meta.get("notes", ()), ALPHA_NOTE)
            image = image[..., :-1]
        if image.shape[-1] not in (1, 3):
            raise FormatError("the picture has a number of channels that no picture has", where=source.path, expected="1 or 3 channels", got=image.shape[-1],
                              do="keep one grey or colour image a file")
        image = np.moveaxis(image, -1, 0)
    else:
        image = image[None]
    image = np.ascontiguousarray(lean(image))
    return Study(image, Grid.plain(image.shape[1:]), bits=bits_of(image.dtype), source=str(source), meta=meta)
