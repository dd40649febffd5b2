"""The documents are true: links lead somewhere, verbs and options exist, both languages say the same, nothing private is named."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vesalius

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_PROGRAMS = {"--n", "--help"}
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PRIVATE = ("/" + "work/", "file:" + "///")


def words_of_the_command_line() -> set[str]:
    code = "import sys; sys.path.insert(0, 'tools'); import gates, pathlib; print('\\n'.join(gates.public_words(pathlib.Path('.'))))"
    return set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_every_verb_and_option_of_the_readme_exists(page: Path) -> None:
    known, text = words_of_the_command_line(), page.read_text(encoding="utf-8")
    assert set(re.findall(r"vesalius ([a-z]+) [A-Z-]", text)) <= known
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= known | OTHER_PROGRAMS


def test_every_make_target_of_the_documents_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in [*READMES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"^ {4}make ([a-z ]+?)(?: *#.*)?$", page.read_text(encoding="utf-8"), re.M):
            assert all(re.search(rf"^{name}:", makefile, re.M) for name in target.split())


def test_both_languages_say_the_same() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in READMES)
    for pattern in (r"^#+ ", r"^\| ", r"^- ", r"^```"):
        assert len(re.findall(pattern, english, re.M)) == len(re.findall(pattern, chinese, re.M)), pattern
    for pattern in (r"--[a-z][a-z-]+", r"`[a-zA-Z/_.]+`"):
        assert set(re.findall(pattern, english)) == set(re.findall(pattern, chinese))
    blocks = [re.findall(r"```python\n(.*?)```", text, re.S) for text in (english, chinese)]
    assert blocks[0] == blocks[1]


def test_the_python_of_the_readme_uses_names_that_exist() -> None:
    for block in re.findall(r"```python\n(.*?)```", READMES[0].read_text(encoding="utf-8"), re.S):
        used = {node.attr for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vesalius"}
        assert used and used <= set(vesalius.__all__)


def test_the_phantoms_are_all_described() -> None:
    from vesalius.phantoms import KINDS

    text = (ROOT / "docs" / "phantoms.md").read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in KINDS)


def test_no_file_names_a_private_place() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: the list of its files is not known")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ".html", ".cfg", "") and path.stat().st_size < 1_000_000:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [word for word in PRIVATE if word in text], name
