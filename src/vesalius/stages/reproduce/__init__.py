"""Run a fit again from its record, and say whether the same numbers came out."""

from vesalius.stages.reproduce.compare import Change, Compared, Version, Weights
from vesalius.stages.reproduce.result import Reproduced
from vesalius.stages.reproduce.run import reproduce

__all__ = ["Change", "Compared", "Reproduced", "Version", "Weights", "reproduce"]
