"""The section of the paperwork."""

from __future__ import annotations

import json

import pytest

from vesalius.errors import RunError
from vesalius.stages.paperwork import paperwork
from vesalius.stages.report import RunFacts, read_run
from vesalius.stages.report.papersection import paperwork as section


def test_it_counts_the_items_and_names_the_folder(run_of):
    run = run_of("binary")
    before = section(read_run(run))
    assert before.code == "vesalius paperwork run" and before.tables == ()
    paperwork(run)
    made = section(read_run(run))
    (shown,) = made.tables
    assert [[cell.text.en for cell in row][:2] for row in shown.rows] == [["CLAIM 2024", "44"], ["TRIPOD+AI", "52"], ["STARD-AI", "48"]]
    assert all(sum(int(cell.text.en) for cell in row[2:]) == int(row[1].text.en) for row in shown.rows)
    assert "paperwork/" in made.lead[0].en and made.title.zh == "文书"


def test_it_says_whether_the_run_was_reproduced(run_of, tmp_path):
    run = run_of("binary")
    (run / "log" / "reproduced.json").write_text(json.dumps({"en": ["All the same."], "zh": ["完全一致。"]}))
    assert section(read_run(run)).lead[0] == ("All the same.", "完全一致。")
    (run / "log" / "reproduced.json").write_text("[")
    with pytest.raises(RunError, match=r"damaged \(.*reproduced.json\)"):
        section(read_run(run))
    assert section(RunFacts(tmp_path)) is None
