"""Which kind of heat map a model may show where nobody asks for one by name: one that passed its test after the fit."""

from __future__ import annotations

import json

from vesalius.mapping import Mapping
from vesalius.stages.explain.base import EXPLANATIONS

DEFAULT = "gradcam"
RECORD = ("explain", "warrant.json")


def trusted_map(mapping: Mapping) -> str | None:
    """The name in ``EXPLANATIONS`` of the first kind of map that passed (those shown by default first), read from the record beside the model folder.

    Grad-CAM for a model without such a record, and where Grad-CAM itself was not tested. None where every kind that was tested failed: then no map is shown.
    """
    path = mapping.folder.parent.joinpath(*RECORD) if mapping.folder is not None else None
    if path is None or not path.is_file():
        return DEFAULT
    record = json.loads(path.read_text("utf-8"))
    methods = {name: each for name, each in record.get("methods", {}).items() if name in EXPLANATIONS}
    if methods.get(DEFAULT, {"shown": True})["shown"]:
        return DEFAULT
    ordered = [*record.get("by_default", []), *methods]
    return next((name for name in ordered if methods.get(name, {}).get("shown") and methods[name].get("tested", True)), None)
