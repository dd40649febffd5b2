"""From stored DICOM samples to numbers that mean something: DICOM PS3.3 C.11.1 (modality), C.11.2 (VOI), C.7.6.3 (pixels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import UID, JPEGLSLossless, JPEGLSNearLossless

from vesalius.errors import FormatError
from vesalius.formats import dicomjpeg  # noqa: F401 - enters its decoder
from vesalius.formats.base import bounded
from vesalius.formats.dicomframes import claim_of

Window = tuple[float, float]


def stored(item: Dataset, where: str) -> np.ndarray:
    """Decoded samples, ``[(F,) Y, X]`` or colour ``[(F,) Y, X, 3]`` as RGB; only the bits that the file says are used."""
    bounded((int(item.get("NumberOfFrames") or 1), int(item.Rows), int(item.Columns), int(item.get("SamplesPerPixel") or 1)), where)
    array = _decoded(item, where)
    if item.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(array, item)
        return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured
    return _used_bits(array, item)


def _decoded(item: Dataset, where: str) -> np.ndarray:
    syntax = UID(item.file_meta.TransferSyntaxUID)
    try:
        if syntax in (JPEGLSLossless, JPEGLSNearLossless):
            _agreeing(item, where)
        return np.asarray(pixel_array(item))
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        if not syntax.is_compressed:
            raise
        raise FormatError("the compressed samples cannot be decoded", where=where, expected="a whole frame in a known transfer syntax", got=syntax.name,
                          do="fetch the file again, or decompress it") from error
    except ValueError as error:
        size = f"{item.get('NumberOfFrames') or 1} x {item.Rows} x {item.Columns} samples of {item.BitsAllocated} bits"
        raise FormatError("the file is truncated or damaged", where=where, expected=size, got=f"{len(item.get('PixelData') or b'')} bytes of {syntax.name}",
                          do="fetch it again, or leave it out") from error


def _agreeing(item: Dataset, where: str) -> None:
    """GDCM ends the process where a JPEG-LS frame has another size than the data set (found by fuzzing), so that such a frame does not reach it."""
    stated = (int(item.Rows), int(item.Columns), int(item.SamplesPerPixel))
    for frame in generate_frames(item.PixelData, number_of_frames=int(item.get("NumberOfFrames") or 1)):
        claim = claim_of(frame)
        if claim is None or claim.fault or (claim.rows, claim.columns, claim.samples) != stated:
            raise FormatError("a compressed frame states another size than the data set", where=where, expected="{} x {} x {}".format(*stated),
                              got="no frame header" if claim is None or claim.fault else f"{claim.rows} x {claim.columns} x {claim.samples}",
                              do="fetch the file again")


def _used_bits(array: np.ndarray, item: Dataset) -> np.ndarray:
    """Bits above BitsStored may hold an overlay (retired, PS3.5 2004 8.1.2) and must not be read as signal."""
    used, held = int(item.get("BitsStored") or 0), int(item.get("BitsAllocated") or 0)
    if array.dtype.kind not in "iu" or not 0 < used < held:
        return array
    if array.dtype.kind == "u":
        return array & array.dtype.type(2**used - 1) if int(array.max(initial=0)) >= 2**used else array
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    if -(2 ** (used - 1)) <= low and high < 2 ** (used - 1):
        return array
    shift = array.dtype.itemsize * 8 - used
    return np.right_shift(np.left_shift(array, shift), shift)


def rescaled(array: np.ndarray, item: Any, whole: Dataset) -> np.ndarray:
    """After the modality transformation; ``item`` holds its slope and intercept (the instance, or a frame's functional group).

    Integers stay integers (int16 where they fit) when slope and intercept are whole numbers.
    """
    if "ModalityLUTSequence" in whole and whole.ModalityLUTSequence:
        return apply_modality_lut(array, whole).astype(np.float32)
    slope, intercept = slope_of(item)
    if (slope, intercept) == (1.0, 0.0) or array.dtype.kind not in "iuf":
        return array
    if slope.is_integer() and intercept.is_integer() and array.dtype.kind in "iu":
        low, high = sorted((int(array.min()) * slope + intercept, int(array.max()) * slope + intercept))
        kind = np.int16 if low >= -(2**15) and high < 2**15 else np.int32
        return (array.astype(np.int32) * int(slope) + int(intercept)).astype(kind)
    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def slope_of(item: Any) -> tuple[float, float]:
    """(slope, intercept) in use; (1, 0) when absent or impossible."""
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    if slope in (None, "") or float(slope) == 0:
        return 1.0, float(intercept) if intercept not in (None, "") else 0.0
    return float(slope), float(intercept) if intercept not in (None, "") else 0.0


def stated_range(item: Dataset, values: Any) -> Window:
    """Lowest and highest number that the file can state, after the modality transformation."""
    used = int(item.get("BitsStored") or 8)
    low, high = (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if int(item.get("PixelRepresentation") or 0) else (0, 2**used - 1)
    slope, intercept = slope_of(values)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], ends[1]


def window_of(item: Any) -> Window | None:
    """The file's first VOI window as (low, high): PS3.3 C.11.2.1.2 for LINEAR (half a unit off centre) and LINEAR_EXACT;
    a VOI LUT counts by the range that it maps (C.11.2.1.1). None when there is none or it is impossible."""
    centre, width = _first(item.get("WindowCenter")), _first(item.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return _lut_range(item)
    if str(item.get("VOILUTFunction") or "LINEAR") == "LINEAR" and width >= 1:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    else:
        low, high = centre - width / 2, centre + width / 2
    return (low, high) if high > low else None


def _lut_range(item: Any) -> Window | None:
    luts = item.get("VOILUTSequence")
    descriptor = luts[0].get("LUTDescriptor") if luts else None
    if not descriptor or len(descriptor) != 3:
        return None
    count, first = int(descriptor[0]) or 2**16, int(descriptor[1])
    return (float(first), float(first + count - 1)) if count > 1 else None


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if hasattr(value, "__len__") and not isinstance(value, str):
        return float(value[0]) if len(value) else None
    return float(value)


def upright(image: np.ndarray, window: Window | None, item: Dataset, values: Any, where: str) -> tuple[np.ndarray, Window | None]:
    """MONOCHROME1 (low is bright, PS3.3 C.7.6.3.1.2) mirrored within the range that the file can state, the window with it."""
    if item.PhotometricInterpretation != "MONOCHROME1":
        return image, window
    low, high = stated_range(item, values)
    if image.dtype.kind in "iu":
        kind = image.dtype
        turned = int(low + high) - image.astype(np.int32)
        image = turned.astype(kind) if np.iinfo(kind).min <= turned.min() and turned.max() <= np.iinfo(kind).max else turned
    elif image.dtype.kind == "f":
        image = np.float32(low + high) - image
    else:
        raise FormatError("the samples are no numbers", where=where, expected="integers or floats", got=image.dtype)
    return image, None if window is None else (low + high - window[1], low + high - window[0])
