"""What a simple method reaches on the same split: a network that does not beat it has learnt nothing of worth."""

from vesalius.stages.baselines.base import BASELINES, Task
from vesalius.stages.baselines.crossed import run_crossed
from vesalius.stages.baselines.run import run_baselines

__all__ = ["BASELINES", "Task", "run_baselines", "run_crossed"]
