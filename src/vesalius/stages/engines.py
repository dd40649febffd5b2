"""The engine that was found fastest for a network on this machine, kept in ``engines/`` beside the model so that it is measured once and not for every study.

What is kept belongs to the weights, the shape of the tiles, the threads, the processor and the versions of the engines: when any of them changes,
it is measured again. A folder that cannot be written to costs time only. ``engines/`` holds nothing that cannot be made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesalius.errors import RunError
from vesalius.mapping import BoxedMapping, TiledMapping
from vesalius.networks.backends import AGREEMENT, BOX_AGREEMENT, PLAIN, Backend, boxes_agree, built, fastest
from vesalius.storage import atomic_json

FOLDER = "engines"
EXPORTED = ("onnxruntime", "openvino")
PACKAGES = ("torch", "onnxruntime", "openvino", "vesalius")


@dataclass(frozen=True)
class Known:
    """What was measured before: name of the engine, the sentence, seconds of a tile in it and in plain torch, sha256 of the exported model ("" for none)."""

    name: str
    sentence: str
    seconds: float
    plain_seconds: float
    exported: str


def engines_known(mapping: TiledMapping | BoxedMapping) -> list[Known]:
    """What is kept of each network of a mapping; empty when it is not complete, damaged or of another machine."""
    found = [_known(path) for path in _paths(mapping)]
    return [each for each in found if each is not None] if found and all(found) else []


def known_engines(
    mapping: TiledMapping | BoxedMapping, known: list[Known], probe: torch.Tensor, decide: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> list[Backend]:
    """The engines that are kept, without measuring; none unless each still decides on the probe as torch does: the model's hash does not cover their files."""
    paths = _paths(mapping)
    said = "; measured before, kept beside the model"
    made = [
        built(each.name, network, **_facts(mapping), sentence=each.sentence + said, file=path.with_suffix(".onnx"), detects=_detects(mapping))
        for each, network, path in zip(known, mapping.networks, paths, strict=True)
    ]
    alike = all(_alike(mapping, network, engine, probe, decide) for network, engine in zip(mapping.networks, made, strict=True))
    return made if alike else []


def _alike(
    mapping: TiledMapping | BoxedMapping, network: nn.Module, engine: Backend, probe: torch.Tensor, decide: Callable[[torch.Tensor], torch.Tensor] | None,
) -> bool:
    with torch.inference_mode():
        plain, raw = mapping.output.predict(network, probe).float(), engine(probe)
    if raw.shape != plain.shape:
        return False
    if decide is None:
        return boxes_agree(raw, plain, mapping.output.n_out) >= BOX_AGREEMENT
    return float((decide(raw) == decide(plain)).float().mean()) >= AGREEMENT


def measured_engines(
    mapping: TiledMapping | BoxedMapping, probe: torch.Tensor, seconds: float, decide: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> list[Backend]:
    """The fastest engine of each network by measuring, kept where the model lies on a disk that can be written.

    probe: a real tile ``[1, C, *size]``. seconds: no further engine is tried after so long. decide: see `networks.backends.fastest`.
    """
    paths: Sequence[Path | None] = _paths(mapping) or [None] * len(mapping.networks)
    return [_measured(mapping, network, path, probe, seconds, decide) for network, path in zip(mapping.networks, paths, strict=True)]


def _measured(
    mapping: TiledMapping | BoxedMapping, network: nn.Module, path: Path | None, probe: torch.Tensor, seconds: float,
    decide: Callable[[torch.Tensor], torch.Tensor] | None,
) -> Backend:
    options: dict[str, Any] = _facts(mapping) | {"seconds": seconds, "probe": probe, "decide": decide, "detects": _detects(mapping)}
    if path is None or not _writable(path.parent):
        return fastest(network, **options)
    part = path.with_suffix(f".{os.getpid()}.onnx")  # of this process alone, until it is whole
    try:
        made = fastest(network, **options, file=part)
        _keep(made, path, part)
    finally:
        part.unlink(missing_ok=True)
    return made


def _keep(made: Backend, path: Path, exported: Path) -> None:
    digest = ""
    if made.name.startswith(EXPORTED):
        digest = _digest(exported)
        exported.replace(path.with_suffix(".onnx"))
    atomic_json(path, asdict(Known(made.name, made.sentence, made.seconds[made.name], made.seconds[PLAIN], digest)))


def _writable(folder: Path) -> bool:
    """Whether files can be kept there; a model on a read-only disk is measured each time."""
    try:
        atomic_json(folder / "about.json", {"what": "engines measured on this machine; may be deleted"})
    except RunError:
        return False
    return True


def _known(path: Path) -> Known | None:
    file = path.with_suffix(".onnx")
    try:
        known = Known(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # absent or damaged: measured anew and written over
    there = not known.exported or (file.is_file() and _digest(file) == known.exported)
    return known if there else None


def _paths(mapping: TiledMapping | BoxedMapping) -> list[Path]:
    """Where the record of each network lies; none for a mapping that was not read from a folder."""
    if mapping.folder is None or mapping.device != "cpu":
        return []
    common = _facts(mapping) | {"threads": torch.get_num_threads(), "machine": _machine(), "detects": _detects(mapping)}
    keys = [hashlib.sha256(json.dumps(common | {"weights": _weights(network)}, sort_keys=True).encode()).hexdigest()[:16] for network in mapping.networks]
    return [mapping.folder / FOLDER / f"{key}.json" for key in keys]


def _facts(mapping: TiledMapping | BoxedMapping) -> dict[str, Any]:
    return {"channels": mapping.reads.channels, "size": list(mapping.reads.size), "n_out": mapping.output.n_out}


def _detects(mapping: TiledMapping | BoxedMapping) -> bool:
    return isinstance(mapping, BoxedMapping)


def _machine() -> list[str]:
    """The processor with what it can compute, and the versions of the engines."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    processor = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags", "Features"))][:2]
    return [*(processor or [platform.processor() or platform.machine()]), *(f"{name} {_version(name)}" for name in PACKAGES)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _weights(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
