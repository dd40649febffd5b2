"""The audit on a terminal."""

from __future__ import annotations

import io
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vesalius.stages.check.audit import Audit, Issue, label_counts

Lang = Literal["en", "zh"]
WIDTH = 110
NAMED = 3
MARKS = {"error": ("✗", "bold red"), "warning": ("!", "yellow"), "info": ("·", "dim")}
WORDS = {
    "en": {
        "data": "Data", "images": "Images", "patients": "Patients", "target": "Target", "labels": "Labels", "sizes": "Sizes", "left": "Left out",
        "none": "Nothing was found wrong.", "more": "and {} more", "each": "each image counts as one",
        "structure": "Structure", "cases": "Cases", "size": "Median size", "parts": "Median parts",
        "class": "Class", "boxes": "Boxes", "mm": "mm", "pixel": "pixels",
        "took": "{} images in {:.1f} s ({:.0f} a second)", "other": "{} other sizes",
    },
    "zh": {
        "data": "数据", "images": "影像", "patients": "患者", "target": "目标", "labels": "标签", "sizes": "尺寸", "left": "已排除",
        "none": "未发现问题。", "more": "另有 {} 个", "each": "每张影像视为一名患者",
        "structure": "结构", "cases": "病例数", "size": "中位大小", "parts": "中位连通区数", "class": "类别", "boxes": "标注框", "mm": "毫米", "pixel": "像素",
        "took": "{} 张影像,用时 {:.1f} 秒(每秒 {:.0f} 张)", "other": "其他 {} 种尺寸",
    },
}


def to_text(audit: Audit, lang: Lang = "en") -> str:
    """The audit as plain text, 110 columns wide."""
    held = io.StringIO()
    print_audit(audit, Console(file=held, width=WIDTH, color_system=None, highlight=False), lang)
    return held.getvalue().rstrip() + "\n"


def print_audit(audit: Audit, console: Console, lang: Lang = "en") -> None:
    """Print the audit to a rich console, in colour where the console has it."""
    words = WORDS[lang]
    table = Table.grid(padding=(0, 2))
    for name, value in summary(audit, lang):
        table.add_row(Text(name, "bold"), Text(value))
    console.print(table)
    console.print()
    if mask_rows(audit)[1]:
        console.print(_structures(audit, lang))
        console.print()
    for issue in audit.issues:
        console.print(_line(issue, lang))
    if not audit.issues:
        console.print(words["none"])
    speed = len(audit.cohort) / audit.seconds if audit.seconds else 0.0
    console.print(Text("\n" + words["took"].format(len(audit.cohort), audit.seconds, speed), "dim"))


def summary(audit: Audit, lang: Lang = "en") -> list[tuple[str, str]]:
    """Name and value of the facts at the head of every rendering."""
    words, cohort, facts = WORDS[lang], audit.cohort, audit.to_dict()
    target = cohort.target
    patients = str(facts["n_patients"]) if cohort.patient_known else words["each"]
    shapes = [f"{'x'.join(map(str, each['shape']))} ({each['n']})" for each in facts["sizes"][:NAMED]]
    more = [words["other"].format(len(facts["sizes"]) - NAMED)] if len(facts["sizes"]) > NAMED else []
    rows = [
        (words["data"], f"{cohort.root} ({cohort.layout})"), (words["images"], str(len(cohort))),
        (words["patients"], f"{patients}; {cohort.patient_evidence}" if cohort.patient_evidence else patients),
        (words["target"], f"{target.name}: {target.kind}" + (f" ({target.reason})" if target.reason else "")),
        (words["labels"], ", ".join(f"{name} {n:g}" if isinstance(n, float) else f"{name} {n}" for name, n in label_counts(cohort).items())),
        (words["sizes"], ", ".join(shapes + more)),
    ]
    return rows + ([(words["left"], str(len(audit.excluded)))] if audit.excluded else [])


def mask_rows(audit: Audit, lang: Lang = "en") -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of structures, or of classes of boxes; empty for other targets."""
    words = WORDS[lang]
    if audit.cohort.target.kind == "boxes":
        held = [[name, f"{facts['n']:,}", str(facts["images"]), "-" if facts["median_size"] is None else f"{facts['median_size']:,.4g} {words[facts['unit']]}"]
                for name, facts in audit.boxes().items()]
        return [words[key] for key in ("class", "boxes", "images", "size")], held
    if audit.cohort.target.kind != "mask":
        return [], []
    rows = [[name, str(facts["n_cases"]), "-" if facts["median_size"] is None else f"{facts['median_size']:,.4g} {facts['unit']}",
             "-" if facts["median_parts"] is None else f"{facts['median_parts']:g}"] for name, facts in audit.masks().items()]
    return [words[key] for key in ("structure", "cases", "size", "parts")], rows


def _structures(audit: Audit, lang: Lang) -> Table:
    heads, rows = mask_rows(audit, lang)
    table = Table(*heads, box=None, padding=(0, 2))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _line(issue: Issue, lang: Lang) -> Text:
    mark, style = MARKS[issue.severity]
    text = Text.assemble((f"{mark} ", style), issue.en if lang == "en" else issue.zh)
    if issue.files:
        rest = issue.n - NAMED
        names = ", ".join(issue.files[:NAMED]) + (f", {WORDS[lang]['more'].format(rest)}" if rest > 0 else "")
        text.append(f"\n    {names}", "dim")
    return text
