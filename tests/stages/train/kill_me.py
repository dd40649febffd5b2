"""Train until the parent kills this process: ``python kill_me.py FOLDER``; says where it is after each step."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3] / "src")]

import vesalius.stages.train.loop as loop  # noqa: E402
from training_job import job_in, plan_of  # noqa: E402
from vesalius.stages.train import train_here_or_spread  # noqa: E402

if __name__ == "__main__":
    loop.SAVE_EVERY_S = 0.0
    job = job_in(Path(sys.argv[1]), plan_of(sys.argv[2]))
    train_here_or_spread(job, lambda done, total, what: print(done, flush=True))
    print("finished", flush=True)
