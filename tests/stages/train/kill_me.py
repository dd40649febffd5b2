"""Train until the parent kills this process: ``python kill_me.py FOLDER NETWORK [STEP]``; says where it is after each step.

With a step it presses Ctrl-C itself when it is there, and tells whether that has ended the training as it should.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3] / "src")]

import vesalius.stages.train.loop as loop  # noqa: E402
from training_job import job_in, plan_of  # noqa: E402
from vesalius.stages.train import train_here_or_spread  # noqa: E402

if __name__ == "__main__":
    pressed_at = int(sys.argv[3]) if len(sys.argv) > 3 else None
    loop.SAVE_EVERY_S = 0.0 if pressed_at is None else loop.SAVE_EVERY_S
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background would ignore it

    def tell(done: int, total: int, what: str) -> None:
        print(done, flush=True)
        if done == pressed_at:
            os.kill(os.getpid(), signal.SIGINT)

    job = job_in(Path(sys.argv[1]), plan_of(sys.argv[2]))
    try:
        train_here_or_spread(job, tell)
        print("finished", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
