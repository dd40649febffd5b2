"""The one place that says what the page of a kind of target shows: its sections and its large numbers."""

from __future__ import annotations

from dataclasses import dataclass

from vesalius.stages.report import (
    boxsections,
    keys,
    masksections,
    papersection,
    sections,
    trust_attention,
    trust_conformal,
    trust_doubtful,
    trust_explanations,
    trust_fitfor,
    trust_leak,
    trust_robustness,
    trust_selective,
    trust_shortcuts,
    trust_sites,
    trust_subgroups,
)
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.keys import Key
from vesalius.stages.report.sections import Maker, Section


@dataclass(frozen=True)
class Layout:
    """Sections in the order of the page, and the numbers above them."""

    sections: tuple[Maker, ...]
    keys: tuple[keys.Maker, ...]


TRUST = (
    trust_leak.leak, trust_shortcuts.shortcuts, trust_attention.attention, trust_explanations.explanations, trust_robustness.robustness,
    trust_sites.sites, trust_subgroups.subgroups, trust_subgroups.noise, trust_conformal.conformal, trust_selective.selective, trust_doubtful.doubtful,
    trust_fitfor.refusals,
)
"""Can this number be believed? Each is there when ``trust.json`` has its part; the last when the model remembers its training images."""
HEAD = (sections.results, sections.curves)
TAIL = (
    sections.baselines, *TRUST, sections.cases, sections.data, sections.split, sections.ranking, sections.training, sections.datasize, sections.plan,
    sections.model, papersection.paperwork, sections.environment,
)
NUMBERS = (keys.main, keys.gain, keys.size, keys.calibration)
ONE_CLASS = Layout((*HEAD, sections.confusion, sections.classes, *TAIL), NUMBERS)
LAYOUTS = {
    "multilabel": Layout((*HEAD, sections.classes, *TAIL), NUMBERS),
    "regression": Layout((*HEAD, *TAIL), NUMBERS),
    "mask": Layout(
        (
            masksections.results, masksections.classes, masksections.cases, masksections.sizes, masksections.uncertainty, masksections.baselines,
            *TRUST, masksections.data, sections.split, sections.ranking, masksections.training, masksections.datasize, sections.plan, sections.model,
            papersection.paperwork, sections.environment,
        ),
        (keys.main, keys.crossed, keys.surface, keys.distance, keys.lesions, keys.gain, keys.size),
    ),
    "boxes": Layout(
        (
            boxsections.results, boxsections.classes, boxsections.cases, boxsections.counting, boxsections.scores, boxsections.baselines,
            *TRUST, boxsections.data, sections.split, sections.ranking, boxsections.training, masksections.datasize, sections.plan, sections.model,
            papersection.paperwork, sections.environment,
        ),
        (keys.main, keys.crossed, keys.found, keys.counted, keys.risk, keys.gain, keys.size),
    ),
}
"""By kind; every other kind gives one class to an image."""


def layout_of(kind: str) -> Layout:
    return LAYOUTS.get(kind, ONE_CLASS)


def sections_of(facts: RunFacts) -> list[Section]:
    """All sections of this run in the order of the page; those that have no meaning here are absent."""
    return [made for make in layout_of(facts.kind).sections if (made := make(facts)) is not None]


def keys_of(facts: RunFacts) -> list[Key]:
    """The large numbers that this run has."""
    return [made for make in layout_of(facts.kind).keys if (made := make(facts)) is not None]
