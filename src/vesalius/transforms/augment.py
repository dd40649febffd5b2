"""The augmentation of a training batch: which transforms, by how much, in what order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from vesalius.seed import stream_seed
from vesalius.transforms.intensity import Erase, Noise, Soften, Tone
from vesalius.transforms.spatial import Affine


@dataclass(frozen=True)
class Augment:
    """Spatial first, then intensity. Drawn for a whole batch from a stream that has a name."""

    affine: Affine = Affine()
    tone: Tone = Tone()
    soften: Soften = Soften()
    noise: Noise = Noise()
    erase: Erase = Erase()

    def __call__(self, x: torch.Tensor, seed: int, *names: object, share: tuple[int, int] = (0, 1)) -> torch.Tensor:
        """Augment ``[B, C, (Z,) Y, X]`` in [0, 1]; the same seed and names give the same batch.

        ``share = (rank, world)``: ``x`` holds every ``world``-th image of a larger batch, starting at ``rank``;
        the draws are those of the larger batch.
        """
        source = torch.Generator().manual_seed(stream_seed(seed, "augment", *names))
        rank, world = share
        n, ndim, mine = x.shape[0] * world, x.ndim - 2, slice(rank, None, world)
        if not self.affine.idle:
            x = self.affine.apply(x, self.affine.draw(n, ndim, source)[mine])
        if self.tone != Tone():
            x = self.tone.apply(x, self.tone.draw(n, source)[mine])
        if self.soften.share:
            x = self.soften.apply(x, self.soften.draw(n, source)[mine])
        if self.noise.sigma:
            x = self.noise.apply(x, self.noise.draw((n, *x.shape[1:]), source)[mine])
        if self.erase.share:
            x = self.erase.apply(x, self.erase.draw(n, ndim, source)[mine])
        return x

    def to_dict(self) -> dict[str, Any]:
        facts = asdict(self)
        facts["affine"]["flip_axes"] = list(self.affine.flip_axes)
        return facts

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Augment:
        affine = dict(facts["affine"])
        affine["flip_axes"] = tuple(affine["flip_axes"])
        rest = (Tone(**facts["tone"]), Soften(**facts["soften"]), Noise(**facts["noise"]), Erase(**facts["erase"]))
        return cls(Affine(**affine), *rest)
