"""Models at work: one warm process a model, supervised, with a bounded queue and dynamic batches.

    Engine                        start, stop, ready, submit(model, files, out, job=...) -> Future of the finding
    Busy, Died                    the queue is full; the process died with this job
    python -m vesalius.stages.serve.work.process      the process of one model
"""

from vesalius.stages.serve.work.engine import Engine
from vesalius.stages.serve.work.lines import Busy, Died

__all__ = ["Busy", "Died", "Engine"]
