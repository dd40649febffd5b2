"""Every sentence that a run keeps has its Chinese, and every decision its name."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from vesalius.core.target import TargetSpec
from vesalius.networks.cost import Cost
from vesalius.plan import Plan
from vesalius.stages.boxed.facts import BoxFacts
from vesalius.stages.check.run import REASONS
from vesalius.stages.design import Facts, Machine
from vesalius.stages.design.probe import Speed
from vesalius.stages.report import reasons as module
from vesalius.stages.report.decisions import value_of_decision
from vesalius.stages.report.reasons import FACT, noted, reason
from vesalius.stages.report.texts import TEXTS
from vesalius.stages.request import Request
from vesalius.stages.tiled.facts import TileFacts
from vesalius.transforms.augment import Augment
from vesalius.transforms.tileaugment import TileAugment

sys.path.insert(0, str(Path(__file__).parent))
import reasons_in_source as source

CHINESE = re.compile(r"[\u4e00-\u9fff]")
ELSEWHERE = {
    "formats/layouts/_structures.py: self.told",  # the second argument of `stated`, which is followed where it is called
    "formats/layouts/npz.py: reason", "formats/target_of.py: why",  # `pairs_of`, and below
    "stages/boxed/design.py: speed.sentence", "stages/design/training.py: speed.sentence", "stages/tiled/design.py: speed.sentence",  # below
    "stages/compete.py: first.reason('network.rivals')",  # of another plan
    "stages/work.py: reason",  # `tuples_of` the split
}
SPEED = Speed(0.5, "32-true", True, (("bf16-mixed", True, 0.4), ("32-true", False, 0.5)))
CPU = Machine(2, 24 * 2**30, 20 * 2**30, 10**12, "cpu", 1, "test")
CARD = replace(CPU, accelerator="cuda", device_ram_bytes=80 * 2**30)
ASKED = Request("x", batch=4, epochs=3, size=64, precision="32-true", learning_rate=1e-3, members=2)
IMAGES = Facts(2000, 300, 300, 1500, TargetSpec("binary", ("normal", "ill")), {"normal": 1000, "ill": 1000}, False, 2, (128, 128), None, False, 8, True, None,
               0.0, 0.0, 255.0)
TILES = TileFacts(
    n_train=100, n_validation=20, n_test=20, n_patients=100, target=TargetSpec("mask", ("head", "tail"), values=((1,), (2,))), side_matters=False, ndim=3,
    shape=(36, 50, 35), spacing_mm=(1.0, 1.0, 1.0), finest_mm=(1.0, 1.0, 1.0), channels=1, colour=False, bits=16, whole_numbers=True, modality=None,
    modality_stated=False, low=(5.0,), high=(900.0,), mean=(300.0,), std=(90.0,), all_mean=(0.3,), all_std=(0.1,), shares={"head": 0.02, "tail": 1e-5},
    sizes={"head": 900.0, "tail": 500.0},
)  # fmt: skip
PICTURES = replace(TILES, ndim=2, shape=(584, 565), spacing_mm=None, finest_mm=None, channels=3, colour=True, bits=8, low=(5.0,) * 3, high=(250.0,) * 3,
                   mean=(120.0,) * 3, std=(40.0,) * 3, all_mean=(127.5,) * 3, all_std=(51.0,) * 3)
LARGE = replace(TILES, shape=(20, 300, 300), spacing_mm=(5.0, 0.8, 0.8), finest_mm=(3.0, 0.7, 0.7), modality="CT")
BOXES = TargetSpec("boxes", ("cell", "clump"), risk="malignant")


def known(sentence: str) -> bool:
    return CHINESE.search(reason(sentence).zh) is not None


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Of images, masks and boxes in 2-D and 3-D, with requests and without, on a processor and on a card; nothing is timed and no network counted."""
    for name in ("design.design", "design.training", "tiled.design", "boxed.design"):
        each = importlib.import_module(f"vesalius.stages.{name}")
        monkeypatch.setattr(each, "probe", lambda *_, size=(8,), batch=1, **__: replace(SPEED, seconds=1e-6 * float(np.prod(size)) * batch))
        for counted in ("cost", "_cost"):
            monkeypatch.setattr(each, counted, lambda *_: Cost(10**6, 10**9, 2 * 10**7), raising=False)
        monkeypatch.setattr(each, "network_of", lambda *_: None, raising=False)
    designs = [importlib.import_module(f"vesalius.stages.{name}.design") for name in ("design", "tiled", "boxed")]
    volume = replace(IMAGES, ndim=3, shape=(40, 64, 64), bits=16, modality="CT", spacing_mm=(2.0, 1.0, 1.0), class_counts={"normal": 1900, "ill": 20})
    made = [designs[0].design(facts, CPU, request) for facts in (IMAGES, volume) for request in (Request("x"), ASKED, Request("x", budget_s=5.0))]
    made += [designs[1].design_tiles(facts, machine, request) for facts, machine, request in (
        (TILES, CPU, Request("x")), (TILES, CPU, Request("x", budget_s=60.0)), (PICTURES, CPU, Request("x")),
        (LARGE, CARD, ASKED), (PICTURES, CARD, replace(ASKED, folds=5)))]
    cells = BoxFacts(replace(PICTURES, target=BOXES), small=30.0, large=90.0, longest=584.0, counts={"cell": 500, "clump": 80}, most=20.0)
    lung = BoxFacts(replace(TILES, target=BOXES, modality="CT"), small=6.0, large=25.0, longest=50.0, counts={"cell": 60, "clump": 9}, most=4.0)
    return made + [designs[2].design_boxes(facts, machine, request) for facts, machine in ((cells, CPU), (lung, CARD)) for request in (Request("x"), ASKED)]


def test_every_reason_in_the_source_has_its_chinese() -> None:
    found, lost = source.reasons()
    found |= source.tuples_of("stages/split.py") | source.pairs_of("formats/target_of.py")
    assert len(found) > 180 and {"the images are 7 (median); the smallest size, since the budget is short", "given, or 0", "two classes"} <= found
    assert not sorted(each for each in found if not known(each))
    assert set(lost) <= ELSEWHERE, "the source says a reason in a way that this test cannot follow"


def test_every_reason_and_decision_of_real_plans_has_its_chinese(plans: list[Plan]) -> None:
    decisions = {name: each for plan in plans for part in plan.sections.values() for name, each in part.items()}
    assert len(decisions) > 50 and not [name for name in decisions if f"decision.{name}" not in TEXTS]
    told = {each.reason for plan in plans for part in plan.sections.values() for each in part.values()}
    assert len(told) > 90 and not sorted(each for each in told if not known(each))


def test_every_decision_of_the_source_has_a_name() -> None:
    asked = {match for path in source.trees() for match in re.findall(r"""decide\(f?["']\w+\.(\w+)["']""", path.read_text("utf-8"))}
    asked |= set(re.findall(r"""\(\[?\(?["'](by|seed|source|fractions|carved|n_test)["'],""", (source.SOURCE / "stages/split.py").read_text("utf-8")))
    assert len(asked) > 50 and not [name for name in asked if f"decision.{name}" not in TEXTS]


def test_every_part_of_an_augmentation_has_a_name() -> None:
    whole = Augment().to_dict()
    names = {*whole, *(name for part in whole.values() for name in part), *(each.name for each in fields(TileAugment))}
    assert not [name for name in names if f"part.{name}" not in TEXTS]


@pytest.mark.parametrize("sentence", [
    *REASONS.values(), "not 2-D", "no label", "in the run's own data", SPEED.sentence, "3 classes without an order",
    "two classes; 'ill' is the positive class: it names the disease",
    "patients are known from file names: a word such as 'patient' with a number (in 3 of 4 names; the others count as one patient each); "
    "the numbers start again in each class (3 patients, 5 images)",
    "patients are known from DICOM PatientID (absent for 2 images, which count as one patient each) (3 patients, 5 images)",
    "the masks hold 0 and 255; a box around each part of a structure",
    "masks were found by the same name",
])  # fmt: skip
def test_a_sentence_of_the_data_has_its_chinese(sentence: str) -> None:
    assert known(sentence)


def test_facts_stay_and_a_longer_template_wins() -> None:
    shown = reason("the median study is 584 x 565; as much as a cpu learns from quickly, in multiples of 8").zh
    assert shown == "病例尺寸中位数为 584 x 565；取 cpu 上能较快训练的大小，取 8 的整数倍"
    assert reason("the images are 64 x 64: read as they are") == ("the images are 64 x 64: read as they are", "图像尺寸为 64 x 64，按原尺寸读取")


def test_what_nobody_translated_stays_english_whole() -> None:
    for sentence in ("because", "two classes; because", "because, in multiples of 8"):
        assert reason(sentence) == (sentence, sentence)


def test_a_note_in_chinese_holds_no_english_evidence_and_wide_marks() -> None:
    evidence = "column 'id' (9 patients, 14 images)"
    zh = noted({"en": "x", "zh": f"9 名患者(依据:{evidence}),平均每人 1.6 张。"}, evidence).zh
    assert zh == "9 名患者（依据：“id”列（9 名患者，14 张图像）），平均每人 1.6 张。"
    assert noted({"en": "x", "zh": "位深不一致:205 of 32 bit, 55 of 8 bit。"}).zh == "位深不一致：32 位 205 张，8 位 55 张。"
    assert noted({"en": "own words", "zh": "own words"}) == ("own words", "own words")


def test_values_are_words_where_they_are_words() -> None:
    assert value_of_decision("letterbox", False) == ("no", "否") and value_of_decision("sampling", "even").zh == "逐例均匀"
    assert value_of_decision("operating_point", "sensitivity 0.95").zh == "灵敏度不低于 0.95" and value_of_decision("target", "mask").zh == "结构分割"
    assert value_of_decision("strides", [[1, 1], [2, 2]]) == ("[1, 1], [2, 2]", "[1, 1], [2, 2]") and value_of_decision("rivals", []).zh == "–"
    assert value_of_decision("augment", {"scale": 0.2, "flat": True}) == ("scale = 0.2, flat = yes", "缩放 = 0.2, 仅层面内 = 是")
    assert value_of_decision("options", {"stem_stride": [2, 2]}).zh == "首层步幅 = [2, 2]"


def test_templates_pair_the_same_facts() -> None:
    pairs = [(found, each) for found, each in ((set(template.pattern.groupindex), template.chinese) for template in module.templates())]
    assert len(pairs) > 80 and all(found == set(FACT.findall(chinese)) and CHINESE.search(chinese) for found, chinese in pairs)
