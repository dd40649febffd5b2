"""Short pages of their own: two runs compared, another hospital's set scored. English and Chinese inside, nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vesalius.errors import OptionError
from vesalius.stages.report.summary import number, signed
from vesalius.stages.report.tables import DASH, Table, table
from vesalius.stages.report.texts import Both, name_of, same, say

LANGUAGES = ("en", "zh")
MARKS = {"error": "⚠ ", "warning": "⚠ "}


def brief_page(title: Both, lead: Sequence[Both], tables: Sequence[Table], lang: str = "en") -> str:
    """A page with a title, sentences and tables; ``lang`` is the language it opens in.

    Raises
    ------
    OptionError: another language.
    """
    if lang not in LANGUAGES:
        raise OptionError("there is no page in this language", expected="en or zh", got=lang)
    here = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = Markup((here / "style.css").read_text("utf-8"))
    return environment.get_template("brief.html").render(title=title, lead=lead, tables=tables, lang=lang, style=style, say=say)


def told(sentences: Sequence[Mapping[str, str]]) -> list[Both]:
    """The sentences of a record; grave ones are marked."""
    return [Both(MARKS.get(row["severity"], "") + row["en"], MARKS.get(row["severity"], "") + row["zh"]) for row in sentences]


def interval(row: Mapping[str, Any], form: Any = number) -> Both:
    """A figure with its interval; the figure alone where it has none, a dash where it is undefined."""
    if row.get("value") is None:
        return DASH
    if row.get("low") is None or row.get("high") is None:
        return same(form(row["value"]))
    return same(f"{form(row['value'])} ({form(row['low'])} … {form(row['high'])})")


def difference(row: Mapping[str, Any]) -> Both:
    """A signed difference with its interval."""
    return interval(row, signed)


def compare_page(record: Mapping[str, Any], lang: str = "en") -> str:
    """The page of `stages.compare.compare`."""
    first, second = (run["name"] for run in record["runs"])
    rows = [(name_of("metric", name), same(number(row["first"])), same(number(row["second"])), difference(row), same(number(row["p"])))
            for name, row in _primary_first(record)]
    head = (say("col.figure"), same(first), same(second), say("pair.difference"), say("pair.p"))
    caption = say("pair.caption", n=f"{record['n_images']:,}", p=f"{record['n_patients']:,}")
    return brief_page(say("pair.title", first=first, second=second), told(record["sentences"]), [table("figures", caption, head, rows)], lang)


def _primary_first(record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(record["figures"].items(), key=lambda item: item[0] != record["metric"])


def compare_text(record: Mapping[str, Any], lang: str = "en") -> str:
    """The same for a terminal: the sentences, then a line a figure."""
    lines = [row[lang] for row in record["sentences"]] + [""]
    names = [run["name"] for run in record["runs"]]
    lines.append(f"{'':22}{names[0][:12]:>13}{names[1][:12]:>13}   {say('pair.difference').of(lang)}")
    for name, row in _primary_first(record):
        lines.append(f"{name_of('metric', name).of(lang)[:21]:22}{number(row['first']):>13}{number(row['second']):>13}   {difference(row).en}")
    return "\n".join(lines)
