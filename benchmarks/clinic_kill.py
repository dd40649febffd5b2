"""kill -9 at random moments of receiving, reading and sending: is anything lost, or at the PACS twice?

    python benchmarks/clinic_kill.py [--kills 100] [--model stand-in|small] [--senders 2] [--seed 0] [--minutes M] [--folder FOLDER]

A whole service is killed with SIGKILL while senders go on; an instance that was not acknowledged is sent again, as a modality does. The model is a stand-in
in the service's process (a reading takes 30 ms and writes one object), or, with ``small``, a saved network with random weights in its own supervised
process; then kills wait for readings, and some of them hit the model's process alone. At the end every acknowledged object has to be in the store
once, every series has to have one finding of all its instances, the PACS every object of the findings once, and nothing that was told (log, output,
metrics, audit trail) may hold what was planted in the headers. Leaves with 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from stages.serve.clinickills import campaign
from stages.serve.clinicstandins import small_model


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--kills", type=int, default=100)
    asked.add_argument("--senders", type=int, default=2)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--folder", type=Path)
    asked.add_argument("--model", choices=("stand-in", "small"), default="stand-in")
    asked.add_argument("--minutes", type=float, default=1e6, help="no more kills after so long")
    given = asked.parse_args()
    model = small_model if given.model == "small" else None
    with tempfile.TemporaryDirectory() as scratch:
        outcome = campaign(given.folder or Path(scratch) / "site", given.kills, seed=given.seed, senders=given.senders, model=model,
                           longest_min=given.minutes)
    print(json.dumps(asdict(outcome), indent=2))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
