"""Frames and bulk values of one stored instance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from fastapi.responses import Response
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.tag import Tag

from vesalius.errors import FormatError
from vesalius.stages.serve.http.dicomweb.media import OCTETS, Wanted, insist, multipart, takes
from vesalius.stages.serve.http.problems import Refused
from vesalius.stages.serve.store import Missing, ObjectRow

CODED = {
    "1.2.840.10008.1.2.4.50": "image/jpeg", "1.2.840.10008.1.2.4.51": "image/jpeg", "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg", "1.2.840.10008.1.2.4.80": "image/jls", "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2", "1.2.840.10008.1.2.4.91": "image/jp2", "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media types of compressed frames by transfer syntax (PS3.18 table 8.7.3-5)."""
PLAIN = "1.2.840.10008.1.2.1"
MOST_FRAMES = 10_000


def frames_of(row: ObjectRow, numbers: str, wanted: Wanted) -> Response:
    """The asked frames as multipart/related: as stored where that coding is accepted by name, else decoded.

    Raises
    ------
    Refused: 400, the numbers are none; 406, another form. Missing: it has no such frame. FormatError: the frames cannot be decoded.
    """
    asked, item = numbers_of(numbers), dcmread(row.path)
    if "PixelData" not in item:
        raise Missing("the instance has no frames")
    count = int(item.get("NumberOfFrames") or 1)
    if max(asked) > count:
        raise Missing("the instance has no such frame", expected=f"1 to {count}", got=str(max(asked)))
    coded = CODED.get(row.syntax)
    if coded and any(name == coded for name, _ in wanted):
        held = dict(enumerate(generate_frames(item.PixelData, number_of_frames=count), 1))
        return _answer([held[n] for n in asked], coded, row.syntax)
    insist(wanted, OCTETS, *([coded] if coded else []))
    return _answer([_decoded(item, n - 1) for n in asked], OCTETS, PLAIN)


def numbers_of(text: str) -> list[int]:
    """Frame numbers, from 1.

    >>> numbers_of("1,3")
    [1, 3]
    """
    parts = text.split(",")
    if len(parts) > MOST_FRAMES or not all(part.isascii() and part.isdecimal() and 0 < len(part) < 10 and int(part) for part in parts):
        raise Refused(400, "these are no frame numbers", expected="whole numbers from 1, comma-separated", got=text[:60])
    return [int(part) for part in parts]


def _decoded(item: Dataset, index: int) -> bytes:
    try:
        array = pixel_array(item, index=index, raw=True)
    except Exception as error:  # decoders raise anything on broken frames, and quote them; all of it is one error to the caller
        raise FormatError("the frame cannot be decoded", got=type(error).__name__, do="ask for the instance as it is stored") from error
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _answer(frames: list[bytes], kind: str, syntax: str) -> Response:
    headers = {"Content-Type": f"{kind}; transfer-syntax={syntax}"}
    return multipart(((headers, partial(_whole, data)) for data in frames), kind)


def _whole(data: bytes) -> Iterator[bytes]:
    yield data


def bulk_of(row: ObjectRow, tag: str, wanted: Wanted) -> Response:
    """The value of an attribute at the top of the data set, as a multipart/related or alone, as is accepted.

    Raises
    ------
    Refused: 400, it is no tag; 406, another form. Missing: there is no such binary value.
    """
    if len(tag) != 8 or not all(letter in "0123456789abcdefABCDEF" for letter in tag):
        raise Refused(400, "this is no tag", expected="eight hexadecimal digits", got=tag[:40])
    item = dcmread(row.path)
    element = item.get(Tag(int(tag, 16)))
    if element is None or not isinstance(element.value, bytes):
        raise Missing("the instance has no such bulk data", got=tag)
    if not takes([each for each in wanted if each[0] != "*/*"], "multipart/related") and takes(wanted, OCTETS):
        return Response(element.value, media_type=OCTETS)
    insist(wanted, "multipart/related")
    return _answer([element.value], OCTETS, row.syntax)
