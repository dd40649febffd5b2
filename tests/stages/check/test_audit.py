"""The audit as a whole: its record, its refusals, its renderings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from stages.cohorts import audit, case, cohort, picture, save
from vesalius.core.target import TargetSpec
from vesalius.errors import DataError, LabelError, TooFewError
from vesalius.stages.check import Audit, audit_cohort, check, to_html, to_text
from vesalius.storage import plain


@pytest.fixture
def faulty(tmp_path: Path) -> Audit:
    cases = [case(save(tmp_path, f"图 {i}.png", picture(i)), "ill" if i % 2 else "well", f"p{i}") for i in range(12)]
    cases += [case(save(tmp_path, "twin.png", picture(3)[::-1]), "well", "p3"), case(save(tmp_path, "<b>.png", np.zeros((5, 5), np.uint8)), "ill")]
    (tmp_path / "empty.png").write_bytes(b"")
    return audit_cohort(cohort([*cases, case(tmp_path / "empty.png", "ill"), case(save(tmp_path, "x.png", picture(50)), None)]))


def test_the_record_has_the_names_that_are_promised(faulty: Audit) -> None:
    facts = json.loads(json.dumps(plain(faulty.to_dict())))
    promised = {
        "schema", "root", "layout", "n_images", "n_patients", "target", "label_counts", "patient_evidence", "patient_known", "sizes", "modalities",
        "bits", "issues", "duplicates", "n_clusters", "crossing", "seconds",
    }
    assert promised <= set(facts)
    assert (facts["n_images"], facts["n_clusters"], facts["schema"]) == (16, 1, 1)
    assert facts["sizes"][0] == {"shape": [64, 64], "n": 14} and facts["bits"] == {"8 bit grey": 15}
    assert facts["crossing"] == {"patients": 0, "labels": 1, "splits": 0}
    assert set(facts["issues"][0]) == {"code", "severity", "en", "zh", "files", "n"}
    assert [issue["severity"] for issue in facts["issues"]] == sorted((issue["severity"] for issue in facts["issues"]), key=["error", "warning", "info"].index)


def test_what_cannot_be_used_is_left_out_with_its_reason(faulty: Audit) -> None:
    assert faulty.excluded == {"<b>.png": "constant image", "empty.png": "empty file", "x.png": "no label"}
    assert len(faulty.usable()) == 13 and len(faulty.hashes["twin.png"]) == 64


def test_the_terminal_shows_every_finding_in_both_languages(faulty: Audit) -> None:
    for lang in ("en", "zh"):
        text = "".join(to_text(faulty, lang).split())  # type: ignore[arg-type]
        for issue in faulty.issues:
            assert "".join((issue.en if lang == "en" else issue.zh).split()) in text
        assert "twin.png" in text
    assert max(map(len, to_text(faulty).splitlines())) <= 110


def test_the_page_is_self_contained_safe_and_bilingual(faulty: Audit) -> None:
    page = to_html(faulty)
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert "&lt;b&gt;.png" in page and "<b>.png" not in page
    assert all(issue.en in page or issue.severity == "info" for issue in faulty.issues) and "重复影像" in page
    assert page.count("data:image/png;base64,") >= 3  # two of the pair, one constant
    assert 'data-lang="zh"' in to_html(faulty, "zh").split("<h1>")[0].split("<body")[1]


def test_check_recognises_and_audits_and_tells_its_progress(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path, f"{'ab'[i % 2]}/{i}.png", picture(i))
    seen: list[str] = []
    found = check(str(tmp_path), progress=lambda done, total, what: seen.append(what))
    assert len(found.cohort) == 12 and found.excluded == {} and set(seen) == {"reading", "near duplicates"}
    found.raise_if_hopeless()


def test_a_sound_cohort_is_let_through() -> None:
    audit(["ill", "well"] * 10).raise_if_hopeless()
    audit([str(i) for i in range(20)], target=TargetSpec("regression", ())).raise_if_hopeless()
    audit(["a|b", "a", "", "b"] * 5, target=TargetSpec("multilabel", ("a", "b"))).raise_if_hopeless()


HOPELESS = {
    "empty": (audit([]), DataError, r"there are no images \(somewhere\): expected at least one image"),
    "three images": (audit(["ill", "well", "ill"]), TooFewError, "too few images .*expected at least 10 .*got 3; add images"),
    "one class": (audit(["ill"] * 20), LabelError, "there is one class only .*got only 'ill'"),
    "one patient": (audit(["ill", "well"] * 10, ["p"] * 20), TooFewError, "too few patients .*got one patient; .*--patient"),
    "two patients": (audit(["ill", "well"] * 10, ["p", "q"] * 10), TooFewError, "got 2 patients"),
    "small class": (audit(["ill"] * 2 + ["well"] * 20), TooFewError, "class 'ill' is too small .*at least 3 patients .*got 2"),
    "no labels": (audit([None] * 20, excluded={f"i{i:04d}.png": "no label" for i in range(20)}), LabelError, "none of the images can be used .*no label"),
    "unreadable": (audit(["ill"] * 20, excluded={f"i{i:04d}.png": "cannot be read" for i in range(20)}), DataError, "most of them: cannot be read"),
    "one value": (audit(["3"] * 20, target=TargetSpec("regression", ())), LabelError, "every image has the same value"),
    "no marks": (audit([""] * 20, target=TargetSpec("multilabel", ("a", "b"))), LabelError, "one class only .*got none"),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_a_hopeless_cohort_is_one_clear_sentence(name: str) -> None:
    seen, kind, words = HOPELESS[name]
    with pytest.raises(kind, match=words):
        seen.raise_if_hopeless()


def test_by_image_a_patient_is_not_asked_for_but_copies_count_once() -> None:
    audit(["ill", "well"] * 10, ["p"] * 20).raise_if_hopeless(by="image")
    copies = audit(["ill"] * 4 + ["well"] * 20, clusters={f"i{i:04d}.png": 0 for i in range(4)})
    with pytest.raises(TooFewError, match="at least 3 distinct images .*got 1"):
        copies.raise_if_hopeless(by="image")
