"""A plot as SVG that a page can style: colours are classes, texts are in both languages, no text becomes a path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from vesalius.stages.report.texts import Both, same

N_STYLES = 8
"""Series styles s0 .. s7 of the style sheet; each also has its own dash, so that colour is never the only sign."""
NOTHING = Markup("")


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About ``n`` round values within ``low`` .. ``high``.

    >>> ticks(0, 1), ticks(0, 37)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / n
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.9)
    first = math.ceil(low / step - 1e-9)
    return [round(float(i * step), 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(values: Iterable[float], pad: float = 0.06) -> tuple[float, float]:
    """The range of the finite values with a margin; never empty.

    >>> spread([1.0, float("nan"), 2.0], 0.5), spread([])
    ((0.5, 2.5), (0.0, 1.0))
    """
    finite = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return low - margin, high + margin


@dataclass
class Plot:
    """Axes with a range in data units, drawn into a view box of pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 420
    height: int = 340
    left: int = 58
    right: int = 16
    top: int = 14
    bottom: int = 52
    log_x: bool = False
    parts: list[Markup] = field(default_factory=list)

    def px(self, x: float) -> float:
        low, high = self.x
        share = math.log(x / low) / math.log(high / low) if self.log_x else (x - low) / (high - low)
        return round(self.left + share * (self.width - self.left - self.right), 2)

    def py(self, y: float) -> float:
        low, high = self.y
        return round(self.height - self.bottom - (y - low) / (high - low) * (self.height - self.top - self.bottom), 2)

    def axes(self, x_label: Both, y_label: Both, x_ticks: Sequence[float] | None = None) -> Plot:
        """Grid lines, tick values and axis labels."""
        for value in ticks(*self.y):
            self._line(self.left, self.py(value), self.width - self.right, self.py(value), "grid")
            self.text(self.left - 7, self.py(value) + 4, same(f"{value:g}"), "end")
        for value in ticks(*self.x) if x_ticks is None else x_ticks:
            self._line(self.px(value), self.height - self.bottom, self.px(value), self.height - self.bottom + 4, "axis")
            self.text(self.px(value), self.height - self.bottom + 18, same(f"{value:g}"), "middle")
        self._line(self.left, self.height - self.bottom, self.width - self.right, self.height - self.bottom, "axis")
        self.text((self.left + self.width - self.right) / 2, self.height - 10, x_label, "middle", "label")
        middle = (self.top + self.height - self.bottom) / 2
        self.text(14, middle, y_label, "middle", "label", Markup(' transform="rotate(-90 14 {})"').format(middle))
        return self

    def line(self, xs: Sequence[float], ys: Sequence[float], style: str) -> Plot:
        """A line through the points; a point that is not finite ends one piece and the next begins another."""
        pieces: list[list[str]] = [[]]
        for x, y in zip(xs, ys, strict=True):
            if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
                pieces.append([])
            else:
                pieces[-1].append(f"{self.px(x)},{self.py(y)}")
        for piece in pieces:
            if piece:
                self.parts.append(Markup('<polyline class="line {}" points="{}"/>').format(style, " ".join(piece)))
        return self

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: str) -> Plot:
        """The area between two curves."""
        there = [f"{self.px(x)},{self.py(y)}" for x, y in zip(xs, lows, strict=True)]
        back = [f"{self.px(x)},{self.py(y)}" for x, y in zip(xs, highs, strict=True)]
        self.parts.append(Markup('<polygon class="band {}" points="{}"/>').format(style, " ".join(there + back[::-1])))
        return self

    def dot(self, x: float, y: float, style: str, radius: float = 4.0) -> Plot:
        self.parts.append(Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}"/>').format(style, self.px(x), self.py(y), round(radius, 2)))
        return self

    def bar(self, x0: float, x1: float, y: float, style: str, y0: float = 0.0) -> Plot:
        """A filled rectangle from ``y0`` to ``y``."""
        left, right, top, bottom = self.px(x0), self.px(x1), self.py(max(y, y0)), self.py(min(y, y0))
        text = '<rect class="bar {}" x="{}" y="{}" width="{}" height="{}"/>'
        self.parts.append(Markup(text).format(style, left, top, round(max(right - left, 0.5), 2), round(bottom - top, 2)))
        return self

    def rule(self, x0: float, y0: float, x1: float, y1: float, style: str = "ideal") -> Plot:
        """A straight line in data units, e.g. the diagonal."""
        self._line(self.px(x0), self.py(y0), self.px(x1), self.py(y1), style)
        return self

    def _line(self, x0: float, y0: float, x1: float, y1: float, style: str) -> None:
        self.parts.append(Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(style, x0, y0, x1, y1))

    def text(self, x: float, y: float, text: Both, anchor: str = "start", style: str = "tick", more: Markup = NOTHING) -> Plot:
        """A text in pixels; one element a language, of which the page shows one."""
        shape = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}"{}>{}</text>')
        if text.en == text.zh:
            self.parts.append(shape.format(style, x, y, anchor, more, text.en))
            return self
        self.parts.append(shape.format(f"{style} en", x, y, anchor, more, text.en))
        self.parts.append(shape.format(f"{style} zh", x, y, anchor, more, text.zh))
        return self

    def svg(self, name: str) -> Markup:
        """The whole element; its words for a reader of the screen are the caption with the id ``cap-name``."""
        head = Markup('<svg class="plot" role="img" aria-labelledby="cap-{}" viewBox="0 0 {} {}" xmlns="http://www.w3.org/2000/svg">')
        return head.format(name, self.width, self.height) + Markup("").join(self.parts) + Markup("</svg>")
