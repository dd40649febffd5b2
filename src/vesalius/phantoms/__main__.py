"""``python -m vesalius.phantoms KIND OUT [--seed N] [--n N]``: writes a phantom and says where its truth is."""

from __future__ import annotations

import argparse
import sys

from vesalius.errors import VesaliusError
from vesalius.phantoms import KINDS, make_phantom


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 with one sentence on the error stream."""
    parser = argparse.ArgumentParser(prog="python -m vesalius.phantoms", description="Writes a data set whose truth is known.")
    parser.add_argument("kind", help=", ".join(KINDS))
    parser.add_argument("out", help="a new folder; OUT/data is written, and OUT/truth.json beside it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=None, help="images (dicom: series)")
    given = parser.parse_args(words)
    try:
        truth = make_phantom(given.kind, given.out, seed=given.seed, n=given.n)
    except VesaliusError as error:
        sys.stderr.write(f"vesalius: {error}\n")
        return 2
    sys.stdout.write(f"{truth.data} holds {len(truth.true_label)} images or series; what was planted is in {given.out}/truth.json\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
