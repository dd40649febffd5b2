"""Every text exists in both languages, is used, and is written in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import escape

import vesalius.stages.report.texts as texts
from vesalius.stages.report.texts import TEXTS, Both, name_of, same, say

FOLDER = Path(texts.__file__).parent
CODE = "\n".join(path.read_text("utf-8") for path in [*FOLDER.glob("*.py"), FOLDER / "template.html"])
CHINESE = re.compile(r"[\u4e00-\u9fff]")
CODED = ("metric", "baseline", "kind", "split", "section", "role", "method", "severity", "layout", "rule", "legend", "h", "ask", "gain", "cap", "axis", "env",
         "col", "note", "fact", "use", "doubt", "unit", "boxfact", "leak", "view", "verdict", "sites", "attention", "explanations", "warrant", "fitfor",
         "decision", "value", "part", "step")
NAMED = tuple(f"{group}." for group in CODED)
"""Groups whose keys are put together in the code."""


@pytest.mark.parametrize("key", TEXTS)
def test_key_has_both_languages_with_the_same_facts(key):
    en, zh = TEXTS[key]
    assert en.strip() and zh.strip()
    assert not CHINESE.search(en) or key == "lang.zh"
    assert sorted(set(re.findall(r"{(\w+)}", en))) == sorted(set(re.findall(r"{(\w+)}", zh)))


def test_only_names_are_the_same_in_both_languages():
    alike = {key for key, (en, zh) in TEXTS.items() if not CHINESE.search(zh)}
    assert {key for key in alike if not key.startswith("unit.")} == {
        "lang.en", "method.gradcam", "method.drise", "metric.auc", "metric.hd95", "env.python", "cell", "case.view", "metric.map50", "metric.map",
        "metric.ap50", "metric.cpm", "boxmetric.ap", "shortcuts.p", "method.gradcam++", "method.rise",
    }


def test_chinese_uses_chinese_punctuation():
    wrong = [key for key, (_, zh) in TEXTS.items() if re.search(r"[\u4e00-\u9fff][,;:?!]|[\u4e00-\u9fff]\.$", zh)]
    assert not wrong


def test_every_key_is_used():
    plain = {key: key.removesuffix(".mask").removesuffix(".boxes") for key in TEXTS}
    unused = [key for key, each in plain.items() if f'"{each}"' not in CODE and f"'{each}'" not in CODE and not key.startswith(NAMED)]
    assert not unused


def test_every_key_that_the_code_asks_for_exists():
    asked = re.findall(r"""\bsay\(["']([\w.+-]+)["']""", CODE)
    assert len(asked) > 80 and not [key for key in asked if key not in TEXTS]


def test_no_text_is_left_in_the_template_or_the_code():
    template = (FOLDER / "template.html").read_text("utf-8")
    bare = re.sub(r"{%.*?%}|{{.*?}}|<style>.*?</style>|<[^>]+>", " ", re.sub(r'="[^"]*"', "", template), flags=re.S)
    assert not re.findall(r"[A-Za-z\u4e00-\u9fff]{2,}", bare)
    assert not CHINESE.search(re.sub(r">>>.*?(?=\n\s*\n|\"\"\")", "", CODE, flags=re.S))


def test_both_is_escaped_and_written_once_when_alike():
    assert str(same("<b>").html()) == str(escape("<b>"))
    assert str(Both("<i>", "<u>").html()) == '<span class="en" lang="en">&lt;i&gt;</span><span class="zh" lang="zh-Hans">&lt;u&gt;</span>'


def test_facts_may_be_bilingual_and_unknown_names_stand_for_themselves():
    told = say("gain.better", over=name_of("baseline", "hog"), metric=name_of("metric", "auc"), value="+0.1")
    assert "HOG and a linear model" in told.en and "HOG 特征" in told.zh
    assert name_of("baseline", "my_own") == ("my own", "my own")
