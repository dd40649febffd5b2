"""Data sets of known truth, made in seconds from a seed: what was planted must be found, what was not must not be reported.

    from vesalius.phantoms import KINDS, make_phantom
    truth = make_phantom("films", "demo/films", seed=0)
    truth.data                                  what to give to check and fit
    truth.planted["near_duplicates"]            what they should find

``docs/phantoms.md`` lists what each kind holds. From a shell: ``python -m vesalius.phantoms films demo/films``.
"""

from vesalius.phantoms.make import KINDS, make_phantom
from vesalius.phantoms.truth import Truth

__all__ = ["KINDS", "Truth", "make_phantom"]
