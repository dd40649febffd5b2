"""The small network of the first lesson: conv-pool-conv-pool-dense (LeCun et al., *Gradient-based learning
applied to document recognition*, Proc. IEEE 1998, with today's rectifiers and max pooling).

It gives the floor: whatever it cannot reach is worth a deeper network, and whatever a deeper one does not
add to it is not worth the time.
"""

from __future__ import annotations

from torch import nn

from vesalius.networks._base import NetworkInfo, enter
from vesalius.networks._layers import layer

LARGEST_MAP = {2: 16, 3: 8}
"""Samples along an axis before the dense layer; a larger map is pooled down to it, or its weights would explode."""


def small_cnn(channels: int, n_out: int, size: tuple[int, ...], width: int = 32, hidden: int = 128, dropout: float = 0.0) -> nn.Module:
    """Two convolutions of 3 with a pool of 2 after each, then a dense layer of ``hidden`` units."""
    ndim = len(size)
    final = [min(n // 4, LARGEST_MAP[ndim]) for n in size]
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width)):
        layers += [layer("conv", ndim, before, after, 3, padding=1), nn.ReLU(inplace=True), layer("max", ndim, 2)]
    if any(n // 4 > most for n, most in zip(size, final, strict=True)):
        layers.append(layer("to_max", ndim, tuple(final)))
    flat = 2 * width
    for n in final:
        flat *= n
    dense = [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, n_out)]
    return nn.Sequential(*layers, *dense)


enter(NetworkInfo("small-cnn", "LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998", 1998, (2, 3), 4), small_cnn)
