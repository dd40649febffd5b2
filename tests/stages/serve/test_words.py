"""Every error that a reader can meet has a code and both languages, and what fills a sentence survives its translation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spoken
import vesalius
from vesalius.errors import DataError, FormatError
from vesalius.stages.serve import words

SOURCE = Path(vesalius.__file__).parent
REACHED = (
    "storage.py", "registry.py", "core/*.py", "kernels/measure.py", "mapping/*.py", "stages/fitfor/features.py", "stages/fitfor/record.py",
    "stages/tiled/engine.py", "stages/tiled/predict.py", "stages/writing/*.py", *(f"stages/writing/boxes/{name}.py" for name in ("_*", "picture", "dicomsr")),
    *(f"formats/{name}.py" for name in ("array", "base", "dicom*", "masks", "nifti", "opening", "raster", "sitk", "sources")),
    *(f"transforms/{name}.py" for name in ("reading", "tiles", "tilt", "foreign")),
    *(f"stages/serve/{name}.py" for name in ("*", "http/*", "http/dicomweb/*", "store/*", "objects/*", "work/*")),
    *(f"stages/serve/node/{name}.py" for name in ("describe", "receive", "refusal")),
)
"""What runs between a request of a reader and its answer."""
ELSEWHERE = ("site.py", "server.py", "service.py", "run.py", "dicomseg.py", "dicomsr.py", "dicommarks.py")
"""What starts the service and is told on the console, and readers of marks, which no model reads."""
PATHS = [path for pattern in REACHED for path in sorted(SOURCE.glob(pattern)) if path.name not in ELSEWHERE or path.parent.name in ("writing", "boxes")]
WRITTEN = spoken.written_in(PATHS)


def rows() -> list[tuple[str, str, str]]:
    held = words._held
    pairs = [(code, en, zh) for code, (en, zh) in held["what"].items()] + [(en, en, zh) for en, zh in held["facts"].items()]
    return pairs + [(code, en, zh) for code, en, zh in held["status"].values()]


def test_the_source_was_read() -> None:
    assert len({each.text for each in WRITTEN if each.is_what}) > 150 and len({each.text for each in WRITTEN if not each.is_what}) > 240


def test_no_error_that_a_reader_meets_lacks_a_code_or_a_language() -> None:
    lacking = [f"{each.place}: {each.text}" for each in WRITTEN if each.is_what and each.text and words._WHAT.find(each.text) is None]
    assert lacking == [], "enter these in [what] of words.toml"


def test_no_fact_that_a_reader_meets_lacks_a_language() -> None:
    lacking = [f"{each.place}: {each.text}" for each in WRITTEN if not each.is_what and words._FACTS.find(each.text) is None]
    assert lacking == [], "enter these in [facts] of words.toml"


@pytest.mark.parametrize("table", ["what", "facts"])
def test_both_languages_have_the_same_gaps(table: str) -> None:
    for name, row in words._held[table].items():
        en, zh = (name, row) if table == "facts" else row
        gaps = [sorted(set(words.GAP.findall(text))) for text in (en, zh)]
        assert zh.strip() and gaps[0] == gaps[1], name


def test_codes_are_stable_names_and_chinese_is_chinese() -> None:
    for code in words._held["what"]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code), code
    for name, en, zh in rows():
        assert re.search(r"[\u4e00-\u9fff]", zh) or zh == en, name


def test_what_fills_a_sentence_survives() -> None:
    error = FormatError("slices of the series are missing", where="/site/objects/ab/cd.dcm", expected="a slice every 2.5 mm",
                        got="about 3 missing, first between a.dcm at 1 mm and b.dcm at 9 mm", do="fetch the whole series")
    said = words.sentence(error)
    assert said.zh == "序列缺少层面：应为每 2.5 mm 一层，实为约缺 3 层，首处在 a.dcm（1 mm 处） 与 b.dcm（9 mm 处） 之间；请获取完整序列"
    assert said.code == "slices-missing" and "/site" not in said.en and said.en.endswith("fetch the whole series")


def test_a_kept_sentence_is_found_again_without_its_place() -> None:
    error = FormatError("the file is truncated or damaged", where="received", expected="12 bytes of an element's start of (0028,0010)", got="3",
                        do="fetch it again, or leave it out")
    said = words.what(str(error))
    assert said.zh == "文件不完整或已损坏：应为（0028,0010）的元素开头的 12 字节，实为 3；请重新获取，或将其排除"
    assert said.code == "damaged" and "received" not in said.en


def test_words_that_nobody_entered_stay_behind_a_title() -> None:
    assert words.what("the flux is inverted", 422).to_dict() == {"code": "unusable", "en": "the flux is inverted", "zh": "内容无法使用（the flux is inverted）"}
    said = words.sentence(DataError("the flux is inverted", got="ValueError: a header in ruins"))
    assert said.zh == "出错（the flux is inverted）：实为 ValueError: a header in ruins"


@pytest.mark.parametrize(("query", "accepted", "wanted"), [
    ("", None, "en"), ("", "zh-CN,zh;q=0.9", "zh"), ("", "de, en;q=0.3, zh;q=0.7", "zh"), ("", "zh;q=0, en", "en"), ("", "fr", "en"), ("", "ZH-hans", "zh"),
    ("lang=zh", "en", "zh"), ("a=1&lang=en", "zh", "en"), ("lang=fr", "zh", "zh"), ("slang=zh", None, "en"), ("", "zh;q=nonsense", "zh"), ("", ";;q=,,", "en"),
])
def test_the_language_that_was_asked_for(query: str, accepted: str | None, wanted: str) -> None:
    headers = [] if accepted is None else [(b"Accept-Language", accepted.encode())]
    assert words.language_of({"query_string": query.encode(), "headers": headers}) == wanted
