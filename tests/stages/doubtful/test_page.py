"""The page stands alone, holds what the data says without running it, and offers the labels there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from vesalius.stages.doubtful.page import WORDS, Near, Shown, data_uri, write_page

EVIL = '</script><script>alert("x")</script>&.png'


def facts_of(path: Path) -> dict:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert found is not None
    return json.loads(found[1])


def test_names_from_the_data_are_data(tmp_path: Path) -> None:
    picture = data_uri(np.zeros((8, 8, 3), np.uint8))
    case = Shown(EVIL, "test", "ill", ("well", "ill"), picture, "well", 0.1, 0.9, True, (Near("n.png", "well", picture),))
    path = write_page(tmp_path, [case], {"en": "Lead.", "zh": "说明。"})
    text = path.read_text("utf-8")
    assert path == tmp_path / "doubtful" / "index.html" and "alert(" in text and '<script>alert("x")' not in text
    facts = facts_of(path)
    assert facts["cases"][0]["id"] == EVIL and facts["cases"][0]["options"] == ["well", "ill"] and facts["file"] == "corrections.csv"
    assert facts["cases"][0]["neighbours"][0]["picture"].startswith("data:image/png;base64,")


def test_it_asks_no_server(tmp_path: Path) -> None:
    text = write_page(tmp_path, [], {"en": "None.", "zh": "无。"}).read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text) and "fetch(" not in text and "http" not in text


def test_every_text_has_both_languages_and_is_used() -> None:
    script = (Path(__file__).parents[3] / "src/vesalius/stages/doubtful/page.js").read_text("utf-8")
    page = (Path(__file__).parents[3] / "src/vesalius/stages/doubtful/page.html").read_text("utf-8")
    for name, word in WORDS.items():
        assert word["en"] and word["zh"]
        held = name in ("right", "redraw") or name.startswith("split_") or f'say("{name}"' in script or f'data-say="{name}"' in page
        assert held, f"{name} is not used"


def test_masks_are_reviewed_not_corrected(tmp_path: Path) -> None:
    case = Shown("a.nii.gz", "validation", "", ("right", "redraw"), data_uri(np.zeros((4, 4, 3), np.uint8)), en="Dice 0.1", zh="Dice 0.1")
    assert facts_of(write_page(tmp_path, [case], {"en": "", "zh": ""}, marked=True))["file"] == "review.csv"
