"""What the user gave as DATA, with the options that steer how it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from vesalius.core.cohort import Cohort
from vesalius.formats.dicom import filled
from vesalius.formats.matching import Index
from vesalius.formats.sources import Found, find
from vesalius.formats.walk import Tree, walk
from vesalius.registry import Registry


@dataclass(frozen=True)
class Options:
    """The flags of the command line that concern DATA; each is None when it was not given.

    ``label`` may name several columns, joined by commas; of boxes it names classes; of masks it names structures, or gives numbers their names
    (``"anterior=1,posterior=2,ignore=255"``). ``patient`` is a column, a regular expression on the
    relative path, or ``none``. ``cache`` is where downloads are kept. ``gaps`` is ``"fill"`` where slices that are missing
    within a DICOM series may be interpolated; else such a series is refused when it is opened.
    """

    table: str | None = None
    label: str | None = None
    patient: str | None = None
    image: str | None = None
    target: str | None = None
    layout: str | None = None
    cache: str | None = None
    gaps: str | None = None


@dataclass(frozen=True)
class Given:
    """DATA as text, and what is found there; a folder is listed once for all layouts.

    ``listed``: images that a layout takes in place of those below the folder (single slices of series and volumes).
    """

    data: str
    options: Options = field(default_factory=Options)
    listed: Found | None = None

    @property
    def path(self) -> Path:
        return Path(self.data)

    @cached_property
    def tree(self) -> Tree:
        return walk(self.path)

    @cached_property
    def found(self) -> Found:
        """The images below the folder, DICOM files grouped into series; those that are ``listed``, where some are."""
        if self.listed is not None:
            return self.listed
        found = find(self.tree)
        return found if self.options.gaps != "fill" else replace(found, items=tuple((name, filled(source)) for name, source in found.items))

    @cached_property
    def index(self) -> Index:
        """The images by every name that a table may use for them."""
        return Index(self.found.items, self.found.dicom)

    @cached_property
    def is_folder(self) -> bool:
        return self.path.is_dir()


class Layout(ABC):
    """A way in which images and labels are laid out in files and folders, registered in `LAYOUTS`.

    ``marks`` is True for a layout whose truth are masks (or the boxes around their parts), ``boxes`` for one whose truth are boxes.
    """

    name: str = ""
    marks: bool = False
    boxes: bool = False

    @classmethod
    @abstractmethod
    def matches(cls, given: Given) -> str | None:
        """The evidence that DATA is laid out in this way, in words; None when it is not."""

    @classmethod
    def rules_out(cls, given: Given) -> tuple[str, ...]:
        """Names of layouts whose reading is wrong where this one fits too."""
        return ()

    @classmethod
    @abstractmethod
    def read(cls, given: Given) -> Cohort:
        """The cases; `DataError` or `LabelError` when it cannot be read."""


LAYOUTS: Registry[type[Layout]] = Registry("layout", "vesalius.formats.layouts")
