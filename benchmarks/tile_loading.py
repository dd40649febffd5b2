"""How fast training tiles are read: from prepared, memory-mapped cases, against compressed and plain ``.npz`` files of the same cases.

    python benchmarks/tile_loading.py [--cases 12] [--side 160] [--tile 64] [--tiles 200]

Every contender reads the same tiles (image float16, mask uint8) of the same made-up volumes, in the same order, in one process; the checksums
must agree. The files are in the page cache for all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vesalius.core.reads import TileReads
from vesalius.stages.tiled.store import TileStore

Tile = tuple[int, tuple[slice, ...]]


def make(folder: Path, cases: int, side: int) -> None:
    rng = np.random.default_rng(0)
    for row in range(cases):
        image, truth = rng.normal(size=(1, side, side, side)).astype(np.float16), rng.integers(0, 3, (1, side, side, side), np.uint8)
        np.save(folder / f"{row}.image.npy", image)
        np.save(folder / f"{row}.truth.npy", truth)
        np.savez(folder / f"{row}.npz", image=image, truth=truth)
        np.savez_compressed(folder / f"{row}.small.npz", image=image, truth=truth)


def tiles(n: int, cases: int, side: int, tile: int) -> list[Tile]:
    rng = np.random.default_rng(1)
    return [(int(rng.integers(cases)), tuple(slice(s, s + tile) for s in rng.integers(0, side - tile + 1, 3))) for _ in range(n)]


def timed(name: str, read: Callable[[Tile], tuple[np.ndarray, np.ndarray]], wanted: list[Tile]) -> tuple[float, float]:
    start, total = time.perf_counter(), 0.0
    for each in wanted:
        image, truth = read(each)
        total += float(image.astype(np.float32).sum(dtype=np.float64)) + int(truth.sum(dtype=np.int64))
    seconds = (time.perf_counter() - start) / len(wanted)
    print(f"{name:28} {1000 * seconds:9.2f} ms a tile")
    return seconds, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("cases", 12), ("side", 160), ("tile", 64), ("tiles", 200)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, given.cases, given.side)
        wanted = tiles(given.tiles, given.cases, given.side, given.tile)
        store = TileStore(folder, tuple(map(str, range(given.cases))), TileReads((given.tile,) * 3))

        def ours(each: Tile) -> tuple[np.ndarray, np.ndarray]:
            row, box = each
            return np.array(store.image(row)[(slice(None), *box)]), np.array(store.truth(row)[(slice(None), *box)])

        def archive(suffix: str) -> Callable[[Tile], tuple[np.ndarray, np.ndarray]]:
            def read(each: Tile) -> tuple[np.ndarray, np.ndarray]:
                with np.load(folder / f"{each[0]}{suffix}") as held:
                    return held["image"][(slice(None), *each[1])], held["truth"][(slice(None), *each[1])]

            return read

        mine, check = timed("prepared cases (ours)", ours, wanted)
        for name, suffix in (("npz", ".npz"), ("npz, compressed", ".small.npz")):
            theirs, other = timed(name, archive(suffix), wanted)
            print(f"  ratio {theirs / mine:.1f}, same numbers: {check == other}")


if __name__ == "__main__":
    main()
