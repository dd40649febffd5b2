"""What is said of a study before a model reads it: whether the model should be used on it, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reason:
    """Why a study is refused, or what to be careful about (``refuses`` False), in English and Chinese."""

    code: str
    refuses: bool
    en: str
    zh: str

    def of(self, lang: str) -> str:
        """The sentence in a language."""
        return self.zh if lang == "zh" else self.en

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "refuses": self.refuses, "en": self.en, "zh": self.zh}


@dataclass(frozen=True)
class Fitness:
    """Whether a model should be used on one study.

    Parameters
    ----------
    refused: whether any reason refuses. reasons: those that refuse first.
    distance: how unlike the training images the study is: 0 is usual, 1 the bound beyond which it is refused; None where the model holds no statistics.
    statistics: what `stages.monitor` watches: numbers, and words such as the modality, by name; what a file does not say is absent.
    """

    refused: bool
    reasons: tuple[Reason, ...] = ()
    distance: float | None = None
    statistics: Mapping[str, float | str] = field(default_factory=dict)

    @classmethod
    def by(cls, reasons: list[Reason], distance: float | None = None, statistics: Mapping[str, float | str] | None = None) -> Fitness:
        """The judgement that these reasons give."""
        ordered = tuple(sorted(reasons, key=lambda reason: not reason.refuses))
        return cls(any(reason.refuses for reason in ordered), ordered, distance, statistics or {})

    def sentence(self, lang: str = "en") -> str:
        """Why it is refused, in one text; empty where it is not.

        >>> Fitness.by([Reason("empty", True, "Nothing is on it.", "影像为空。")]).sentence()
        'Nothing is on it.'
        """
        return " ".join(reason.of(lang) for reason in self.reasons if reason.refuses)

    def to_dict(self, *, forced: bool = False) -> dict[str, Any]:
        """Plain values for ``findings.json``; ``forced``: it was read although it is refused."""
        plain = {"refused": self.refused, "forced": forced and self.refused, "distance": None if self.distance is None else round(self.distance, 4)}
        return plain | {"reasons": [reason.to_dict() for reason in self.reasons], "statistics": dict(self.statistics)}
