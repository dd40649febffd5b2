"""Sentences that a run keeps in English, in both languages: reasons of the plan, evidence, why cases were left out, notes on reading.

``plan.toml`` and ``audit.json`` keep one language. Each such sentence was made from a template of the code; `FILES` pair every template
with its Chinese, so that runs of any age are shown in both.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from vesalius.stages.report.texts import Both, same

FILES = ("reasons.toml", "readings.toml")
FRAGMENTS = "fragments.toml"
FACT = re.compile(r"{(\w+)}")
SENTENCES = ("why", "more")
"""Facts that are themselves sentences of `FILES`."""
JOINED = "; "
WIDE = {mark: chr(ord(mark) + 0xFEE0) for mark in ",:;?!()"}
"""Marks as Chinese sets them; half-width ones come from the audit's notes, which a terminal shows too."""
MARKS = ",:;?!"
CHINESE = re.compile(r"[\u4e00-\u9fff“”\uff09]")


class Template(NamedTuple):
    """An English sentence with facts, as a pattern, and its Chinese."""

    pattern: re.Pattern[str]
    chinese: str
    literal: int
    holds: bool

    def in_chinese(self, sentence: str) -> str | None:
        """The Chinese of a sentence of this template; None for another sentence, or where a sentence inside of it is unknown."""
        found = self.pattern.fullmatch(sentence)
        if found is None:
            return None
        facts = {name: _chinese(value) if name in SENTENCES else value for name, value in found.groupdict().items()}
        return None if None in facts.values() else self.chinese.format(**facts)


def reason(sentence: str) -> Both:
    """The sentence in both languages; in English alone where nobody has written its Chinese.

    >>> reason("of 42 prepared training images").zh
    '由 42 张预处理后的训练图像计算'
    >>> reason("asked for with --size, in multiples of 8").zh
    '按 --size 的要求，取 8 的整数倍'
    >>> reason("because").zh
    'because'
    """
    chinese = _chinese(sentence)
    return same(sentence) if chinese is None else Both(sentence, chinese)


def noted(note: dict[str, Any], evidence: str = "") -> Both:
    """A note of the audit or of the split (``en``, ``zh``); its Chinese may hold English: the ``evidence`` for the patient, or a whole note on reading.

    >>> noted({"en": "the channels are T1, T2", "zh": "the channels are T1, T2"}).zh
    '通道依次为 T1, T2'
    """
    english, chinese = str(note["en"]), str(note.get("zh") or note["en"])
    if english == chinese:
        chinese = reason(english).zh
        if english == chinese:
            return same(english)
    elif evidence:
        chinese = chinese.replace(evidence, reason(evidence).zh)
    for template in _fragments():
        chinese = template.pattern.sub(lambda found, made=template: made.chinese.format(**found.groupdict()), chinese)  # type: ignore[misc]
    return Both(english, _wide(chinese))


def _wide(chinese: str) -> str:
    """Marks after a Chinese character, and brackets that open after one, in full width."""
    made: list[str] = []
    closing: list[str] = []
    for mark in chinese:
        after = bool(made) and CHINESE.match(made[-1]) is not None
        if mark == "(":
            closing.append(WIDE[")"] if after else ")")
            mark = WIDE["("] if after else mark
        elif mark == ")" and closing:
            mark = closing.pop()
        if mark == " " and made and made[-1] in WIDE.values():
            continue
        made.append(WIDE[mark] if after and mark in MARKS else mark)
    return "".join(made)


def templates() -> tuple[Template, ...]:
    """All of them: those that hold a known sentence first, since they cannot take another's, then those that fix the most of theirs."""
    return _plain()[1]


def _chinese(sentence: str) -> str | None:
    """By its template; else, where sentences are joined, each by its own."""
    plain, patterns = _plain()
    if sentence in plain:
        return plain[sentence]
    found = next((chinese for template in patterns if (chinese := template.in_chinese(sentence)) is not None), None)
    return _of_parts(sentence) if found is None and JOINED in sentence else found


def _of_parts(sentence: str) -> str | None:
    head, _, rest = sentence.partition(JOINED)
    both = _chinese(head), _chinese(rest)
    return None if None in both else WIDE[";"].join(part for part in both if part)


@cache
def _fragments() -> tuple[Template, ...]:
    found = tomllib.loads(Path(__file__).with_name(FRAGMENTS).read_text("utf-8"))
    return tuple(_template(english, chinese) for english, chinese in found.items())


@cache
def _plain() -> tuple[dict[str, str], tuple[Template, ...]]:
    """Sentences without facts by themselves, and the templates."""
    pairs = {english: chinese for file in FILES for english, chinese in tomllib.loads(Path(__file__).with_name(file).read_text("utf-8")).items()}
    made = [_template(english, chinese) for english, chinese in pairs.items() if FACT.search(english)]
    return {e: c for e, c in pairs.items() if not FACT.search(e)}, tuple(sorted(made, key=lambda each: (not each.holds, -each.literal)))


def _template(english: str, chinese: str) -> Template:
    parts = FACT.split(english)
    text = [_fact(part) if i % 2 else re.escape(part) for i, part in enumerate(parts)]
    return Template(re.compile("".join(text), re.DOTALL), chinese, sum(map(len, parts[::2])), not set(SENTENCES).isdisjoint(parts[1::2]))


def _fact(name: str) -> str:
    """A single letter stands for a number, ``option`` for a word, anything else for any text."""
    kind = r"-?\d[\d.,]*(?:e[+-]?\d+)?" if len(name) == 1 else r"[\w-]+" if name == "option" else ".+?"
    return f"(?P<{name}>{kind})"
