"""Write the paperwork of a finished run: ``RUN/paperwork``."""

from __future__ import annotations

from pathlib import Path

from vesalius.errors import OptionError, RunError
from vesalius.stages.paperwork.lists import all_filled
from vesalius.stages.paperwork.page import card_markdown, checklist_markdown, checklists_html
from vesalius.stages.report import LANGUAGES, read_run
from vesalius.storage import atomic_json, atomic_write

NAME = "paperwork"


def paperwork(run: str | Path, lang: str = "en") -> Path:
    """Write the model card and the checklists CLAIM 2024, TRIPOD+AI and STARD-AI, and return their folder.

        RUN/paperwork/model_card.md                       both languages
                      claim-2024.en.md  claim-2024.zh.md  and so on for tripod-ai, stard-ai
                      checklists.html                     all three, self-contained, both languages; ``lang`` is shown first
                      paperwork.json                      {"schema", "checklists": {NAME: {"n", "filled", "partly", "gap", "items"}}}

    An item is answered by facts of the run with the file that states them; what a run cannot know is left open.

    Raises
    ------
    OptionError: another language. RunError: this is no finished run, a file of it is damaged, or it cannot be written.
    """
    if lang not in LANGUAGES:
        raise OptionError("there is no paperwork in this language", expected="en or zh", got=lang)
    run = Path(run)
    facts = read_run(run)
    if not facts.metrics:
        raise RunError("the run has no figures yet", where=run, expected="metrics.json", got="nothing", do="let 'vesalius fit' finish first")
    folder, found = run / NAME, all_filled(facts)
    atomic_write(folder / "model_card.md", card_markdown(facts).encode())
    for each in found:
        for language in LANGUAGES:
            atomic_write(folder / f"{each.key}.{language}.md", checklist_markdown(each, language).encode())
    atomic_write(folder / "checklists.html", checklists_html(facts, found, lang).encode())
    atomic_json(folder / "paperwork.json", {"schema": 1, "checklists": {each.key: each.to_dict() for each in found}})
    return folder
