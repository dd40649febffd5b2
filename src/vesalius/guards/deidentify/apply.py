"""De-identification of one DICOM data set by PS3.15 Annex E: the Basic Profile and its options, through all sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from vesalius.guards.deidentify.content import by_reference, content_action, value_action
from vesalius.guards.deidentify.key import Key
from vesalius.guards.deidentify.options import Options
from vesalius.guards.deidentify.profile import action_of, safe_private, structured
from vesalius.guards.deidentify.values import TEXT, bounded_age, dummy, moved
from vesalius.guards.deidentify.words import Words, words_of

STANDARD_ROOT = "1.2.840.10008."
REGISTERED = frozenset({"CodingSchemeUID", "ContextUID", "MappingResourceUID", "ContextGroupExtensionCreatorUID"})
"""UIDs of vocabularies: they say nothing of a patient and lose their meaning when changed."""
TERMS = frozenset({"Modality", "PhotometricInterpretation", "ImageType", "SpecificCharacterSet", "ValueType", "RelationshipType", "SegmentationType",
                   "PatientSex", "ConversionType", "CompletionFlag", "VerificationFlag", "GraphicType", "ContinuityOfContent", "PresentationLUTShape",
                   "LossyImageCompression", "PatientPosition", "ScanningSequence", "SequenceVariant", "BodyPartExamined", "Laterality", "ImageLaterality",
                   "ViewPosition", "FrameType", "VolumetricProperties", "ContentQualification", "SegmentAlgorithmType", "ContourGeometricType", "DoseUnits"})
"""Code strings whose terms the standard lists: a name that equals one (Mr. Chest) must not destroy them."""
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
SEXES = ("M", "F", "O")
TEXT_OF_CONTENT = 0x0040A160
"""Text Value of a content item: within cleaned structured content it is cleaned, where the table would replace it."""
METHOD = "PS3.15 Annex E by Vesalius"
TEMPORAL = {"remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"}


@dataclass
class Cleaned:
    """What was done: ``item`` (the data set given, changed), ``actions`` by letter, ``patient`` the pseudonym, and words that must not be met any more."""

    item: Dataset
    patient: str
    actions: Counter[str] = field(default_factory=Counter)
    words: tuple[str, ...] = ()


@dataclass
class _Job:
    options: Options
    key: Key
    words: Words
    days: int
    active: tuple[str, ...]
    fixed: bool = False
    actions: Counter[str] = field(default_factory=Counter)


def deidentified(item: Dataset, options: Options, key: Key) -> Cleaned:
    """De-identify a data set in place; its pixels are not looked at (see `pixels.clean_pixels`).

    Raises
    ------
    Whatever the parser raises on a value that is none of its VR: such an object is not to be given away.
    """
    item.decode()
    whose = str(item.get("PatientID") or "").strip() or str(item.get("PatientName") or "") or str(item.get("StudyInstanceUID") or "")
    kept = {"institution", "device"} & options.keep
    job = _Job(options, key, words_of(item, not kept), key.days(whose), options.active, by_reference(item))
    _clean(item, job, False)
    patient = f"VES{key.name('patient', whose)}"
    _signed(item, job, patient)
    return Cleaned(item, patient, job.actions, job.words.held)


def _clean(item: Dataset, job: _Job, content: bool, said: str | None = None) -> None:
    """All attributes of a data set or item; ``content``: within cleaned content, where Table E.3.4-1 has ``said`` what becomes of this item's value."""
    creators = _creators(item)
    for tag in list(item.keys()):
        element = item[tag]
        if tag.element == 0:
            del item[tag]
        elif tag.is_private:
            _private(item, element, creators, job)
        else:
            value = value_action(element, said) if said else None
            _act(item, element, value or _action(element, job, content), job, content)
    _unused_creators(item)


def _action(element: DataElement, job: _Job, content: bool) -> str:
    tag = int(element.tag)
    if tag >> 24 == 0x60 and "graphics" not in job.active:
        return "X"  # an overlay without its data is none
    if content and tag == TEXT_OF_CONTENT:
        return "C"
    action = action_of(tag, job.active) or _unlisted(element, job)
    return "D" if action == "C" and element.VR in BINARY and not _is_overlay(tag) else action  # bytes cannot be cleaned without knowing their form


def _is_overlay(tag: int) -> bool:
    """Overlay Data (60xx,3000), which `pixels.clean_overlays` cleans."""
    return tag >> 24 == 0x60 and tag & 0xFFFF == 0x3000


def _unlisted(element: DataElement, job: _Job) -> str:
    """What the table does not name: kept when the standard knows it, with what may identify taken out of it."""
    tag, vr = int(element.tag), str(element.VR)
    if not (dictionary_has_tag(tag) or repeater_has_tag(tag)) or vr == "UN":
        return "X"
    if vr in ("DA", "DT", "TM"):
        return {"remove": "Z", "shift": "C", "keep": "K"}[job.options.dates]
    if vr == "UI" and element.keyword not in REGISTERED:
        return "K" if "uids" in job.active else "U"
    return "D" if vr == "PN" else "S"


def _act(item: Dataset, element: DataElement, action: str, job: _Job, content: bool) -> None:
    """Carry one action out: X, Z, D, U, C, K of PS3.15 E.3, and S (kept, scrubbed of the words that identify)."""
    job.actions[action] += 1
    if action == "X":
        del item[element.tag]
    elif element.VR == "SQ" and action in "UCKS":
        _items(element, job, content or (action == "C" and structured(int(element.tag))))
    elif action == "Z":
        element.value = Sequence() if element.VR == "SQ" else None
    else:
        element.value = dummy(element) if action == "D" else _changed(element, action, job)


def _items(element: DataElement, job: _Job, content: bool) -> None:
    """Clean the items of a sequence. Content items that the table removes go, unless positions are referred to: then their values are replaced."""
    left = []
    for each in element.value or ():
        said = content_action(each, job.active) if content else None
        if said == "X" and not job.fixed:
            job.actions["X"] += 1
            continue
        _clean(each, job, content, said)
        left.append(each)
    if len(left) < len(element.value or ()):
        element.value = Sequence(left)


def _changed(element: DataElement, action: str, job: _Job) -> Any:
    vr = str(element.VR)
    if vr == "UI":
        return _uids(element, job.key) if action in "UC" else element.value
    if vr in ("DA", "DT", "TM"):
        return moved(element, job.days) if action == "C" else element.value
    if vr == "AS":
        return bounded_age(str(element.value or ""))
    if vr == "PN":
        return dummy(element)
    if element.keyword == "PatientSex":
        return element.value if element.value in SEXES else ""
    if vr == "CS":
        return element.value if element.keyword in TERMS else _mapped(element.value, job.words.out_of_code)
    return _mapped(element.value, lambda text: job.words.out_of(text, action == "C")) if vr in TEXT else element.value


def _uids(element: DataElement, key: Key) -> Any:
    values = element.value if element.VM > 1 else [element.value]
    found = [str(each or "") if not each or str(each).startswith(STANDARD_ROOT) else key.uid(str(each)) for each in values]
    return found if len(found) > 1 else found[0]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if value is None or value == "":
        return value
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return [change(str(each)) for each in value]
    return change(str(value))


def _creators(item: Dataset) -> dict[int, str]:
    """Private creators by the block that they reserve: group and the first two digits of its elements (PS3.5 7.8)."""
    return {tag.group << 8 | tag.element: str(item[tag].value or "").strip() for tag in item.keys() if tag.is_private and 0x10 <= tag.element <= 0xFF}


def _private(item: Dataset, element: DataElement, creators: dict[int, str], job: _Job) -> None:
    tag = element.tag
    if 0x10 <= tag.element <= 0xFF:
        return  # goes with its block
    creator = creators.get(tag.group << 8 | tag.element >> 8, "")
    place = (tag.group, tag.element & 0xFF)
    safe = "private" in job.options.keep and place in safe_private().get(creator, ())
    if safe or place in job.options.private.get(creator, ()):
        _act(item, element, "S" if element.VR != "UN" else "K", job, False)
    else:
        _act(item, element, "X", job, False)


def _unused_creators(item: Dataset) -> None:
    used = {tag.group << 8 | tag.element >> 8 for tag in item.keys() if tag.is_private and tag.element > 0xFF}
    for tag in [tag for tag in item.keys() if tag.is_private and tag.element <= 0xFF and tag.group << 8 | tag.element not in used]:
        del item[tag]


def _signed(item: Dataset, job: _Job, patient: str) -> None:
    """Pseudonym, what was done (PS3.3 C.7.1.1, C.12.1), and meta information that names no other machine."""
    item.PatientID, item.PatientName = patient, patient
    item.PatientIdentityRemoved, item.DeidentificationMethod = "YES", METHOD
    item.LongitudinalTemporalInformationModified = TEMPORAL[job.options.dates]
    item.DeidentificationMethodCodeSequence = Sequence([_code(*code) for code in job.options.codes])
    item.SpecificCharacterSet = "ISO_IR 192"
    meta, old = FileMetaDataset(), getattr(item, "file_meta", Dataset())
    meta.MediaStorageSOPClassUID = UID(str(item.get("SOPClassUID") or old.get("MediaStorageSOPClassUID") or ""))
    meta.MediaStorageSOPInstanceUID = UID(str(item.get("SOPInstanceUID") or ""))
    meta.TransferSyntaxUID = UID(str(old.get("TransferSyntaxUID") or ExplicitVRLittleEndian))
    item.file_meta, item.preamble = meta, bytes(128)  # type: ignore[attr-defined]


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
