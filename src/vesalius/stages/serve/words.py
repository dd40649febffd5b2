"""What goes wrong, with a stable code and in the reader's language; the texts of both languages lie side by side in ``words.toml``.

Errors are raised in English by parts that know of no reader. Here their texts are found again, with what fills their gaps.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesalius.errors import VesaliusError

TABLE = Path(__file__).with_name("words.toml")
GAP = re.compile(r"\{(\w+)\}")
LANGUAGES = ("en", "zh")
NUMBER = r"[-+.,\d()\[\]x% ]*\d[-+.,\d()\[\]x% ]*(?: [KMGT]?B)?"
GAPS = dict.fromkeys(("n", "m", "k", "all", "most", "mm", "s", "depth", "bits", "row"), NUMBER) | {"word": r"\S+", "other": r"\S+", "syntax": r"[^(]+"}
"""What a gap of that name takes; any other takes anything. A library's own words must not look like one of our sentences."""
SENTENCE = re.compile(r"(?P<what>.+?)(?: \([^()]*\))?(?:: (?:expected (?P<expected>.+?))?(?:(?:, )?got (?P<got>.+?))?)?(?:; (?P<do>.+))?", re.DOTALL)
"""As `VesaliusError` writes it."""


@dataclass(frozen=True)
class _Text:
    """One English text with gaps, its translation and what it is called."""

    name: str
    en: str
    zh: str

    @property
    def pattern(self) -> re.Pattern[str]:
        parts = GAP.split(self.en)
        return re.compile("".join(f"(?P<{part}>{GAPS.get(part, '.+')})" if n % 2 else re.escape(part) for n, part in enumerate(parts)), re.DOTALL)


class _Texts:
    """Finds the text that an English sentence was made of: the one whose fixed words are the longest."""

    def __init__(self, texts: Iterable[_Text]) -> None:
        held = list(texts)
        self.plain = {each.en: each for each in held if not GAP.search(each.en)}
        gapped = sorted((each for each in held if GAP.search(each.en)), key=lambda each: -len(GAP.sub("", each.en)))
        self.gapped = [(each.pattern, each) for each in gapped]

    def find(self, said: str) -> tuple[_Text, dict[str, str]] | None:
        if said in self.plain:
            return self.plain[said], {}
        return next(((each, found.groupdict()) for pattern, each in self.gapped if (found := pattern.fullmatch(said))), None)


def _read() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text("utf-8"))


_held = _read()
STATUS: dict[int, tuple[str, str, str]] = {int(status): tuple(row) for status, row in _held["status"].items()}
"""By HTTP status: code and title (English, Chinese) of what has no words of its own."""
_WHAT = _Texts(_Text(code, en, zh) for code, (en, zh) in _held["what"].items())
_FACTS = _Texts(_Text(en, en, zh) for en, zh in _held["facts"].items())
UNKNOWN = "error"


@dataclass(frozen=True)
class Said:
    """One reason: a code that stays the same whatever the language, and the sentence in both."""

    code: str
    en: str
    zh: str

    def of(self, lang: str) -> str:
        """The sentence in a language."""
        return self.zh if lang == "zh" else self.en

    def to_dict(self) -> dict[str, str]:
        return {"code": self.code, "en": self.en, "zh": self.zh}


def what(said: str, status: int | None = None) -> Said:
    """The code and the words of what went wrong, also where a whole sentence of an error was kept, whose place is then left out. A text that nobody entered
    (of an extension) stays English behind the title of its status.

    >>> what("the file is empty").to_dict()
    {'code': 'empty-file', 'en': 'the file is empty', 'zh': '文件为空'}
    """
    found = _WHAT.find(said)
    if found is not None:
        return Said(found[0].name, said, _filled(*found))
    whole = SENTENCE.fullmatch(said)
    if whole is not None and whole["what"] != said and _WHAT.find(whole["what"]) is not None:
        return sentence(VesaliusError(whole["what"], expected=whole["expected"], got=whole["got"], do=whole["do"]))
    code, _, zh = STATUS.get(status or 0, (UNKNOWN, "", "出错"))
    return Said(code, said, f"{zh}（{said}）")


def fact(said: str, lang: str = "zh") -> str:
    """What was expected, what came or what to do; numbers and names stay as they are.

    >>> fact("at most 64 waiting"), fact("at most 64 waiting", "en")
    ('最多 64 个等待', 'at most 64 waiting')
    """
    found = _FACTS.find(said) if lang == "zh" else None
    return said if found is None else _filled(*found)


def _filled(text: _Text, gaps: Mapping[str, str]) -> str:
    return GAP.sub(lambda gap: fact(gaps[gap[1]]), text.zh)


def sentence(error: VesaliusError) -> Said:
    """The whole error but for its place, as one sentence.

    >>> from vesalius.errors import FormatError
    >>> sentence(FormatError("the file is empty", expected="an image", got="0 bytes", do="leave it out")).zh
    '文件为空：应为影像，实为 0 字节；请将其排除'
    """
    told = what(error.what)
    given = (("应为", error.expected), ("实为", error.got))
    facts = "，".join(_after(word, fact(str(value))) for word, value in given if value is not None)
    zh = told.zh + (f"：{facts}" if facts else "") + (f"；{fact(error.do)}" if error.do else "")
    en = str(VesaliusError(error.what, expected=error.expected, got=error.got, do=error.do))
    return Said(told.code, en, zh)


def _after(word: str, text: str) -> str:
    """Latin letters and digits stand apart from Chinese ones."""
    return f"{word} {text}" if text[:1].isascii() else word + text


def language_of(scope: Mapping[str, Any]) -> str:
    """``?lang=`` of the address, else the better one of ``Accept-Language`` (RFC 9110 12.5.4), else English.

    >>> language_of({"query_string": b"", "headers": [(b"accept-language", b"fr, zh-CN;q=0.8, en;q=0.5")]})
    'zh'
    """
    asked = re.search(r"(?:^|&)lang=(\w+)", scope.get("query_string", b"").decode("latin-1"))
    if asked and asked[1].lower() in LANGUAGES:
        return asked[1].lower()
    header = next((value.decode("latin-1") for name, value in scope.get("headers", ()) if name.lower() == b"accept-language"), "")
    ranked = sorted((-_quality(part), n, part.strip()[:2].lower()) for n, part in enumerate(header.split(",")) if part.strip()[:2].lower() in LANGUAGES)
    return ranked[0][2] if ranked and ranked[0][0] < 0 else "en"


def _quality(part: str) -> float:
    """The weight of one language range, 1 where none is stated or it is no number."""
    stated = re.search(r";\s*q=([01](?:\.\d{0,3})?)\s*$", part)
    return float(stated[1]) if stated else 1.0
