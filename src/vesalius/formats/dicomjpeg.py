"""12-bit JPEG (PS3.5 A.4.1, transfer syntax 1.2.840.10008.1.2.4.51) for pydicom, decoded by imagecodecs.

Neither Pillow nor GDCM reads 12-bit samples. pydicom asks this module through its decoder plugins.
"""

from __future__ import annotations

import imagecodecs
from pydicom.pixels.decoders import JPEGExtended12BitDecoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit

PLUGIN = "imagecodecs"
DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("imagecodecs",)}


def is_available(uid: str) -> bool:
    """Whether this module decodes that transfer syntax."""
    return uid == JPEGExtended12Bit and bool(imagecodecs.JPEG8.available)


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """The samples of one frame, as little-endian bytes."""
    image = imagecodecs.jpeg8_decode(src)
    runner.set_option("bits_allocated", image.dtype.itemsize * 8)
    return bytes(image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes())


def enter() -> None:
    """Offer the decoder to pydicom, once."""
    if PLUGIN not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


enter()
