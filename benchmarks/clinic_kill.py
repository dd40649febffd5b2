"""kill -9 at random moments of receiving, reading and sending: is anything lost, or at the PACS twice?

    python benchmarks/clinic_kill.py [--kills 100] [--senders 2] [--seed 0] [--folder FOLDER]

A whole service but for the network in the model (a reading takes 30 ms and writes one object) is killed with SIGKILL while senders go on; an instance
that was not acknowledged is sent again, as a modality does. At the end every acknowledged object has to be in the store once, every series has to have one
finding of all its instances, and the PACS one object a finding. Leaves with 1 when a promise was broken.
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


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--kills", type=int, default=100)
    asked.add_argument("--senders", type=int, default=2)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--folder", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outcome = campaign(given.folder or Path(scratch) / "site", given.kills, seed=given.seed, senders=given.senders)
    print(json.dumps(asdict(outcome), indent=2))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
