"""The section that says what the model refuses to read, and from where on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vesalius.kernels.stats import wilson
from vesalius.stages.fitfor.header import FAR, STATED_SCALE, TOO_FAR
from vesalius.stages.fitfor.learn import TOLD
from vesalius.stages.fitfor.record import Bounds, FitFor
from vesalius.stages.fitfor.store import NEAREST
from vesalius.stages.fitfor.words import PLANES, WORDS
from vesalius.stages.report import tables
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.pictured import Group, small_picture
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import number
from vesalius.stages.report.tables import DASH, Table
from vesalius.stages.report.texts import Both, name_of, same, say

Row = tuple[Both, Both, Both]
ENOUGH_SAY = 0.95
"""`header.MOSTLY`: what fewer images say is not asked of others."""
WORDS_SHOWN = ("modality", "body_part", "view", "plane", "coloured", "bits")
NUMBERS_SHOWN = {"side": ".0f", "proportions": ".2f", "spacing_mm": ".3g"}
WARNS = ("view", "bits", "proportions")
"""Of what the files say, that which is told but never refuses."""


def refusals(facts: RunFacts) -> Section | None:
    """What studies must be like, the bounds of the distances, and the cases nearest to them; None where the model holds no statistics."""
    known = FitFor.load(facts.run)
    if known is None:
        return None
    lead = [say("fitfor.lead"), _seen(known), *_shares(known), say("fitfor.then")]
    shown = [_stated(known, _ways(facts))] + ([_bounds(known)] if known.bounds else [])
    return Section("refusals", tuple(lead), tables=tuple(shown), cases=tuple(_nearest(facts.run)))


def _ways(facts: RunFacts) -> tuple[str, ...]:
    """How the numbers of the file are read."""
    if facts.plan is None:
        return ()
    return tuple(facts.plan.get("input.schemes") or (facts.plan.get("input.window", ""),))


def _seen(known: FitFor) -> Both:
    facts = known.facts
    if not facts.get("judged"):
        return say("fitfor.few", n=known.header["n"])
    told = say("fitfor.seen", train=f"{facts['n_train']:,}", held=f"{facts['n_held']:,}")
    return _joined(told, say("fitfor.anyway")) if facts.get("any_way_up") else told


def _joined(*texts: Both) -> Both:
    return Both(" ".join(each.en for each in texts), "".join(each.zh for each in texts))


def _shares(known: FitFor) -> list[Both]:
    """How many of the validation images the model would refuse as unlike."""
    n = int(known.facts.get("n_held", 0))
    if not known.facts.get("judged") or not n:
        return []
    refused = known.facts.get("refused_apart")
    key = "fitfor.share" if refused is not None else "fitfor.share_own"
    count = int(refused) if refused is not None else round(n * float(known.facts["refused_held"]))
    low, high = wilson(count, n)
    return [say(key, share=f"{100 * count / n:.1f}", low=f"{100 * low:.1f}", high=f"{100 * high:.1f}", k=f"{count:,}", n=f"{n:,}")]


def _stated(known: FitFor, ways: tuple[str, ...]) -> Table:
    """What the files of the training images said, and what is done with a study that says otherwise."""
    rows: list[Row] = [(say("fitfor.form"), say(f"fitfor.axes{known.header['ndim']}"), say("fitfor.refused"))]
    rows += [_word(name, known) for name in WORDS_SHOWN if known.header["words"].get(name)]
    rows += [_number(name, known) for name in NUMBERS_SHOWN if known.header["numbers"].get(name)]
    rows += _intensity(known, ways)
    head = (say("fitfor.what"), say("fitfor.training"), say("fitfor.otherwise"))
    return tables.table("stated", say("fitfor.stated", n=f"{known.header['n']:,}"), head, rows, numeric=False)


def _word(name: str, known: FitFor) -> Row:
    counts = known.header["words"][name]
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [(_named(name, value), n) for value, n in ordered]
    shown = Both(", ".join(f"{word.en} ({n:,})" for word, n in parts), "、".join(f"{word.zh}（{n:,}）" for word, n in parts))
    warns = name in WARNS or (name == "plane" and known.header["ndim"] == 3)
    return name_of("fitfor", name), shown, _done(sum(counts.values()), known, "warned" if warns else "refused")


def _named(name: str, value: str) -> Both:
    if name == "coloured":
        return say(f"fitfor.coloured_{value}")
    return Both(value, PLANES.get(value, value))


def _number(name: str, known: FitFor) -> Row:
    n, low, high = known.header["numbers"][name]
    form = NUMBERS_SHOWN[name]
    least, most = format(low, form), format(high, form)
    return name_of("fitfor", name), same(least if least == most else f"{least} – {most}"), _done(n, known, f"{name}_bounds")


def _done(n: int, known: FitFor, key: str) -> Both:
    """What follows; nothing where too few of the training images said it."""
    if n < ENOUGH_SAY * known.header["n"]:
        return say("fitfor.unasked", n=f"{n:,}")
    return say(f"fitfor.{key}", far=f"{FAR:g}", too=f"{TOO_FAR:g}", ratio=f"{FAR**0.5:.1f}")


def _intensity(known: FitFor, ways: tuple[str, ...]) -> list[Row]:
    low, high = (known.header["numbers"].get(name) for name in ("low", "high"))
    if low is None or high is None:
        return []
    asked = bool(ways) and all(way in STATED_SCALE for way in ways)
    shown = same(f"{low[1]:.4g} – {high[2]:.4g}")
    return [(say("fitfor.values"), shown, _done(min(low[0], high[0]), known, "refused_beyond" if asked else "own_scale"))]


def _bounds(known: FitFor) -> Table:
    """The distances, then every alteration that was tried on the training images."""
    rows = [(name_of("fitfor", f"distance_{name}"), DASH, *_bound(known.bounds[name]), say("fitfor.refused")) for name in ("picture", "network")
            if name in known.bounds]
    for name, auroc in known.facts.get("altered", {}).items():
        code = "quarter-turn" if name == "quarter-turn-back" else name
        watched = name in known.bounds
        then = say("fitfor.refused" if WORDS[code][0] else "fitfor.warned") if watched else say("fitfor.untold", least=f"{TOLD:g}")
        rows.append((name_of("fitfor", name), same(number(auroc)), *(_bound(known.bounds[name]) if watched else (DASH,) * 3), then))
    head = tuple(say(f"fitfor.{key}") for key in ("measure", "auroc", "usual", "unusual", "bound", "beyond"))
    return tables.table("bounds", say("fitfor.bounds"), head, rows)


def _bound(bounds: Bounds) -> tuple[Both, Both, Both]:
    return same(number(bounds.usual)), same(number(bounds.warn)), same(number(bounds.refuse))


def _nearest(run: Path) -> list[Group]:
    """The validation cases that are most unlike the training images, side by side."""
    path = run / "explain" / NEAREST
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    pictures, names = [], []
    for row in rows:
        picture = small_picture(run, row["image"], say("case.image", id=row["id"]))
        if picture is not None:
            pictures.append(picture | {"short": say("fitfor.over" if row["distance"] > 1 else "fitfor.at", distance=f"{row['distance']:.2f}")})
            names.append(str(row["id"]))
    strip = {"id": " · ".join(names), "pictures": pictures, "lines": [say("fitfor.scale")], "right": None, "sign": None}
    return [(say("fitfor.nearest"), (strip,))] if pictures else []
