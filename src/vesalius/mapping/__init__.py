"""The one idea: a study in, a finding out. A mapping reads a study whole, or in tiles.

    Mapping = reads (input specification) + network + output + plan
"""

from vesalius.mapping.tiled import Segmented, TiledMapping
from vesalius.mapping.whole import Mapping, load, network_of, one_source, read_weights, single_thread

__all__ = ["Mapping", "Segmented", "TiledMapping", "load", "network_of", "one_source", "read_weights", "single_thread"]
