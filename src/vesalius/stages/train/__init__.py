"""Training: our own loop on Lightning Fabric; resumes bit-exactly, refuses a loss that is not a number."""

from vesalius.stages.train.job import Job, Trained
from vesalius.stages.train.launch import train_here_or_spread
from vesalius.stages.train.loop import train

__all__ = ["Job", "Trained", "train", "train_here_or_spread"]
