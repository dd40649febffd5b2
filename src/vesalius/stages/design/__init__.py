"""From the facts of the data and the machine to a plan, with the reason beside every choice."""

from vesalius.stages.design.design import complete, design, reads_of
from vesalius.stages.design.facts import Facts, gather
from vesalius.stages.design.machine import Machine, this_machine

__all__ = ["Facts", "Machine", "complete", "design", "gather", "reads_of", "this_machine"]
