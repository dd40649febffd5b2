"""Clean Pixel Data (PS3.15 E.3.1): burned-in text is found and blanked, around the regions of ultrasound everything is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_fragmented_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian

from vesalius.guards.deidentify.burned import Box, blank, text_boxes
from vesalius.guards.deidentify.pictures import stripped_jpeg

LOOKED_AT = 12
"""Frames of a cine that are looked at singly; what stays through all of them is looked for in their minimum."""
NO_PICTURE = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.30",
                        "1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.2"})
"""Segmentations, doses, parametric maps and registrations: their numbers are no picture."""
JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81))


@dataclass(frozen=True)
class Burned:
    """``boxes``: text found and blanked; ``outside``: whether all around the ultrasound regions was blanked."""

    boxes: tuple[Box, ...] = ()
    outside: bool = False

    @property
    def found(self) -> bool:
        return bool(self.boxes) or self.outside


def clean_pixels(item: Dataset) -> Burned:
    """Blank what is burned into the pixels, in place; pixels that hold nothing stay as they are stored, compressed or not.

    Comments within JPEG frames are taken out. Compressed pixels that had to be changed become Explicit VR Little Endian.
    """
    _without_comments(item)
    if "PixelData" not in item or str(item.get("SOPClassUID") or "") in NO_PICTURE or int(item.get("BitsAllocated") or 0) < 8:
        return Burned()
    colour = int(item.get("SamplesPerPixel") or 1) > 1
    array = np.array(pixel_array(item))
    frames = array if array.ndim == (4 if colour else 3) else array[None]
    regions = _regions(item)
    outside = bool(regions) and _blank_outside(frames, regions, item, colour)
    boxes = tuple(_found(frames))
    if boxes:
        blank(frames, list(boxes), _background(item, colour))
    burned = Burned(boxes, outside)
    if burned.found:
        _put(item, array, colour)
    item.BurnedInAnnotation = "NO"
    return burned


def clean_overlays(item: Dataset) -> int:
    """Blank text in overlay planes (PS3.3 C.9.2), in place; how many lines of it there were."""
    lines = 0
    for group in range(0x6000, 0x6020, 2):
        rows, columns, data = (item.get((group, number)) for number in (0x0010, 0x0011, 0x3000))
        if rows is None or columns is None or data is None:
            continue
        size = int(rows.value) * int(columns.value)
        bits = np.unpackbits(np.frombuffer(data.value, np.uint8), bitorder="little")
        planes = bits[: len(bits) // max(1, size) * size].reshape(-1, int(rows.value), int(columns.value))
        for plane in planes:
            boxes = text_boxes(plane)
            blank(plane, boxes, 0)
            lines += len(boxes)
        packed = np.packbits(bits, bitorder="little").tobytes()
        data.value = packed + b"\0" * (len(packed) % 2)
    return lines


def _found(frames: np.ndarray) -> list[Box]:
    step = max(1, len(frames) // LOOKED_AT)
    looked = list(frames[::step][:LOOKED_AT])
    if len(frames) > 1:
        looked.append(frames.min(0))
    return sorted({box for frame in looked for box in text_boxes(frame)})


def _regions(item: Dataset) -> list[Box]:
    """Rectangles of Sequence of Ultrasound Regions (0018,6011) that hold an image."""
    found = []
    for region in item.get("SequenceOfUltrasoundRegions") or ():
        left, top, right, bottom = (int(region.get(f"RegionLocation{name}") or 0) for name in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
        if right > left and bottom > top:
            found.append((top, left, bottom + 1, right + 1))
    return found


def _blank_outside(frames: np.ndarray, regions: list[Box], item: Dataset, colour: bool) -> bool:
    """Overwrite all that lies in no region; whether anything lay there."""
    outside = np.ones(frames.shape[1:3], bool)
    for top, left, bottom, right in regions:
        outside[top:bottom, left:right] = False
    value = _background(item, colour)
    changed = bool((frames[:, outside] != np.array(value, frames.dtype)).any())
    frames[:, outside] = value
    return changed


def _background(item: Dataset, colour: bool) -> object:
    """What is black on the screen, in stored values."""
    if colour:
        return (0, 0, 0)
    bits = int(item.get("BitsStored") or 8)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(item.get("PixelRepresentation") or 0) else (0, 2**bits - 1)
    return high if item.get("PhotometricInterpretation") == "MONOCHROME1" else low


def _put(item: Dataset, array: np.ndarray, colour: bool) -> None:
    """Store changed samples without compression; colour as RGB."""
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.PixelData = array.tobytes() + (b"\0" if array.nbytes % 2 else b"")
    item["PixelData"].VR = "OB" if array.itemsize == 1 else "OW"
    item["PixelData"].is_undefined_length = False
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in item:
            delattr(item, keyword)
    if colour:
        item.PhotometricInterpretation, item.PlanarConfiguration = "RGB", 0


def _without_comments(item: Dataset) -> None:
    """JPEG frames carry comments and application data of their own (ITU-T T.81 B.2.4.5)."""
    syntax = UID(str(item.file_meta.get("TransferSyntaxUID") or ""))
    if "PixelData" not in item or str(syntax) not in JPEG_SYNTAXES:
        return
    count = int(item.get("NumberOfFrames") or 1)
    frames = [b"".join(parts) for parts in generate_fragmented_frames(item.PixelData, number_of_frames=count)]
    cleaned = [stripped_jpeg(frame) for frame in frames]
    if cleaned != frames:
        item.PixelData = encapsulate(cleaned)
        item["PixelData"].is_undefined_length = True
