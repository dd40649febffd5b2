"""Warrants of a run's maps for classes, masks and boxes; nearest cases, clinical columns, and what the report leaves out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from stages.boxed.boxstandin import Blobs
from stages.explain.test_warrant import SEED, Finds
from stages.trust.runs import BINARY, finished
from vesalius.core.cohort import Case, MarkedBox, MaskFile, Source
from vesalius.core.reads import Reads, TileReads
from vesalius.core.target import TargetSpec
from vesalius.mapping import BoxedMapping, Mapping, TiledMapping
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.explain.questions import method_of
from vesalius.stages.report.facts import RunFacts
from vesalius.stages.report.pictured import pictured, warranted
from vesalius.stages.report.trust_explanations import explanations as section
from vesalius.stages.trust import _asked
from vesalius.stages.trust import explanations as trusted
from vesalius.stages.trust._asked import questions_of
from vesalius.stages.trust._instead import instead_of
from vesalius.stages.trust._mapwords import said
from vesalius.stages.trust.base import Trust
from vesalius.stages.trust.explanations import explanations, warranted_maps
from vesalius.storage import atomic_json

SIDE, SPOT = 48, 7


class Sees(Finds):
    """Answers through a linear layer, so that cases can be compared."""

    def __init__(self) -> None:
        super().__init__(2)
        self.last = nn.Linear(1, 2)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[0.0], [300.0]]))
            self.last.bias.copy_(torch.tensor([0.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.held(self.second(self.first(x).relu())).flatten(2).mean(2))
        return out


@pytest.fixture(autouse=True)
def shown_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The further methods take long and are tested elsewhere."""
    monkeypatch.setattr(_asked, "FURTHER", dict.fromkeys(_asked.FURTHER, ("gradcam++", "attention-rollout")))


def spots(n: int, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Grey pictures ``[n, Y, X]`` with a bright spot and a dark one; where the bright one begins."""
    rng = np.random.default_rng(seed)
    images, places = rng.integers(96, 104, (n, SIDE, SIDE)), []
    for image in images:
        y, x = (int(v) for v in rng.integers(4, SIDE - 12, 2))
        image[y : y + SPOT, x : x + SPOT] += 120
        low = (y + SIDE // 2) % (SIDE - SPOT)
        image[low : low + SPOT, x : x + SPOT] -= 90
        places.append((y, x))
    return images.clip(0, 255).astype(np.uint8), places


def at(place: tuple[int, int]) -> np.ndarray:
    region = np.zeros((SIDE, SIDE), bool)
    region[place[0] : place[0] + SPOT, place[1] : place[1] + SPOT] = True
    return region


def whole_run(folder: Path, n: int = 160) -> tuple[Trust, dict[str, np.ndarray]]:
    """Half of the patients are ill and have a bright spot; ``age`` knows something of it, ``shoe`` nothing."""
    rng, ill = np.random.default_rng(1), np.arange(n) // 5 % 2
    images, places = spots(n)
    images[ill == 0] = 100
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"image_{i:04d}.png")
    columns = {"age": 50 + 15 * ill + rng.normal(0, 8, n), "shoe": rng.normal(40, 2, n)}
    trust = finished(folder, np.array(["normal", "ill"])[ill], np.arange(n), images[:, None], BINARY, **columns)
    trust.mapping = Mapping(Reads((SIDE, SIDE), mean=(0.4,), std=(0.3,)), [Sees()], output_for(BINARY), Plan())
    return trust, {name: at(place) for name, place in zip(trust.frame["id"], places, strict=True)}


def test_a_run_of_classes_has_warrants_columns_and_nearest_cases(tmp_path: Path) -> None:
    trust, regions = whole_run(tmp_path)
    trust.run.explain.mkdir()
    shown = [name for name, split, label in zip(trust.frame["id"], trust.frame["split"], trust.frame["label"], strict=True) if split == "test"][:2]
    atomic_json(trust.run.explain / "cases.json", [{"id": name, "role": "best", "label": "ill", "predicted": "ill", "image": f"{i:02d}.png", "maps": []}
                                                   for i, name in enumerate(shown)])
    found = explanations(trust)
    assert found["of"] == "whole" and found["by_default"] == ["gradcam", "occlusion"] and "attention-rollout" not in found["methods"]
    assert found["methods"]["gradcam"]["tested"] and found["methods"]["gradcam"]["erased"]["passes"] and found["methods"]["gradcam"]["pointing"] is None
    assert json.loads((trust.run.explain / "warrant.json").read_text())["methods"].keys() == found["methods"].keys()
    assert [row["column"] for row in found["columns"]] == ["age", "shoe"] and found["columns"][0]["low"] > 0 >= found["columns"][1]["low"]
    near = json.loads((trust.run.explain / "cases.json").read_text())[0]["maps"][-1]
    assert near["method"] == "nearest" and {each["class"] for each in near["cases"]} == {"normal", "ill"}
    assert set(trust.frame.set_index("id").loc[[each["id"] for each in near["cases"]], "split"]) == {"train"}
    by_class = {each["class"]: each["distance"] for each in near["cases"]}
    own = trust.frame.set_index("id").loc[shown[0], "label"]
    assert by_class[own] < by_class["normal" if own == "ill" else "ill"], "the network sees its own class as nearer"
    assert (trust.run.explain / near["file"]).is_file() and found["nearest"]["n_training"] == 96
    made = section(RunFacts(tmp_path, trust={"explanations": found}))
    assert made is not None and len(made.tables) == 2 and section(RunFacts(tmp_path)) is None


def test_the_pointing_game_is_played_where_lesions_are_marked(tmp_path: Path) -> None:
    trust, regions = whole_run(tmp_path)
    made = warranted_maps(trust, regions.get)["methods"]["gradcam"]["pointing"]
    assert made["hits"]["value"] > 0.8 and made["chance"] < 0.2 and made["passes"]


def test_where_a_shown_map_fails_one_that_passed_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust, _ = whole_run(tmp_path)
    trust.seed = SEED
    monkeypatch.setattr(trusted, "methods_of", lambda *_: {"gradcam": lambda _, q: torch.zeros_like(q.x[0, 0]), "gradcam++": method_of("gradcam")})
    trust.run.explain.mkdir()
    maps = [{"method": "gradcam", "file": "00_gradcam.png"}]
    atomic_json(trust.run.explain / "cases.json", [{"id": trust.frame["id"][9], "role": "best", "label": "ill", "image": "00.png", "maps": maps}])
    found = explanations(trust)
    assert found["instead"] == "gradcam++" and found["methods"]["gradcam"]["why"] == ["empty"]
    assert found["sentences"][-1]["en"] == "Grad-CAM++ passed its tests and is shown instead." and "代为显示" in found["sentences"][-1]["zh"]
    case, = json.loads((trust.run.explain / "cases.json").read_text())
    assert [each["method"] for each in case["maps"]] == ["gradcam", "gradcam++", "nearest"] and (trust.run.explain / "00_gradcam++.png").is_file()
    assert instead_of({"gradcam": warrant(True), "rise": warrant(True)}, ("gradcam",)) is None
    assert instead_of({"gradcam": warrant(False), "rise": warrant(True, False)}, ("gradcam",)) is None


def test_few_patients_are_said_to_be_few(tmp_path: Path) -> None:
    trust, _ = whole_run(tmp_path, 40)
    found = warranted_maps(trust)
    assert found["applies"] is False and "fewer than 8 patients" in found["why"]["en"] and "少于 8 名" in found["why"]["zh"]


class Marks(nn.Module):
    """Log odds of the class where it is bright, seen at half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.mix = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 2, 3, 1, 1)
        torch.manual_seed(1)
        nn.init.normal_(self.see.weight, 0.11, 0.03)
        nn.init.constant_(self.see.bias, -0.5)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[1].fill_(0.1).add_(torch.randn_like(self.mix.weight[1]) * 0.02)
            self.mix.bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.mix(self.see(x).relu() * 4), x.shape[2:], mode="bilinear", align_corners=False)


def on_disk(folder: Path, n: int = 60) -> list[Case]:
    images, places = spots(n)
    made = []
    for i, (image, place) in enumerate(zip(images, places, strict=True)):
        Image.fromarray(image).save(folder / f"image_{i:04d}.png")
        Image.fromarray(at(place).astype(np.uint8)).save(folder / f"mask_{i:04d}.png")
        box = MarkedBox("spot", tuple(map(float, place)), tuple(float(v + SPOT) for v in place))
        source = Source("raster", str(folder / f"image_{i:04d}.png"))
        made.append(Case(f"image_{i:04d}.png", source, str(i), masks=(MaskFile(Source("raster", str(folder / f"mask_{i:04d}.png"))),), boxes=(box,)))
    return made


def marked_run(folder: Path, target: TargetSpec, mapping: Any, cases: list[Case]) -> Trust:
    trust = finished(folder, ["spot"] * len(cases), np.arange(len(cases)), None, target)
    trust.mapping, trust.cases = mapping, {case.id: case for case in cases}
    return trust


def test_masks_are_asked_for_the_class_on_its_mask(tmp_path: Path) -> None:
    target = TargetSpec("mask", ("spot",), values=((1,),))
    trust = marked_run(tmp_path, target, TiledMapping(TileReads((32, 32)), [Marks()], output_for(target), Plan()), on_disk(tmp_path))
    network, questions = questions_of(trust)
    assert len(questions) == 12 and len({question.patient for question in questions}) == 12
    for question in questions:
        assert question.x.shape == (1, 1, 32, 32) and question.region is not None and question.region.shape == (32, 32)
        assert float(question.x[0, 0][torch.from_numpy(question.region)].mean()) > 1 and 0.5 < float(question.worth(network(question.x)).detach()) <= 1
    found = warranted_maps(trust)
    assert found["of"] == "tiles" and found["by_default"] == ["gradcam"]
    assert found["methods"]["gradcam"]["pointing"]["hits"]["value"] > 0.8 and found["methods"]["gradcam"]["erased"]["passes"]


def test_boxes_are_asked_for_the_surest_right_one(tmp_path: Path) -> None:
    target, cases = TargetSpec("boxes", ("spot", "dark")), on_disk(tmp_path)
    mapping = BoxedMapping(TileReads((48, 48), 1, None, schemes=("zscore",)), [Blobs(2, 8.0)], output_for(target), Plan())
    trust = marked_run(tmp_path, target, mapping, cases)
    rows = []
    for case in cases:
        box = [*case.boxes[0].low, *case.boxes[0].high]  # type: ignore[index]
        truth, found = [{"box": box, "class": "spot", "ignored": False, "risk": None}], [{"box": box, "class": "spot", "score": 0.9, "risk": None}]
        rows.append({"id": case.id, "path": case.id, "patient": case.patient, "shape": json.dumps([SIDE, SIDE]), "spacing_mm": "null",
                     "truth": json.dumps(truth), "found": json.dumps(found), "split": "test" if int(case.patient) % 5 == 4 else "validation"})
    trust.predictions = pd.DataFrame(rows)
    network, questions = questions_of(trust)
    assert len(questions) == 12 and all(question.facts["k"] == 0 and question.region is not None for question in questions)
    for question in questions:
        assert float(question.x[0, 0][torch.from_numpy(question.region)].mean()) > 2, "the box lies on the bright spot"
    found = warranted_maps(trust)
    assert found["of"] == "boxes" and {"gradcam", "drise"} <= set(found["methods"])
    assert found["methods"]["drise"]["pointing"]["hits"]["value"] > 0.8 and found["methods"]["gradcam"]["pointing"]["hits"]["value"] > 0.8


def warrant(shown: bool, tested: bool = True, why: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"n_cases": 9, "tested": tested, "shown": shown, "why": list(why)}


def test_the_report_leaves_out_what_failed_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "explain").mkdir()
    for name in ("00.png", "00_gradcam.png", "00_occlusion.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "explain" / name)
    maps = [{"method": name, "file": f"00_{name}.png"} for name in ("gradcam", "occlusion")]
    case = {"id": "a", "role": "best", "image": "00.png", "maps": maps}
    trust = {"explanations": {"methods": {"gradcam": warrant(False, why=("same",)), "occlusion": warrant(True, False, ("time",))}}}
    facts = RunFacts(tmp_path, cases=[case], trust=trust)
    assert [each["method"] for each in warranted(facts, case)["maps"]] == ["occlusion"]
    (_, shown), = pictured(facts, ("best",), lambda *_: {})[0]
    assert [picture["short"].en if picture["short"] else None for picture in shown[0]["pictures"]] == [None, "Occlusion"]
    assert len(pictured(RunFacts(tmp_path, cases=[case]), ("best",), lambda *_: {})[0][0][1][0]["pictures"]) == 3, "without a test all are shown"


@pytest.mark.parametrize(("found", "severity", "word"), [
    (warrant(True), "ok", "Grad-CAM follows"), (warrant(False, why=("same", "erasing")), "warning", "not shown: it hardly changes.*, and hiding its hot"),
    (warrant(True, False, ("few",)), "info", "without a warrant: there were too few"),
])
def test_what_is_said_of_a_map(found: dict[str, Any], severity: str, word: str) -> None:
    row, = said({"gradcam": found}, ("gradcam", "occlusion"))
    assert row["severity"] == severity and re.search(word, row["en"]) and row["zh"].startswith("Grad-CAM") and row["zh"].endswith("。")
