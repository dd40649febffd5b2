"""Vesalius: from a folder of medical images to a model and a report that can be believed.

The verbs are functions here; each is imported when it is first used, so that ``import vesalius`` is quick.

    vesalius.check(data)            what is here and what is wrong
    vesalius.fit(data, out)         the main job
    vesalius.report(run)            the page, again or in the other language
    vesalius.predict(run, data, out)
    vesalius.compare(run, other)    two runs on the same test, paired
    vesalius.evaluate_external(run, data)
    vesalius.reproduce(run)         the same fit again: do the numbers come out the same?
    vesalius.paperwork(run)         model card and checklists from the facts of the run
    vesalius.monitor(run, logs)     has what comes in changed since training?
    vesalius.deidentify(data, out)  images without the people in them
    vesalius.load(run)(study)       a Mapping: a study (or a path) in, a Finding out
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "check": ("vesalius.stages.check", "check"),
    "fit": ("vesalius.stages.fit", "fit"),
    "report": ("vesalius.stages.report", "report"),
    "compare": ("vesalius.stages.compare", "compare"),
    "evaluate_external": ("vesalius.stages.external", "evaluate_external"),
    "deidentify": ("vesalius.stages.deidentify", "deidentify"),
    "monitor": ("vesalius.stages.monitor", "monitor"),
    "paperwork": ("vesalius.stages.paperwork", "paperwork"),
    "reproduce": ("vesalius.stages.reproduce", "reproduce"),
    "predict": ("vesalius.stages.predict", "predict"),
    "load": ("vesalius.mapping", "load"),
    "Mapping": ("vesalius.mapping", "Mapping"),
    "Study": ("vesalius.core.study", "Study"),
    "Finding": ("vesalius.core.finding", "Finding"),
    "VesaliusError": ("vesalius.errors", "VesaliusError"),
}

__all__ = [
    "Finding", "Mapping", "Study", "VesaliusError", "__version__", "check", "compare", "deidentify", "evaluate_external", "fit", "load", "monitor",
    "paperwork", "predict", "report", "reproduce",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'vesalius' has no attribute '{name}'")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
