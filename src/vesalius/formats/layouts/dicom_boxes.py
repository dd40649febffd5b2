"""DICOM images with reports that say where something is: TID 1500 structured reports anywhere in the tree, joined to the images that they rest on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vesalius.core.cohort import Cohort, MarkedBox, Source
from vesalius.core.target import SEPARATOR
from vesalius.errors import FormatError, LabelError
from vesalius.formats.dicom import facts_of
from vesalius.formats.dicomsr import AREAS, SR_CLASSES, Report, boxes_of, placed, report_of
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts._boxed import Gathered, boxes_cohort
from vesalius.formats.layouts._pairing import named

EXAMPLES = 2


@LAYOUTS.register("dicom-boxes")
class DicomBoxes(Layout):
    """Any order of folders. A report belongs to the series and images that its evidence lists; an image that it lists and marks nothing in is negative.

    What a person wrote or verified counts before what an algorithm says of the same image. Of an algorithm the newest report counts; reports of persons
    add up, and an object that two of them track under one UID is where the newer one says. Spellings that differ in case alone are one class.
    """

    name = "dicom-boxes"
    boxes = True

    @classmethod
    def matches(cls, given: Given) -> str | None:
        if not given.is_folder or given.options.table or "dicom" not in given.tree.formats and "?" not in given.tree.formats:
            return None
        if not any(source.format.startswith("dicom") for _, source in given.found.items):
            return None
        reports, _ = _read_all(given)
        marking = sum(any(region.kind in AREAS for group in report.groups for region in group.regions) for report in reports)
        return f"DICOM images with {marking} reports (SR) that mark regions" if marking else None

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        return ("dicom-masks",) if given.options.target == "boxes" else ()

    @classmethod
    def read(cls, given: Given) -> Cohort:
        reports, notes = _read_all(given)
        if not reports:
            raise LabelError("there is no report of measurements", where=given.data, expected="DICOM SR of TID 1500 beside the images",
                             got="; ".join(notes) or "none", do="put the reports beside the images")
        gathered = Gathered(notes=notes)
        owners = _joined(reports, given, gathered)
        counting = {id_: _counting(owners[id_], gathered.notes) for id_, _ in given.found.items if id_ in owners}
        for id_, source in given.found.items:
            if id_ in counting:
                _enter(gathered, id_, source, counting[id_])
        _spell(gathered)
        gathered.notes = [*_few(gathered.notes), *_unverified([report for each in counting.values() for report in each])]
        return boxes_cohort(given, cls.name, gathered, "regions of structured reports (TID 1500)")


def _read_all(given: Given) -> tuple[list[Report], list[str]]:
    """Every report that can be read; reports of other kinds are passed over, and a note names those that are damaged."""
    taken = {path for _, source in given.found.items for path in (source.files or (source.path,))}
    paths = [given.tree.path(name) for name, kind in zip(given.tree.files, given.tree.formats, strict=True) if kind in ("dicom", "?")]
    reports, wrong = [], []
    for path in paths:
        if path in taken or _class_of(path) not in SR_CLASSES:
            continue
        try:
            reports.append(report_of(path))
        except FormatError as error:
            wrong += [str(error)] if "none of measurements" not in str(error) else []
    return reports, [f"{len(wrong)} reports cannot be read and were left out, e.g. {wrong[0]}"] if wrong else []


def _class_of(path: str) -> str:
    """SOP class of a file that holds no image; nothing when it is no DICOM."""
    try:
        return str(facts_of(path).get("SOPClassUID"))
    except Exception:  # noqa: BLE001 - the parser raises anything on files of other kinds; they report nothing
        return ""


def _joined(reports: Sequence[Report], given: Given, gathered: Gathered) -> dict[str, list[Report]]:
    """Reports by image. A picture is joined by its own UID, a series by its series UID: views of one series are images of their own."""
    pictures: dict[str, str] = {}
    series: dict[str, list[str]] = defaultdict(list)
    for id_, source in given.found.items:
        facts = given.found.dicom.get(id_, {})
        if source.files:
            series[str(facts.get("SeriesInstanceUID"))].append(id_)
        else:
            pictures[str(facts.get("SOPInstanceUID"))] = id_
    owners: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        held = [*(id_ for uid in report.series for id_ in series.get(uid, [])), *(pictures[uid] for uid in report.instances if uid in pictures)]
        gathered.lost += [] if held else [report.path]
        for id_ in dict.fromkeys(held):
            owners[id_].append(report)
    return owners


def _counting(reports: Sequence[Report], notes: list[str]) -> list[Report]:
    """Of the reports on one image those that count, the newest first, each without the objects that a newer one tracks."""
    newest = sorted(reports, key=lambda report: (report.created, report.path), reverse=True)
    persons = [report for report in newest if report.verified or not report.by_device]
    counting = persons or newest[:1]
    notes += [f"{report.path} does not count: {counting[0].path} does" for report in newest if report not in counting]
    seen: set[str] = set()
    made = []
    for report in counting:
        fresh = tuple(group for group in report.groups if not group.tracking_uid or group.tracking_uid not in seen)
        seen |= {group.tracking_uid for group in fresh}
        made.append(replace(report, groups=fresh))
    return made


def _unverified(used: Sequence[Report]) -> list[str]:
    every, machine = {report.path for report in used}, {report.path for report in used if report.by_device and not report.verified}
    return [f"{len(machine)} of {len(every)} reports were made by an algorithm and verified by nobody, e.g. {min(machine)}: "
            "what is learnt from them is what that algorithm says"] if machine else []


def _enter(gathered: Gathered, id_: str, source: Source, reports: Iterable[Report]) -> None:
    image = placed(source)
    boxes: list[MarkedBox] = []
    for report in reports:
        held, wrong = boxes_of(report, image)
        boxes += held
        gathered.notes += wrong
    gathered.boxes[id_] = boxes


def _spell(gathered: Gathered) -> None:
    """One spelling a class, the commonest; the character that joins labels is no part of a name."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for boxes in gathered.boxes.values():
        for box in boxes:
            counts[box.name.casefold()][box.name.replace(SEPARATOR, "/")] += 1
    chosen = {key: min(count.items(), key=lambda each: (-each[1], each[0]))[0] for key, count in counts.items()}
    gathered.boxes = {id_: [replace(box, name=chosen[box.name.casefold()]) for box in boxes] for id_, boxes in gathered.boxes.items()}


def _few(notes: Sequence[str]) -> list[str]:
    """The first of many, and how many there are."""
    return list(notes) if len(notes) <= EXAMPLES else [*notes[:EXAMPLES], f"and {len(notes) - EXAMPLES} more of this kind: {named(notes[EXAMPLES:])}"]
