"""Opening what others wrote: JSON, and checkpoints from which nothing can be executed."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.errors import FormatError

NUMBERS = ("?", "b", "B", "h", "H", "i", "I", "l", "L", "e", "f", "d")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises
    ------
    FormatError: there is no such file, or it is no JSON object.
    """
    if not path.is_file():
        raise FormatError(f"{what} has no {path.name}", where=path.parent, expected=path.name, do="give the whole folder, as it was written")
    try:
        opened = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise FormatError("the file is no JSON", where=path, got=str(error), do="copy it again") from error
    if not isinstance(opened, dict):
        raise FormatError("the JSON file holds no object", where=path, expected="names and values", got=type(opened).__name__)
    return opened


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of PyTorch with tensors, plain values and numpy numbers; any other object in it is refused, unopened.

    Raises
    ------
    FormatError: there is no such file, it is damaged, or it needs code of its own to be opened.
    """
    if not path.is_file():
        raise FormatError("there is no such checkpoint", where=path, expected="a file written by torch.save", do="check the folder and the checkpoint's name")
    try:
        with torch.serialization.safe_globals(_harmless()):
            opened = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        why = next((line.strip() for line in str(error).splitlines() if "global" in line.lower()), str(error).strip().partition("\n")[0])
        raise FormatError(
            "the checkpoint holds more than tensors and numbers, or is damaged; it is not opened, because it could execute code", where=path,
            got=why[:200], do="take it from a source you trust and save its weights again with a plain torch.save of tensors",
        ) from error
    if not isinstance(opened, dict):
        raise FormatError("the checkpoint holds no names and tensors", where=path, expected="a dictionary", got=type(opened).__name__)
    return opened


def _harmless() -> list[Any]:
    """What numpy's numbers and arrays of numbers are rebuilt by, under the names of numpy 1 and 2. No dtype of objects."""
    parts = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    named = [(part, f"{module}.multiarray.{name}") for name, part in parts.items() for module in ("numpy.core", "numpy._core")]
    return [*named, np.ndarray, np.dtype, *{type(np.dtype(code)) for code in NUMBERS}]
