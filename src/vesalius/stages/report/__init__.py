"""The report: one self-contained page in English and Chinese, made from the files of a run folder and nothing else."""

from __future__ import annotations

from pathlib import Path

from vesalius.errors import OptionError
from vesalius.stages.report.facts import RunFacts, read_run
from vesalius.stages.report.page import render
from vesalius.storage import atomic_write

__all__ = ["RunFacts", "read_run", "report"]

LANGUAGES = ("en", "zh")


def report(run: Path | str, lang: str = "en") -> Path:
    """Write ``RUN/report.html`` and return its path.

    Both languages are inside; ``lang`` is the one shown first. A file that the run folder lacks leaves out its
    section with a sentence why. The page needs no network and no script.

    Raises
    ------
    OptionError: another language. RunError: this is no run folder, a file of it is damaged, or it cannot be written.
    """
    if lang not in LANGUAGES:
        raise OptionError("there is no report in this language", expected="en or zh", got=lang)
    run = Path(run)
    page = render(read_run(run), lang)
    atomic_write(run / "report.html", page.encode())
    return run / "report.html"
