"""Should this model be used on this study? `learn` remembers the training images at the end of a fit, `judge` holds a study against them."""

from vesalius.stages.fitfor.base import Fitness, Reason
from vesalius.stages.fitfor.door import Door, UnfitError
from vesalius.stages.fitfor.frames import FrameJudge
from vesalius.stages.fitfor.judge import judge
from vesalius.stages.fitfor.learn import learn
from vesalius.stages.fitfor.record import RECORD, FitFor
from vesalius.stages.fitfor.store import keep_fit_for

__all__ = ["RECORD", "Door", "FitFor", "Fitness", "FrameJudge", "Reason", "UnfitError", "judge", "keep_fit_for", "learn"]
