"""Open folders: discovered once, also by several threads at the same time."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vesalius.errors import OptionError
from vesalius.registry import Registry

SLOW = "import time\nfrom {package} import PARTS\ntime.sleep(0.05)\nPARTS.register('{name}')({number})\n"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[int]:
    package = f"open_folder_{tmp_path.name}".replace("-", "_")
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"from vesalius.registry import Registry\nPARTS = Registry('part', '{package}')\n")
    for number, name in enumerate(("first", "second", "third")):
        (tmp_path / package / f"{name}.py").write_text(SLOW.format(package=package, name=name, number=number))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(package).PARTS
    for name in [each for each in sys.modules if each.startswith(package)]:
        del sys.modules[name]


def test_every_thread_sees_every_part(parts: Registry[int]) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: parts.names(), range(8))) == [["first", "second", "third"]] * 8


def test_an_unknown_name_is_answered_with_the_nearest(parts: Registry[int]) -> None:
    assert parts.get("second") == 1 and "fourth" not in parts
    with pytest.raises(OptionError, match="unknown part 'secnod'.*one of second"):
        parts.get("secnod")


def test_one_name_belongs_to_one_part(parts: Registry[int]) -> None:
    parts.names()
    with pytest.raises(ValueError, match="two parts are called 'first'"):
        parts.register("first")(99)
