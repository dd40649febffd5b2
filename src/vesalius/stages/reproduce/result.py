"""What a re-run says: one verdict, what differs, and sentences in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vesalius.stages.report.summary import number
from vesalius.stages.report.texts import Both, name_of
from vesalius.stages.reproduce.compare import Change, Compared, Version, Weights

Verdict = Literal["same", "same figures", "inside", "different"]
EXIT = {"same": 0, "same figures": 0, "inside": 3, "different": 1}
"""What the command line leaves with; 2 is an error."""
TOLD = 5
SAYS = {
    "same": ("The same numbers came out: all {n} weights have the same bits and all {k} figures are equal.",
             "结果完全一致：全部 {n} 个权重逐位相同，{k} 项指标全部相等。"),
    "same figures": ("The same figures came out: all {k} are equal, though the weights differ by at most {largest}.",
                     "指标一致：{k} 项指标全部相等，但权重最多相差 {largest}。"),
    "inside": ("The numbers are not the same, but each of the {k} figures lies inside the interval that the first run stated.",
               "数值不完全相同，但 {k} 项指标均落在首次运行给出的置信区间内。"),
    "different": ("Other numbers came out: {k} of the figures lie outside the interval that the first run stated, or have no counterpart.",
                  "结果不同：有 {k} 项指标超出首次运行给出的置信区间，或没有对应项。"),
    "figure": ("{metric} ({part}): {before}, now {now}; the interval was {low} to {high}.",
               "{metric}（{part}）：原为 {before}，现为 {now}；原区间为 {low} 至 {high}。"),
    "bare": ("{metric} ({part}): {before}, now {now}.", "{metric}（{part}）：原为 {before}，现为 {now}。"),
    "part.test": ("test", "测试集"), "part.validation": ("validation", "验证集"), "part.cross_validation": ("cross-validation", "交叉验证"),
    "weights": ("The weights differ by at most {largest}.", "权重最多相差 {largest}。"),
    "tensors": ("The networks have other tensors than before.", "网络的张量与之前不同。"),
    "versions": ("Other than in the first run: {list}.", "与首次运行不同之处：{list}。"),
    "alike": ("Versions, system and machine are those of the first run.", "软件版本、系统和机器与首次运行一致。"),
    "data": ("The data are not the same: {n} images changed, e.g. {example}.", "数据已改变：{n} 张图像有变化，例如 {example}。"),
    "data.same": ("The data are the same: {n} images, hash {hash}.", "数据一致：{n} 张图像，哈希值 {hash}。"),
    "version": ("{name} {now} (was {before})", "{name} {now}（原为 {before}）"),
    "change.gone": ("{id} is gone", "{id} 已不存在"), "change.new": ("{id} is new", "{id} 为新增"),
    "change.content": ("the content of {id} is another", "{id} 的内容已改变"),
    "change.label": ("{id} was '{before}' and is '{now}'", "{id} 的标签由“{before}”变为“{now}”"),
    "change.patient": ("{id} was of patient '{before}' and is of '{now}'", "{id} 的患者由“{before}”变为“{now}”"),
    "change.split": ("{id} was in {before} and is in {now}", "{id} 由 {before} 变为 {now}"),
}


def tell(key: str, **facts: Any) -> Both:
    """A text in both languages; a fact may itself be `Both`."""
    en, zh = SAYS[key]
    english, chinese = ({k: v[i] if isinstance(v, Both) else v for k, v in facts.items()} for i in (0, 1))
    return Both(en.format(**english), zh.format(**chinese))


def told_change(change: Change) -> Both:
    """A change in words."""
    return tell(f"change.{change.kind}", id=change.id, before=change.before, now=change.now)


@dataclass(frozen=True)
class Reproduced:
    """The answer of `reproduce`.

    Parameters
    ----------
    run, out: the first run and the new one. changes: images that are not as they were (empty unless ``anyway``).
    versions: packages, Python, system, machine that are others. figures: every figure of both.
    """

    run: Path
    out: Path
    data_hash: str
    n_images: int
    changes: tuple[Change, ...]
    versions: tuple[Version, ...]
    weights: Weights
    figures: tuple[Compared, ...]

    @property
    def verdict(self) -> Verdict:
        """``same`` (weights and figures), ``same figures``, ``inside`` their intervals, or ``different``."""
        if all(each.state == "equal" for each in self.figures):
            return "same" if self.weights.same else "same figures"
        return "inside" if all(each.state in ("equal", "inside") for each in self.figures) else "different"

    @property
    def exit_code(self) -> int:
        """0: the same; 3: not the same, yet inside the intervals; 1: different, or other data."""
        return 1 if self.changes else EXIT[self.verdict]

    @property
    def sentences(self) -> list[Both]:
        """The answer in words: the data, the verdict, which figures differ, which versions differ."""
        return [self._data(), self._verdict(), *self._figures(), *self._weights(), self._versions()]

    def text(self, lang: str = "en") -> str:
        """The sentences, one a line."""
        return "\n".join(each.of(lang) for each in self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``reproduced.json``."""
        return {
            "schema": 1, "run": str(self.run), "out": str(self.out), "verdict": self.verdict, "exit_code": self.exit_code, "data_hash": self.data_hash,
            "n_images": self.n_images, "changes": [asdict(each) for each in self.changes], "versions": [asdict(each) for each in self.versions],
            "weights": asdict(self.weights), "figures": [each.to_dict() for each in self.figures],
            "en": [each.en for each in self.sentences], "zh": [each.zh for each in self.sentences],
        }

    def _data(self) -> Both:
        if self.changes:
            return tell("data", n=len(self.changes), example=told_change(self.changes[0]))
        return tell("data.same", n=f"{self.n_images:,}", hash=self.data_hash)

    def _verdict(self) -> Both:
        apart = [each for each in self.figures if each.state not in ("equal", "inside")]
        k = len(apart) if self.verdict == "different" else len(self.figures)
        return tell(self.verdict, n=f"{self.weights.n:,}", k=k, largest=_small(self.weights.largest))

    def _figures(self) -> list[Both]:
        grave = ("outside", "unbounded", "absent", "inside")
        apart = sorted((each for each in self.figures if each.state != "equal"), key=lambda each: grave.index(each.state))
        return [_told_figure(each) for each in apart[:TOLD]]

    def _weights(self) -> list[Both]:
        if self.weights.same or self.verdict == "same figures":
            return []
        return [tell("tensors") if self.weights.largest is None else tell("weights", largest=_small(self.weights.largest))]

    def _versions(self) -> Both:
        if not self.versions:
            return tell("alike")
        return tell("versions", list=joined([tell("version", **asdict(each)) for each in self.versions]))


def _told_figure(each: Compared) -> Both:
    numbers = {k: _exact(getattr(each, k)) for k in ("before", "now", "low", "high")}
    key = "figure" if each.low is not None and each.high is not None else "bare"
    return tell(key, metric=name_of("metric", each.name), part=tell(f"part.{each.part}"), **numbers)


def _exact(value: float | None) -> str:
    """More digits than a report shows: here a small difference is the point."""
    return "–" if value is None else f"{value:.6g}"


def _small(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if value < 1e-3 else number(value)


def joined(texts: Sequence[Both]) -> Both:
    """A list in both languages."""
    return Both("; ".join(each.en for each in texts), "；".join(each.zh for each in texts))
