"""How many images a second does `check` audit, beside a plain loop that only opens and hashes them?

    python benchmarks/check_speed.py [--n 5000] [--size 256] [--npz NPZ] [--jobs J] [--keep FOLDER]

Writes N grey PNGs (films of NPZ enlarged, else phantoms) into class folders, then times, each in a fresh process:
the plain loop (PIL open + decode + sha256, one process) and `vesalius.check` (recognise, decode, hash, fingerprints,
near duplicates, all findings). Wall time depends on what else the machine does; processor seconds are told too (those of
worker processes are not all counted, so compare them with --jobs 1).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

CHILD = """
import json, resource, sys, time
start = time.perf_counter()
{body}
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({{"wall_s": time.perf_counter() - start, "cpu_s": sum(u.ru_utime + u.ru_stime for u in used)}}))
"""
PLAIN = """
import hashlib
from pathlib import Path
import numpy as np
from PIL import Image
for path in sorted(Path(sys.argv[1]).rglob("*.png")):
    hashlib.sha256(path.read_bytes()).hexdigest()
    np.asarray(Image.open(path))
"""
CHECK = """
from vesalius.stages.check import check
audit = check(sys.argv[1], jobs=int(sys.argv[2]) or None)
"""


def write(folder: Path, n: int, size: int, npz: Path | None) -> None:
    """N PNGs in two class folders."""
    small = None
    if npz is not None:
        with np.load(npz) as held:
            small = np.concatenate([held[name] for name in held.files if name.endswith("_images")])
    for i in range(n):
        path = folder / "ab"[i % 2] / f"film_{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_film(i, size, small)).save(path)


def _film(i: int, size: int, small: np.ndarray | None) -> np.ndarray:
    random = np.random.default_rng(i)
    if small is not None:
        large = np.asarray(Image.fromarray(small[i % len(small)]).resize((size, size), Image.Resampling.BICUBIC), np.float32)
    else:
        y, x = np.mgrid[0:size, 0:size] / size
        detail = gaussian_filter(random.normal(size=(size // 4, size // 4)), size / 100).repeat(4, 0).repeat(4, 1)
        large = 120 + 60 * np.cos(6 * x) * np.cos(3 * y) + 25 * detail / detail.std()
    return np.clip(large + random.normal(0, 3, large.shape), 0, 255).astype(np.uint8)


def timed(body: str, folder: Path, jobs: int) -> dict[str, float]:
    command = [sys.executable, "-c", CHILD.format(body=body), str(folder), str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--npz", type=Path)
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0 leaves it to check")
    parser.add_argument("--keep", type=Path, help="write the images here and leave them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = given.keep or Path(made)
        write(folder, given.n, given.size, given.npz)
        told = {name: timed(body, folder, given.jobs) for name, body in (("plain loop", PLAIN), ("check", CHECK))}
    for facts in told.values():
        facts |= {"images_per_s": round(given.n / facts["wall_s"], 1), "images_per_cpu_s": round(given.n / facts["cpu_s"], 1)}
    print(json.dumps({"n": given.n, "size": given.size, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], **told}, indent=1))


if __name__ == "__main__":
    main()
