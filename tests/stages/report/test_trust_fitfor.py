"""The section of what the model refuses: what stands in the record stands in the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PIL import Image

from stages.fitfor.films import learnt, mapping, opened
from vesalius.plan import Plan
from vesalius.stages.fitfor import FitFor, learn
from vesalius.stages.fitfor.header import FAR, MOSTLY, TOO_FAR
from vesalius.stages.report import trust_fitfor
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.kinds import LAYOUTS, ONE_CLASS
from vesalius.stages.report.sections import Section
from vesalius.stages.report.summary import number
from vesalius.stages.report.trust_fitfor import refusals
from vesalius.storage import atomic_json


def section(run: Path, record: FitFor, plan: Plan | None = None) -> Section:
    (run / "model").mkdir(parents=True, exist_ok=True)
    record.save(run / "model")
    made = refusals(RunFacts(run, plan=plan))
    assert made is not None
    return made


def rows_of(made: Section, place: int) -> dict[str, list[str]]:
    return {row[0].text.en: [cell.text.en for cell in row[1:]] for row in made.tables[place].rows}


def test_every_kind_of_run_has_it_and_without_statistics_it_is_left_out(tmp_path: Path) -> None:
    for layout in (ONE_CLASS, *LAYOUTS.values()):
        assert refusals in layout.sections
    assert refusals(RunFacts(tmp_path)) is None
    assert trust_fitfor.ENOUGH_SAY == MOSTLY


def test_what_the_files_say_and_what_becomes_of_others(tmp_path: Path) -> None:
    made = section(tmp_path, learnt(), Plan().decide("input.window", "full", "a test"))
    rows = rows_of(made, 0)
    assert rows["Form"] == ["pictures (two axes)", "refused"]
    assert rows["Modality"] == ["CR (180)", "refused"] and rows["Body part"] == ["CHEST (180)", "refused"]
    assert rows["Bits a sample"] == ["8 (180)", "a warning"] and rows["Colour"] == ["grey (180)", "refused"]
    assert rows["Shorter side in samples"] == ["48", f"a warning beyond {FAR:g} times, refused below 1/{TOO_FAR:g}"]
    assert rows["Spacing in mm"][0] == "0.5" and rows["Values (1st to 99th percentile)"][1].startswith("not asked")
    stated = section(tmp_path, learnt(), Plan().decide("input.window", "fixed", "a test"))
    assert rows_of(stated, 0)["Values (1st to 99th percentile)"][1].startswith("a warning beyond")


def test_what_few_files_say_is_not_asked_of_others(tmp_path: Path) -> None:
    record = learnt()
    header = record.header | {"words": record.header["words"] | {"modality": {"CR": 100}}}
    assert rows_of(section(tmp_path, dataclasses.replace(record, header=header)), 0)["Modality"] == ["CR (100)", "not asked: only 100 images say it"]


def test_bounds_and_shares(tmp_path: Path) -> None:
    record = learnt()
    made = section(tmp_path, record)
    rows = rows_of(made, 1)
    assert rows["Distance of the picture"][3] == number(record.bounds["picture"].refuse) and rows["Distance inside the network"][4] == "refused"
    assert rows["black and white exchanged"][-1] == "refused" and rows["left and right exchanged"][-1] in ("a warning", "not watched for (AUROC below 0.99)")
    told = " ".join(text.en for text in made.lead)
    assert "120 training images" in told and "60 validation images" in told and f"{record.facts['refused_apart']} of 60" in told and "--force" in told
    assert all(text.zh != text.en for text in made.lead)


def test_a_record_of_an_older_fit_gives_the_share_of_the_images_that_set_the_bounds(tmp_path: Path) -> None:
    record = learnt()
    facts = {name: value for name, value in record.facts.items() if name != "refused_apart"}
    told = " ".join(text.en for text in section(tmp_path, dataclasses.replace(record, facts=facts)).lead)
    assert "that set the bounds themselves" in told


def test_too_few_images_say_only_what_the_files_say(tmp_path: Path) -> None:
    made = section(tmp_path, learn(mapping(), opened(range(20)), opened(range(100, 105))))
    assert "Too few images were seen (25)" in made.lead[1].en and len(made.tables) == 1 and len(made.lead) == 3


def test_the_pictures_nearest_to_the_bound(tmp_path: Path) -> None:
    (tmp_path / "explain").mkdir()
    Image.new("L", (20, 20), 90).save(tmp_path / "explain" / "fit_0.png")
    rows = [{"id": "a<b>.png", "distance": 1.2, "image": "fit_0.png"}, {"id": "c.png", "distance": 0.7, "image": "gone.png"}]
    atomic_json(tmp_path / "explain" / "fit_for.json", rows)
    groups = section(tmp_path, learnt()).cases
    assert len(groups) == 1 and len(groups[0][1]) == 1
    case = groups[0][1][0]
    assert case["id"] == "a<b>.png" and len(case["pictures"]) == 1 and case["pictures"][0]["short"].en == "distance 1.20, refused"
    assert case["pictures"][0]["uri"].startswith("data:image/jpeg;base64,")
