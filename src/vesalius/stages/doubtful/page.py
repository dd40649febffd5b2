"""``doubtful/index.html``: one file that shows doubtful cases with their pictures; the reader confirms or corrects and keeps a CSV file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from vesalius.stages.explain.pictures import png, scaled
from vesalius.storage import atomic_write

FOLDER, PAGE = "doubtful", "index.html"
EDGE, SMALL = 288, 96
"""Longer edge in pixels of a case and of a neighbour."""

WORDS: dict[str, dict[str, str]] = {
    name: {"en": en, "zh": zh}
    for name, en, zh in (
        ("title", "Doubtful labels", "存疑标签"),
        ("keys", "Keys: j / k next and previous, c confirm, 1-9 choose, u undo, s save.", "快捷键：j / k 下一例与上一例，c 确认，1-9 选择，u 撤销，s 保存。"),
        ("who", "Your name", "您的姓名"),
        ("save", "Save the table (s)", "保存表格 (s)"),
        ("count", "{n} of {all} answered", "已处理 {n} / {all}"),
        ("given", "as given", "原标签"),
        ("nothing", "nothing", "无"),
        ("told", "Given: {label} ({p}). Likelier: {other} ({q}).", "原标签：{label}（{p}）。更可能为：{other}（{q}）。"),
        ("sure", "named with conviction", "高度可疑"),
        ("near", "The most similar images of other patients and their labels:", "其他患者中最相似的影像及其标签："),
        ("value", "Corrected value", "更正后的数值"),
        ("split_train", "training image", "训练集影像"),
        ("split_validation", "validation image", "验证集影像"),
        ("split_test", "test image", "测试集影像"),
        ("right", "annotation is right", "标注正确"),
        ("redraw", "to be drawn again", "需重新标注"),
    )
}


@dataclass(frozen=True)
class Near:
    """A similar image of another patient; ``picture`` is a data URI."""

    id: str
    label: str
    picture: str


@dataclass(frozen=True)
class Shown:
    """One doubtful case of the page.

    Parameters
    ----------
    label: the given one. likelier: another one, None where there is none (then ``en`` and ``zh`` say what is doubted).
    p_label, p_likelier: their probabilities. options: labels to choose from (``right`` and ``redraw`` for masks and boxes).
    picture: a data URI. convinced: named with conviction.
    """

    id: str
    split: str
    label: str
    options: tuple[str, ...]
    picture: str
    likelier: str | None = None
    p_label: float | None = None
    p_likelier: float | None = None
    convinced: bool = False
    neighbours: tuple[Near, ...] = field(default_factory=tuple)
    en: str = ""
    zh: str = ""


def data_uri(rgb: np.ndarray, edge: int = EDGE) -> str:
    """A picture ``[Y, X, 3]`` uint8 with its longer edge of ``edge`` pixels, as it can stand in a page."""
    return "data:image/png;base64," + base64.b64encode(png(scaled(rgb, edge))).decode()


def write_page(run: Path, cases: Sequence[Shown], lead: dict[str, str], *, lang: str = "en", number: bool = False, marked: bool = False) -> Path:
    """Write ``RUN/doubtful/index.html``; it asks no server and works from the disk.

    Parameters
    ----------
    lead: what the page is about, ``en`` and ``zh``. number: the label is a number that can be typed.
    marked: masks or boxes: the page makes ``review.csv``, a list for whoever draws; else ``corrections.csv`` for the next ``fit``.

    Raises
    ------
    RunError: the folder cannot be written.
    """
    key = hashlib.sha256("\n".join(case.id for case in cases).encode()).hexdigest()[:12]
    facts: dict[str, Any] = {"cases": [asdict(case) for case in cases], "words": WORDS, "lead": lead, "lang": lang, "number": number, "marked": marked}
    facts |= {"key": key, "file": "review.csv" if marked else "corrections.csv"}
    script = Markup(Path(__file__).with_name("page.js").read_text("utf-8"))
    path = run / FOLDER / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, template().render(facts=facts, lang=lang, script=script).encode())
    return path


@cache
def template() -> Template:
    """Everything that comes from the data stands in one JSON element, escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html")
