"""A mapping that reads a study whole.

A mapping is a lens: `encode` brings a study to what the network reads, `undo` brings a map back to the
study's own grid, and calling the mapping does both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes
from torch import nn

from vesalius.core.cohort import Source
from vesalius.core.finding import Finding
from vesalius.core.reads import Reads, TileReads
from vesalius.core.study import Study
from vesalius.errors import DataError, RunError
from vesalius.formats import find_sources, open_study
from vesalius.networks import build
from vesalius.outputs import Output
from vesalius.plan import Plan
from vesalius.storage import atomic_write
from vesalius.transforms.reading import Trace, prepare, standardise, undo, unit

WEIGHTS, PLAN, CARD = "weights.safetensors", "plan.toml", "card.md"


@dataclass
class Mapping:
    """A model that reads a study and says what it found.

    Parameters
    ----------
    reads: how a study is brought to the network.
    networks: one or several members; their raw values are averaged.
    output: the task: loss, probabilities, decoding.
    plan: the decisions it was made by.
    mirror: spatial axes (0 is the first) over whose mirror image the raw values are averaged too.
    folder: the model folder that it was read from, where what else belongs to the model lies; None for one that was just made.

    A study is always computed alone, in float32 and on one thread, so that its answer does not depend on
    which other studies were asked with it.
    """

    reads: Reads
    networks: Sequence[nn.Module]
    output: Output
    plan: Plan
    mirror: tuple[int, ...] = ()
    device: str = "cpu"
    folder: Path | None = field(default=None, kw_only=True, compare=False)

    reading: ClassVar[type[Reads] | type[TileReads]] = Reads

    def __post_init__(self) -> None:
        for network in self.networks:
            network.to(self.device).eval()

    @property
    def network(self) -> nn.Module:
        """The first member; explanations look at this one."""
        return self.networks[0]

    def encode(self, study: Study) -> tuple[torch.Tensor, Trace]:
        """The study as the network reads it, float32 ``[C, (Z,) Y, X]`` standardised, and the way back."""
        array, trace = prepare(study, self.reads)
        return self.encode_array(array), trace

    def encode_array(self, array: np.ndarray) -> torch.Tensor:
        """A prepared array (see `transforms.reading.prepare`) as the network reads it."""
        return standardise(unit(array, self.reads)[None], self.reads)[0].to(self.device)

    def undo(self, array: np.ndarray, trace: Trace) -> np.ndarray:
        """A map at the network's resolution back on the study's own grid."""
        return undo(array, trace)

    def raw(self, x: torch.Tensor) -> np.ndarray:
        """Raw values ``[n_out]`` of one encoded study ``[C, (Z,) Y, X]``: mean over members and mirror images."""
        views = [x] if not self.mirror else [x, x.flip([1 + axis for axis in self.mirror])]
        batch = torch.stack(views)
        with torch.inference_mode():
            values = [self.output.predict(network, batch) for network in self.networks]
        return torch.cat(values).mean(0).cpu().numpy()

    def raw_of(self, arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Raw values of prepared arrays, one after the other."""
        for array in arrays:
            yield self.raw(self.encode_array(array))

    def __call__(self, study: Study | Source | str | Path) -> Finding:
        """The finding for a study, or for the one study that a file or folder holds.

        Raises
        ------
        FormatError, DataError: the file cannot be read, or holds several studies.
        """
        opened = study if isinstance(study, Study) else open_study(one_source(study))
        with single_thread():
            x, _ = self.encode(opened)
            return self.output.decode(self.raw(x), opened)

    @property
    def hash(self) -> str:
        """First 16 hex digits of the sha256 over the names and bytes of all weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    def _tensors(self) -> dict[str, torch.Tensor]:
        members = ((f"{i}.{name}", value) for i, network in enumerate(self.networks) for name, value in network.state_dict().items())
        return {name: value.detach().cpu().contiguous() for name, value in members}

    def save(self, folder: Path, card: str = "") -> None:
        """Write ``plan.toml``, ``weights.safetensors`` and ``card.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"reads": self.reads.to_dict(), "output": self.output.to_dict(), "mirror": list(self.mirror), "members": len(self.networks)}
        atomic_write(folder / WEIGHTS, tensors_to_bytes(self._tensors(), {"vesalius": json.dumps(facts)}))
        self.plan.save(folder / PLAN)
        atomic_write(folder / CARD, card.encode())

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> Mapping:
        """Read what `save` wrote; ``folder`` is the model folder or the run folder above it.

        Raises
        ------
        RunError: there is no model, or its weights are damaged or of another network.
        """
        folder = Path(folder)
        folder = folder / "model" if (folder / "model").is_dir() else folder
        plan = Plan.load(folder / PLAN)
        tensors, facts = read_weights(folder / WEIGHTS)
        output = Output.from_dict(facts["output"])
        kind = READINGS[output.reading]
        reads = kind.reading.from_dict(facts["reads"])
        networks = [_member(plan, reads, output, tensors, i, folder) for i in range(facts["members"])]
        return kind(reads, networks, output, plan, tuple(facts["mirror"]), device, folder=folder)  # type: ignore[arg-type]


READINGS: dict[str, type[Mapping]] = {"whole": Mapping}
"""Which mapping reads in which way (`Output.reading`); `mapping.tiled` and `mapping.boxed` enter their own."""


def network_of(plan: Plan, reads: Reads | TileReads, n_out: int) -> nn.Module:
    """The network that the plan names, with fresh weights."""
    options = plan.get("network.options", {})
    return build(plan["network.name"], channels=reads.channels, n_out=n_out, size=reads.size, **options)


def _member(plan: Plan, reads: Reads | TileReads, output: Output, tensors: dict[str, torch.Tensor], i: int, folder: Path) -> nn.Module:
    network = network_of(plan, reads, output.n_out)
    mine = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{i}.")}
    try:
        network.load_state_dict(mine)
    except RuntimeError as error:
        raise RunError(
            "the weights are not those of the planned network", where=folder, got=str(error).splitlines()[0], do="copy the model folder again, whole",
        ) from error
    return network


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and facts of a weights file; nothing in it can execute."""
    if not path.is_file():
        raise RunError("the model has no weights", where=path, expected=WEIGHTS, do="wait until 'vesalius fit' has finished, or copy the model folder again")
    try:
        with safetensors.safe_open(path, "pt") as opened:
            facts = json.loads((opened.metadata() or {})["vesalius"])
        return load_file(path), facts
    except (SafetensorError, KeyError, ValueError) as error:
        raise RunError("the weights file is damaged", where=path, got=str(error), do="copy the model folder again") from error


def one_source(where: Source | str | Path) -> Source:
    """The one study that a path holds; DataError when it holds none or several."""
    if isinstance(where, Source):
        return where
    sources = find_sources(Path(where))
    if len(sources) != 1:
        raise DataError("not one study", where=where, expected="a file or folder with one study", got=f"{len(sources)} studies", do="use predict for several")
    return sources[0]


class single_thread:
    """Compute on one thread inside the block: the same sums in the same order wherever it runs."""

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)


def load(folder: Path | str, device: str = "cpu") -> Mapping:
    """The mapping in a run folder or model folder; see `Mapping.load`."""
    return Mapping.load(folder, device)
