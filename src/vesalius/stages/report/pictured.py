"""The cases that tell most, with their pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vesalius.errors import RunError
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.summary import number
from vesalius.stages.report.texts import Both, name_of, say, worded

PICTURE_BYTES = 3_300_000
"""Pictures beyond this are left in the folder: as text they take a third more, and the page stays below 5 MB."""
ROLES = ("best", "worst", "uncertain")
MASK_ROLES = ("worst", "middle", "best")
BOX_ROLES = ("missed", "false", "found")
LIGHTER = 86
"""Quality of the JPEG that stands for a picture where the PNGs are too large together."""

Group = tuple[Both, tuple[dict[str, Any], ...]]


Picture = tuple[str, str | None]
"""A file in ``explain/`` and what it shows (None: the image itself)."""
Describe = Callable[[RunFacts, dict[str, Any]], dict[str, Any]]
"""The words of a case: ``lines``, and ``sign`` and ``right`` where it is right or wrong."""


def pictured(facts: RunFacts, roles: Sequence[str], describe: Describe) -> tuple[list[Group], int]:
    """The cases by role, and how many pictures were left in the folder because the page would grow too large."""
    small, left, dropped = _fits(facts), PICTURE_BYTES, 0
    groups: list[Group] = []
    for role in roles:
        shown = []
        for case in (warranted(facts, c) for c in facts.cases if c["role"] == role):
            pictures, size = _pictures(facts, case, left, small)
            dropped += len(wanted(case)) - len(pictures)
            left -= size
            if pictures:
                shown.append({"id": case["id"], "pictures": pictures} | describe(facts, case))
        if shown:
            groups.append((worded(f"role.{role}", facts.kind), tuple(shown)))
    return groups, dropped


def warranted(facts: RunFacts, case: dict[str, Any]) -> dict[str, Any]:
    """The case without the maps that failed their test (``trust.json``, ``explanations``); what was not tested stays."""
    tested = (facts.trust.get("explanations") or {}).get("methods") or {}
    return case | {"maps": [each for each in case.get("maps", []) if tested.get(each["method"], {}).get("shown", True)]}


def wanted(case: dict[str, Any]) -> list[Picture]:
    """The pictures of a case, in the order in which they are shown."""
    named = [(case[what], what) for what in ("overlay", "uncertainty") if case.get(what)]
    return [(case["image"], None), *named, *((m["file"], m["method"]) for m in case.get("maps", []))]


def _fits(facts: RunFacts) -> bool:
    """Whether all pictures find room as they are."""
    paths = [_path(facts, file) for case in facts.cases for file, _ in wanted(warranted(facts, case))]
    return sum(path.stat().st_size for path in paths if path.is_file()) <= PICTURE_BYTES


def _path(facts: RunFacts, file: str) -> Path:
    return facts.run / "explain" / Path(str(file)).name


def _pictures(facts: RunFacts, case: dict[str, Any], left: int, small: bool) -> tuple[list[dict[str, Any]], int]:
    """Pictures of a case as data URIs while there is room; only files that lie in ``explain/`` itself."""
    found, size = [], 0
    for file, method in wanted(case):
        path = _path(facts, file)
        if not path.is_file():
            continue
        data, kind = (path.read_bytes(), "png") if small else (_lighter(path), "jpeg")
        if len(data) + size > left:
            continue
        size += len(data)
        short = None if method is None else name_of("method", method)
        name = say("case.image", id=case["id"]) if short is None else say(_alt(method), method=short, id=case["id"])
        found.append({"uri": f"data:image/{kind};base64," + base64.b64encode(data).decode(), "alt": name, "short": short})
    return found, size


def small_picture(run: Path, file: str, alt: Both) -> dict[str, Any] | None:
    """A picture of ``explain/`` as a JPEG inside the page, beside those of the cases; None where it is absent."""
    path = run / "explain" / Path(str(file)).name
    if not path.is_file():
        return None
    return {"uri": "data:image/jpeg;base64," + base64.b64encode(_lighter(path)).decode(), "alt": alt, "short": None}


def _alt(method: str | None) -> str:
    return "case.view" if method in ("overlay", "largest", "whole", "uncertainty", "nearest") else "case.map"


def _lighter(path: Path) -> bytes:
    """The picture as JPEG, about a fifth of the PNG; colours are kept at full resolution, so that outlines stay sharp."""
    store = io.BytesIO()
    try:
        Image.open(path).convert("RGB").save(store, "JPEG", quality=LIGHTER, subsampling=0)
    except OSError as error:
        raise RunError("a picture of the run folder is damaged", where=path, got=str(error).partition("\n")[0], do="run 'vesalius fit' again") from error
    return store.getvalue()


def labelled_case(facts: RunFacts, case: dict[str, Any]) -> dict[str, Any]:
    """Truth, prediction and probability of an image as a whole; a value is neither right nor wrong."""
    right = None if facts.kind == "regression" else set(str(case["label"]).split("|")) == set(str(case["predicted"]).split("|"))
    lines = [say("case.truth", label=case["label"]), say("case.predicted", label=case["predicted"])]
    if case.get("probability") is not None:
        lines.append(say("case.p", p=f"{case['probability']:.3f}"))
    sign = None if right is None else say("case.right" if right else "case.wrong")
    return {"lines": lines, "right": right, "sign": sign}


def masked_case(facts: RunFacts, case: dict[str, Any]) -> dict[str, Any]:
    """The class that is worst in this case, and how bad it is."""
    lines = [say("case.class", name=case["class"]), say("case.dice", dice=number(case.get("dice")))]
    return {"lines": lines, "right": None, "sign": None}


def boxed_case(facts: RunFacts, case: dict[str, Any]) -> dict[str, Any]:
    """The class of a box, its score, and for what it was taken."""
    role, score, other = case["role"], case.get("score"), case.get("taken_for")
    lines = [say("boxcase.class", name=case["class"])]
    if score is not None:
        lines.append(say("boxcase.faint" if role == "missed" else "boxcase.score", score=number(score)))
    elif role == "missed":
        lines.append(say("boxcase.unseen"))
    if other:
        lines.append(say("boxcase.taken" if role == "missed" else "boxcase.truly", name=other))
    return {"lines": lines, "right": None, "sign": None}
