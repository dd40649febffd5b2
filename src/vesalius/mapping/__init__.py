"""The one idea: a study in, a finding out. A mapping reads a study whole, or in tiles; it answers for the whole, for every sample, or with boxes.

    Mapping = reads (input specification) + network + output + plan
"""

from vesalius.mapping.boxed import BoxedMapping
from vesalius.mapping.tiled import Segmented, TiledMapping
from vesalius.mapping.whole import Mapping, load, network_of, one_source, read_weights, single_thread

__all__ = ["BoxedMapping", "Mapping", "Segmented", "TiledMapping", "load", "network_of", "one_source", "read_weights", "single_thread"]
