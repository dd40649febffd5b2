"""Every text of the report and of the model card, in English and Simplified Chinese: `FILES` hold them all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

FILES = ("texts.toml", "masks.toml", "boxes.toml", "decisions.toml", *sorted(path.name for path in Path(__file__).parent.glob("trust*.toml")))


class Both(NamedTuple):
    """One text in both languages.

    >>> Both("yes", "是").html()
    Markup('<span class="en" lang="en">yes</span><span class="zh" lang="zh-Hans">是</span>')
    """

    en: str
    zh: str

    def html(self) -> Markup:
        """Both as escaped HTML of which the page shows one; a text that is the same in both is written once."""
        if self.en == self.zh:
            return Markup(escape(self.en))
        return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(self.en, self.zh)

    def __html__(self) -> str:
        return str(self.html())

    @property
    def named(self) -> bool:
        """Whether it begins with a name whose small first letter stays small where texts begin with a capital.

        >>> same("mAP50").named, same("precision").named
        (True, False)
        """
        return self.en[:1].islower() and self.en[1:2].isupper()

    def of(self, lang: str) -> str:
        return self.zh if lang == "zh" else self.en


def same(text: object) -> Both:
    """A text that is the same in both languages: a number, a name of the user's."""
    return Both(str(text), str(text))


def say(key: str, **facts: Any) -> Both:
    """The text of that key with its facts; a fact may itself be `Both`."""
    en, zh = TEXTS[key]
    english = {k: v.en if isinstance(v, Both) else v for k, v in facts.items()}
    chinese = {k: v.zh if isinstance(v, Both) else v for k, v in facts.items()}
    return Both(en.format(**english), zh.format(**chinese))


def name_of(group: str, name: str) -> Both:
    """The word for a coded name (``metric.auc``, ``split.test`` ...), or the name itself when there is none.

    >>> name_of("split", "test").zh
    '测试集'
    """
    return say(f"{group}.{name}") if f"{group}.{name}" in TEXTS else same(name.replace("_", " "))


def read_texts() -> dict[str, tuple[str, str]]:
    """All texts by key, from the files beside this module."""
    found = [tomllib.loads(Path(__file__).with_name(file).read_text("utf-8")) for file in FILES]
    return {key: (en, zh) for texts in found for key, (en, zh) in texts.items()}


def worded(key: str, kind: str, **facts: Any) -> Both:
    """The text of that key in the words of a kind of target (``key.kind``) where it has some of its own.

    >>> worded("cap.labels", "mask") == worded("cap.labels", "binary")
    False
    """
    return say(f"{key}.{kind}" if f"{key}.{kind}" in TEXTS else key, **facts)


TEXTS = read_texts()
