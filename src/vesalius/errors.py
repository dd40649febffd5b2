"""Every error that Vesalius raises on purpose.

    VesaliusError
     ├─ DataError        what was given cannot be used as data
     │   ├─ FormatError  one file cannot be read
     │   ├─ LabelError   the labels, the table or a column of it
     │   └─ TooFewError  not enough patients, classes or images
     ├─ OptionError      an unknown name or an impossible option
     ├─ RunError         the run folder: locked, read-only, full disk, of another schema
     ├─ TrainingError    the loss is not a number, or it diverges
     ├─ OfflineError     a download was asked for and the network is absent
     └─ SealError        the sealed test set is not the one that was sealed

A message is one sentence that says what was expected, what came, where, and
what to do. The command line prints it and leaves with exit code 2.
"""

from __future__ import annotations

from pathlib import Path


class VesaliusError(Exception):
    """The root of the tree; catch this one to catch all.

    >>> str(DataError("the folder has no images", where="scans", expected="PNG, NIfTI or DICOM files",
    ...               got="3 files of type .txt", do="give the folder that holds the images"))
    'the folder has no images (scans): expected PNG, NIfTI or DICOM files, got 3 files of type .txt; give the folder that holds the images'
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        do: str | None = None,
        where: str | Path | None = None,
    ) -> None:
        self.what, self.expected, self.got, self.do, self.where = what, expected, got, do, where
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        text = self.what if self.where is None else f"{self.what} ({self.where})"
        facts = [f"expected {self.expected}" if self.expected is not None else ""]
        facts.append(f"got {self.got}" if self.got is not None else "")
        told = ", ".join(fact for fact in facts if fact)
        text = f"{text}: {told}" if told else text
        return f"{text}; {self.do}" if self.do else text

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between processes (a worker's error reaches the user whole)."""
        facts = {k: getattr(self, k) for k in ("expected", "got", "do", "where")}
        return (_rebuild, (type(self), self.what, facts))


def _rebuild(kind: type[VesaliusError], what: str, facts: dict[str, str]) -> VesaliusError:
    return kind(what, **facts)  # type: ignore[arg-type]


class DataError(VesaliusError):
    """What was given cannot be used as data."""


class FormatError(DataError):
    """One file cannot be read."""


class LabelError(DataError):
    """The labels, the table or one of its columns."""


class TooFewError(DataError):
    """Not enough patients, classes or images for what was asked."""


class OptionError(VesaliusError):
    """An unknown name or an impossible option."""


class RunError(VesaliusError):
    """The run folder: locked, read-only, full disk, or of another schema."""


class TrainingError(VesaliusError):
    """The loss is not a number, or it diverges."""


class OfflineError(VesaliusError):
    """A download was asked for and the network is absent."""


class SealError(VesaliusError):
    """The sealed test set is not the one that was sealed."""
