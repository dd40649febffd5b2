"""MedMNIST by name: ``medmnist:breastmnist`` or ``medmnist:organmnist3d@64``, downloaded through the medmnist package when asked for."""

from __future__ import annotations

from pathlib import Path

from vesalius.core.cohort import Cohort
from vesalius.errors import OfflineError, OptionError
from vesalius.formats.given import LAYOUTS, Given, Layout
from vesalius.formats.layouts.npz import known_of, medmnist_info, read_npz
from vesalius.registry import unknown

PREFIX = "medmnist:"
SIZES_2D, SIZES_3D = (28, 64, 128, 224), (28, 64)


@LAYOUTS.register("medmnist")
class MedMnist(Layout):
    """A set of the MedMNIST collection (Yang et al., Scientific Data 10:41, 2023), kept in a cache folder."""

    name = "medmnist"

    @classmethod
    def matches(cls, given: Given) -> str | None:
        return "a name of the MedMNIST collection" if given.data.startswith(PREFIX) else None

    @classmethod
    def read(cls, given: Given) -> Cohort:
        flag, size = parse(given.data)
        folder = Path(given.options.cache).expanduser() if given.options.cache else Path.home() / ".cache" / "vesalius" / "medmnist"
        path = folder / (f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz")
        if not path.is_file():
            fetch(flag, size, folder)
        return read_npz(given, path, cls.name, known_of(medmnist_info()[flag]))


def parse(data: str) -> tuple[str, int]:
    """Name and side length of ``medmnist:NAME[@SIZE]``.

    Raises
    ------
    OptionError: no set of that name, or it does not exist in that size.

    >>> parse("medmnist:breastmnist@64")
    ('breastmnist', 64)
    """
    flag, _, size = data.removeprefix(PREFIX).strip().lower().partition("@")
    info = medmnist_info()
    if not info:
        raise OptionError("MedMNIST by name needs another package", expected="medmnist", got="it is not installed", do="pip install medmnist")
    if flag not in info:
        raise unknown("MedMNIST set", flag, sorted(info))
    sizes = SIZES_3D if flag.endswith("3d") else SIZES_2D
    if size and (not size.isdigit() or int(size) not in sizes):
        raise OptionError(f"{flag} does not exist in that size", expected=f"one of {', '.join(map(str, sizes))}", got=size,
                          do=f"e.g. {PREFIX}{flag}@{sizes[1]}")
    return flag, int(size or 28)


def fetch(flag: str, size: int, folder: Path) -> None:
    """Download one set into the cache folder.

    Raises
    ------
    OfflineError: the download fails.
    """
    import medmnist  # an optional part, which takes seconds to import

    folder.mkdir(parents=True, exist_ok=True)
    kind = getattr(medmnist, medmnist_info()[flag]["python_class"])
    try:
        kind(split="train", root=str(folder), size=size, download=True)
    except (OSError, RuntimeError) as error:
        raise OfflineError(f"{flag} could not be downloaded", where=folder,
                           expected=f"the network, or {flag}{'' if size == 28 else f'_{size}'}.npz in this folder",
                           got=type(error).__name__, do="fetch the file from the MedMNIST page on another machine and put it there") from error
