"""DICOM images (PS3.3, PS3.5, PS3.10): single instances, multi-frame and enhanced ones, and series of slices.

No message quotes a patient's name, date or any other value that identifies; ``meta["patient_id"]`` holds the PatientID.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from vesalius.core.cohort import Source
from vesalius.core.geometry import Grid
from vesalius.core.study import Study
from vesalius.errors import FormatError
from vesalius.formats.base import FORMATS, Format, bounded, head_of, lean
from vesalius.formats.dicomgeometry import Gaps, Plane, Stack, flat_grid, plane_of, stack_of
from vesalius.formats.dicomguard import READING, guard
from vesalius.formats.dicompixels import Window, rescaled, stored, upright, window_of

FIRST_ELEMENTS = ((2, 0), (2, 1), (8, 0), (8, 1), (8, 5), (8, 8), (8, 0x16))
BARE_STARTS = tuple(group.to_bytes(2, order) + element.to_bytes(2, order) for group, element in FIRST_ELEMENTS for order in ("little", "big"))
warnings.filterwarnings("ignore", module=r"pydicom\.")
"""pydicom's warnings quote values of the file, which may identify the patient; set once, as a filter for a block is not safe between threads."""
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NOT_FOR_READING = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation, which is a finding and not an image",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation (label map), which is a finding and not an image",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose, not an image",
    "1.2.840.10008.1.3.10": "a DICOMDIR, which is an index of other files",
}
FACTS = ("PatientID", "PatientSex", "PatientAge", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns", "NumberOfFrames",
         "ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel", "BitsStored", "SOPClassUID", "ViewPosition", "ImageLaterality", "Laterality",
         "BodyPartExamined", "PhotometricInterpretation", "ImageType", "FrameOfReferenceUID", "InstanceNumber")


@FORMATS.register("dicom")
class Dicom(Format):
    """One instance (``source.files`` empty) or the slices of a series (``source.files``)."""

    name = "dicom"
    suffixes: tuple[str, ...] = (".dcm", ".dicom", ".dic", ".ima")

    @classmethod
    def sniff(cls, path: Path) -> bool:
        head = head_of(path)
        return head[128:132] == b"DICM" or _bare(head)

    @classmethod
    def read(cls, source: Source) -> Study:
        return _read(source, "refuse")

    @classmethod
    def header(cls, source: Source) -> dict[str, Any]:
        files = source.files or (source.path,)
        item = facts_of(files[0])
        frames = len(files) if len(files) > 1 else int(item.get("NumberOfFrames") or 1)
        flat = (int(item["Rows"]), int(item["Columns"])) if item.get("Rows") and item.get("Columns") else ()
        if not flat:
            raise FormatError("the DICOM file holds no image", where=files[0], expected="Rows and Columns (0028,0010/0011)", got=_class_name(item),
                              do="leave it out")
        return {"shape": flat if frames == 1 else (frames, *flat), "channels": 3 if _coloured(item) else 1, "bits": _bits(item),
                "modality": item.get("Modality") or None, "patient_id": str(item.get("PatientID") or "") or None}


@FORMATS.register("dicom-filled")
class DicomFilled(Dicom):
    """The same files where slices may be missing in between: they are interpolated, as somebody asked for (see `filled`).

    ``meta["filled_slices"]`` holds the places of the interpolated slices, and a note says between which files they lie.
    """

    name = "dicom-filled"
    suffixes = ()

    @classmethod
    def read(cls, source: Source) -> Study:
        return _read(source, "fill")


def filled(source: Source) -> Source:
    """The same series, read with its missing slices interpolated linearly between their neighbours; other sources as they are."""
    return replace(source, format=DicomFilled.name) if source.format == Dicom.name else source


def headers_of(source: Source) -> tuple[list[Dataset], list[tuple[int, int]]]:
    """Attributes without pixels of the files that a study was read from, and for each plane of its grid the file and frame (both from 0).

    An interpolated slice has (-1, -1).
    """
    items = [parsed(path, stop_before_pixels=True) for path in source.files or (source.path,)]
    frames = [(i, frame) for i, item in enumerate(items) for frame in range(int(item.get("NumberOfFrames") or 1))]
    planes = [plane_of(groups_of(items[i], frame)) for i, frame in frames]
    if len(frames) == 1 or not all(plane.located for plane in planes):
        return items, frames
    stack = stack_of(planes, (int(items[0].Rows), int(items[0].Columns)), [str(each) for each in frames], source.path,
                     "fill" if source.format == DicomFilled.name else "refuse")
    places = [(-1, -1)] * stack.grid.shape[0]
    for i, place in zip(stack.order, stack.places, strict=True):
        places[place] = frames[i]
    return items, places


def _read(source: Source, gaps: Gaps) -> Study:
    return _series(source, gaps) if len(source.files) > 1 else _instance(source, gaps)


def _coloured(item: Any) -> bool:
    return int(item.get("SamplesPerPixel") or 1) == 3 or item.get("PhotometricInterpretation") == "PALETTE COLOR"


def _bits(item: Any) -> int:
    """A palette's colours are brought to 8 bits whatever its indices are stored in."""
    return 8 if item.get("PhotometricInterpretation") == "PALETTE COLOR" else int(item.get("BitsStored") or 8)


def _class_name(item: Any) -> str:
    return UID(str(item.get("SOPClassUID") or "")).name or "no SOP class"


def _bare(head: bytes) -> bool:
    """A data set without preamble starts with a group 0002 or 0008 element."""
    return head[:4] in BARE_STARTS and len(head) > 8


def facts_of(path: str) -> dict[str, Any]:
    """The attributes of `FACTS` that an instance has, without its pixels."""
    item = parsed(path, specific_tags=list(FACTS), stop_before_pixels=True)
    return {keyword: item.get(keyword) for keyword in FACTS if item.get(keyword) not in (None, "")}


def parsed(path: str, **options: Any) -> Dataset:
    """Parse a file that the guard let through; without preamble only when what follows is a DICOM image with its class and size.

    Raises
    ------
    FormatError: see `dicomguard.guard`.
    """
    guard(path, READING, pixels=not options.get("stop_before_pixels"))
    try:
        return pydicom.dcmread(path, **options)
    except InvalidDicomError:
        item = pydicom.dcmread(path, force=True, **options)
    if "SOPClassUID" not in item and "Rows" not in item:
        raise FormatError("the file is not DICOM", where=path, expected="the DICM prefix at byte 128 (PS3.10 7.1)", got="none, and no image attributes follow",
                          do="leave it out, or convert it")
    return item


def _image_in(path: str) -> Dataset:
    """A parsed instance that holds an image, with a transfer syntax."""
    item = parsed(path)
    held = NOT_FOR_READING.get(str(item.get("SOPClassUID") or item.get("file_meta", Dataset()).get("MediaStorageSOPClassUID") or ""))
    if held:
        raise FormatError(f"the DICOM file holds {held}", where=path, expected="an image", do="leave it out")
    absent = [keyword for keyword in ("Rows", "Columns", "PhotometricInterpretation", "BitsAllocated") if item.get(keyword) in (None, "")]
    if absent or not any(keyword in item for keyword in PIXEL_KEYWORDS):
        lacks = ", ".join(absent) if absent else "Pixel Data (7FE0,0010)"
        raise FormatError("the DICOM file holds no image", where=path, expected=lacks, got=_class_name(item), do="leave it out")
    _with_syntax(item)
    return item


def _with_syntax(item: Dataset) -> None:
    """A file without meta information states no transfer syntax: take the one that the data set was parsed with."""
    if item.file_meta.get("TransferSyntaxUID") if hasattr(item, "file_meta") else None:
        return
    if not hasattr(item, "file_meta"):
        item.file_meta = pydicom.dataset.FileMetaDataset()
    implicit, little = item.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    item.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _instance(source: Source, gaps: Gaps) -> Study:
    path = source.files[0] if source.files else source.path
    item = _image_in(path)
    array = stored(item, path)
    frames = int(item.get("NumberOfFrames") or 1)
    if frames > 1:
        return _multiframe(array, item, source, path, gaps)
    array = array[0] if array.ndim == 4 or (array.ndim == 3 and int(item.get("SamplesPerPixel") or 1) == 1 and array.shape[-1] != 3) else array
    groups = groups_of(item, 0)
    image, window = _numbers(array, item, groups, path)
    plane = plane_of(groups)
    notes = (plane.note,) if plane.note else ()
    return _study(_channels_first(image, False), flat_grid(plane, image.shape[:2]), item, window, source, notes)


def _numbers(array: np.ndarray, item: Dataset, values: Any, where: str) -> tuple[np.ndarray, Window | None]:
    """Modality transformation, window and MONOCHROME1; colour is left as it is."""
    if array.ndim >= 3 and array.shape[-1] == 3 and _coloured(item):
        return array, None
    return upright(rescaled(array, values, item), window_of(values), item, values, where)


def _channels_first(image: np.ndarray, stacked: bool) -> np.ndarray:
    coloured = image.ndim == (4 if stacked else 3)
    return np.ascontiguousarray(np.moveaxis(image, -1, 0) if coloured else image[None])


def groups_of(item: Dataset, frame: int) -> Dataset:
    """The instance's attributes with those of the frame's and the shared functional groups (PS3.3 C.7.6.16) laid flat over them."""
    flat = Dataset()
    flat.update({element.tag: element for element in item if element.keyword in _FLAT})
    shared = list(item.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = list(item.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    for group in (*shared, *own):
        for macro in group:
            if macro.VR == "SQ" and macro.value:
                flat.update({element.tag: element for element in macro.value[0] if element.keyword in _FLAT})
    return flat


_FLAT = {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness",
         "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
         "SequenceOfUltrasoundRegions"}


def _multiframe(array: np.ndarray, item: Dataset, source: Source, path: str, gaps: Gaps) -> Study:
    """Frames with positions are a volume; others (cine, views) are a stack in time order whose first axis has no mm."""
    groups = [groups_of(item, frame) for frame in range(len(array))]
    numbers = [_numbers(frame, item, group, path) for frame, group in zip(array, groups, strict=True)]
    planes, image = [plane_of(group) for group in groups], np.stack([image for image, _ in numbers])
    flat = (int(item.Rows), int(item.Columns))
    window = numbers[0][1]
    if item.get("PerFrameFunctionalGroupsSequence") and all(plane.located for plane in planes):
        stack = stack_of(planes, flat, [f"frame {n + 1}" for n in range(len(planes))], path, gaps)
        return _stacked(image[list(stack.order)], stack, item, window, source)
    return _study(_channels_first(image, True), _frames_grid(planes[0], len(array), flat), item, window, source, (), frames=len(array))


def _frames_grid(plane: Plane, frames: int, flat: tuple[int, int]) -> Grid:
    grid = Grid.plain((frames, *flat), (plane.thickness_mm or 1.0, *(plane.spacing_mm or (1.0, 1.0))))
    return Grid(grid.shape, grid.spacing_mm, grid.affine_lps, plane.spacing_mm is not None and plane.thickness_mm is not None)


def _series(source: Source, gaps: Gaps) -> Study:
    """All slices of a series, sorted by geometry, each with its own rescale."""
    items = [_image_in(name) for name in source.files]
    names = [Path(name).name for name in source.files]
    _alike(items, names, source)
    planes = [plane_of(groups_of(item, 0)) for item in items]
    if not all(plane.located for plane in planes):
        lost = [name for plane, name in zip(planes, names, strict=True) if not plane.located]
        raise FormatError("slices of the series have no position", where=source.path, expected="ImagePositionPatient and ImageOrientationPatient",
                          got=f"{len(lost)} of {len(names)} without, e.g. {lost[0]}", do="give the files singly")
    flat = (int(items[0].Rows), int(items[0].Columns))
    bounded((len(items), *flat, int(items[0].get("SamplesPerPixel") or 1)), source.path)
    stack = stack_of(planes, flat, names, source.path, gaps)
    bounded((*stack.grid.shape, int(items[0].get("SamplesPerPixel") or 1)), source.path)
    numbers = [_numbers(stored(items[i], source.files[i]), items[i], items[i], source.files[i]) for i in stack.order]
    return _stacked(np.stack([image for image, _ in numbers]), stack, items[stack.order[0]], numbers[len(numbers) // 2][1], source)


def _stacked(image: np.ndarray, stack: Stack, item: Dataset, window: Window | None, source: Source) -> Study:
    """The study of sorted slices ``[Z, Y, X(, 3)]``; what is missing is interpolated, and positions off the grid are kept in ``meta``."""
    places: dict[str, Any] = {"filled_slices": stack.missing} if stack.missing else {}
    if stack.uneven:
        places["plane_positions_mm"] = tuple(tuple(float(v) for v in position) for position in stack.positions_mm)
    whole = _between(image, np.array(stack.places)) if stack.missing else image
    study = _study(_channels_first(whole, True), stack.grid, item, window, source, stack.notes, gantry_tilt_deg=stack.tilt_deg)
    return replace(study, meta={**study.meta, **places})


def _between(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Slices at ``places`` of a longer stack; those in between are interpolated linearly, integers rounded."""
    whole = np.empty((int(places[-1]) + 1, *image.shape[1:]), image.dtype)
    whole[places] = image
    for i in np.flatnonzero(np.diff(places) > 1):
        low, high = int(places[i]), int(places[i + 1])
        for place in range(low + 1, high):
            share = (place - low) / (high - low)
            between = image[i] * (1 - share) + image[i + 1] * share
            whole[place] = np.rint(between) if image.dtype.kind in "iu" else between
    return whole


def _alike(items: list[Dataset], names: list[str], source: Source) -> None:
    first = (items[0].Rows, items[0].Columns, items[0].get("SamplesPerPixel"))
    for item, name in zip(items, names, strict=True):
        seen = (item.Rows, item.Columns, item.get("SamplesPerPixel"))
        if seen != first:
            raise FormatError("the slices of the series have several sizes", where=source.path, expected=f"rows, columns, samples {first} as in {names[0]}",
                              got=f"{seen} in {name}", do="keep one size a series")


def _study(image: np.ndarray, grid: Grid, item: Dataset, window: Window | None, source: Source, notes: tuple[str, ...], **more: Any) -> Study:
    meta: dict[str, Any] = {
        "patient_id": item.get("PatientID"), "sex": item.get("PatientSex"), "age": years(item.get("PatientAge")), "view": item.get("ViewPosition"),
        "laterality": item.get("ImageLaterality") or item.get("Laterality"), "body_part": item.get("BodyPartExamined"),
        "photometric": item.get("PhotometricInterpretation"), "study_uid": item.get("StudyInstanceUID"), "series_uid": item.get("SeriesInstanceUID"),
        "frame_uid": item.get("FrameOfReferenceUID"), **more,
    }
    kept: dict[str, Any] = {key: str(value) if not isinstance(value, (int, float)) else value for key, value in meta.items() if value not in (None, "", 0.0)}
    if notes:
        kept["notes"] = notes
    return Study(lean(image), grid, item.get("Modality") or None, _bits(item), window, str(source), kept)


def years(text: Any) -> float | None:
    """An age string (PS3.5 6.2, VR AS) in years.

    >>> years("045Y"), years("006M"), years("x")
    (45.0, 0.5, None)
    """
    units = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.25}
    value = str(text or "")
    return float(value[:-1]) / units[value[-1]] if value[:-1].isdigit() and value[-1] in units else None
