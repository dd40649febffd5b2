"""Open folders: each discovers its own modules, and entry points add a hospital's private part.

A package such as ``vesalius.networks`` owns one `Registry`. Its modules register
themselves with a decorator; nothing else has to be touched to add one. Import
errors of a module are never swallowed.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from vesalius.errors import OptionError

T = TypeVar("T")


def nearest(name: str, known: list[str], n: int = 3) -> list[str]:
    """The known names most like ``name``, best first.

    >>> nearest("resnet81", ["resnet18", "vgg11", "vit"])
    ['resnet18']
    """
    return difflib.get_close_matches(name.lower(), known, n=n, cutoff=0.5)


def unknown(kind: str, name: str, known: list[str]) -> OptionError:
    """The error for a name that nobody knows, with the nearest known ones."""
    near = nearest(name, known) or known[:8]
    return OptionError(f"unknown {kind} '{name}'", expected=f"one of {', '.join(near)}", do=f"see the known {kind}s in the documentation")


class Registry(Generic[T]):
    """Names to parts of one kind, filled by the modules of one package.

    Parameters
    ----------
    kind: what a part is called in messages, e.g. ``"network"``.
    package: the package whose modules register parts; entry points of the group
        ``vesalius.<kind>s`` are loaded after them.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._parts: dict[str, T] = {}
        self._found = self._finding = False
        self._lock = threading.RLock()

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """A decorator that enters a part under its name and aliases."""

        def enter(part: T) -> T:
            for each in (name, *aliases):
                if self._parts.get(each, part) is not part:
                    raise ValueError(f"two {self.kind}s are called '{each}'")
                self._parts[each] = part
            return part

        return enter

    def discover(self) -> None:
        """Import every module of the package once, then the entry points; other threads wait until all are there."""
        if self._found:
            return
        with self._lock:
            if not self._found and not self._finding:
                self._finding = True
                self._import_all()
                self._found = True

    def _import_all(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for point in entry_points(group=f"vesalius.{self.kind}s"):
            point.load()

    def get(self, name: str) -> T:
        """The part of that name; `OptionError` with the nearest names when there is none."""
        self.discover()
        if name not in self._parts:
            raise unknown(self.kind, name, self.names())
        return self._parts[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self.discover()
        return sorted(self._parts)

    def __contains__(self, name: str) -> bool:
        self.discover()
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
