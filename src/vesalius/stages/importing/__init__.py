"""Models that others trained, as mappings of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vesalius.registry import unknown
from vesalius.stages.importing.monai_bundle import import_monai_bundle, read_monai_bundle
from vesalius.stages.importing.nnunet import import_nnunet, read_nnunet

__all__ = ["KINDS", "import_model", "import_monai_bundle", "import_nnunet", "read_monai_bundle", "read_nnunet"]

KINDS: dict[str, Callable[[Path | str, Path | str], Path]] = {"nnunet": import_nnunet, "monai-bundle": import_monai_bundle}


def import_model(kind: str, folder: Path | str, out: Path | str) -> Path:
    """Write a foreign model as a model of ours into ``out/model``; returns ``out``.

    Parameters
    ----------
    kind: ``"nnunet"`` (a trained-model folder of nnU-Net v2) or ``"monai-bundle"``.

    Raises
    ------
    OptionError: another kind. FormatError: see `import_nnunet` and `import_monai_bundle`.
    """
    if kind not in KINDS:
        raise unknown("foreign model", kind, list(KINDS))
    return KINDS[kind](folder, out)
