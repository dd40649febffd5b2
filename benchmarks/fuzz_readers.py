"""Do broken files break anything? Mutated DICOM objects, tables and uploads go through the readers, and every one must be read or refused.

    python benchmarks/fuzz_readers.py [--n 100000] [--targets dicom,table,upload] [--seed 0] [--json FILE]
    python benchmarks/fuzz_readers.py --again TARGET:SEED:NUMBER      (one case in this process, with its traceback)

Each child process holds 512 MB of address space above what it has after its imports, and says which case it is at; the parent ends one that spends 5 s on a
case. A fault is: an exception other than the package's own, a process that dies, memory that is refused, a hang. Cases depend on seed and
number alone, so that each can be done again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import logging
import mmap
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

MORE, HANG_S = 512 * 2**20, 5.0
INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80",
               b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"SQ\0\0\xff\xff\xff\xff",
               b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"UN\0\0", b"../", b"\n", b'"', b",", b"1e999", b"-1", b"NaN")
STATE = struct.Struct("<QQQQ")
"""Shared with the parent: cases done, the number of the case, when it began (ns), and the processor time that was used by then (ns)."""
WALL_TIMES = 12
"""A busy machine lets a process wait: a hang is 5 s of its own time, or twelve times that by the clock."""


def mutated(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One to eight changes: bits, bytes, lengths, blocks moved, doubled or lost, a cut, a piece of another file."""
    held = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4, 8))):
        if not held:
            return bytes(held)
        place, how = chance.randrange(len(held)), chance.randrange(8)
        size = min(len(held) - place, 1 << chance.randrange(9))
        if how == 0:
            held[place] ^= 1 << chance.randrange(8)
        elif how == 1:
            held[place] = chance.randrange(256)
        elif how in (2, 3):
            what = chance.choice(INTERESTING)
            held[place : place + len(what) * (how == 2)] = what
        elif how == 4:
            del held[place : place + size]
        elif how == 5:
            held[place:place] = held[place : place + size] * chance.choice((1, 1, 2, 50))
        elif how == 6 and chance.random() < 0.4:
            del held[place:]
        else:
            other = chance.choice(others)
            start = chance.randrange(max(1, len(other)))
            held[place : place + size] = other[start : start + size]
    return bytes(held)


def dicom_seeds() -> list[bytes]:
    import pydicom

    paths = sorted((Path(pydicom.__file__).parent / "data").rglob("*"))
    return [path.read_bytes() for path in paths if path.is_file() and path.suffix in (".dcm", "") and path.stat().st_size < 24_000]


def table_seeds() -> list[bytes]:
    import pandas as pd

    rows = range(12)
    frame = pd.DataFrame({"image": [f"a/{k}.png" for k in rows], "label": ["cat", "dog"] * 6, "patient": [f"00{k}" for k in rows],
                          "age": [k / 2 for k in rows]})
    buffers = [io.BytesIO(), io.BytesIO()]
    frame.to_parquet(buffers[0])
    frame.to_excel(buffers[1], index=False)
    texts = [frame.to_csv(index=False), frame.to_csv(index=False, sep="\t"), frame.to_csv(index=False, sep=";").replace("image", "图像"),
             '"a","b"\n"x\ny","1"\n']
    return [text.encode("gb18030" if "图" in text else "utf-8") for text in texts] + [buffer.getvalue() for buffer in buffers]


def upload_seeds() -> list[bytes]:
    from PIL import Image

    picture = io.BytesIO()
    Image.new("L", (24, 24), 90).save(picture, "PNG")
    head = b'Content-Disposition: form-data; name="files"; filename="../../x.png"\r\nContent-Type: image/png\r\n\r\n'
    files = [picture.getvalue(), *[seed for seed in dicom_seeds() if len(seed) < 9000][:12]]
    parts = [b"--XX\r\n" + head + data + b"\r\n" for data in files]
    return [parts[0] + b"--XX--\r\n", *[part + parts[0] + b"--XX--\r\n" for part in parts[1:]], *files]


def run_dicom(data: bytes, folder: Path, chance: random.Random) -> None:
    from vesalius.core.cohort import Source
    from vesalius.formats import header, open_study
    from vesalius.guards.deidentify import Key, Options
    from vesalius.stages.deidentify.file import cleaned_file

    path = folder / "case"
    path.write_bytes(data)
    way = chance.randrange(8)
    if way == 0:
        header(Source("dicom", str(path)))
    elif way == 1:
        cleaned_file(path, "0" * 64, Options("shift", clean=frozenset({"pixels", "structured", "descriptors", "graphics"})), Key(bytes(32)))
    elif way in (2, 3):
        from vesalius.formats.dicomguard import guard

        guard(data)
    else:
        open_study(Source("dicom", str(path)))


def run_table(data: bytes, folder: Path, chance: random.Random) -> None:
    from vesalius.formats.sheet import read_sheet

    suffix = ".parquet" if data[:3] == b"PAR" else ".xlsx" if data[:2] == b"PK" else chance.choice((".csv", ".csv", ".tsv", ".parquet", ".xlsx"))
    path = folder / f"case{suffix}"
    path.write_bytes(data)
    read_sheet(path)


def run_upload(data: bytes, folder: Path, chance: random.Random) -> None:
    from fastapi import Request

    from vesalius.formats import open_study
    from vesalius.formats.sources import find_sources
    from vesalius.stages.serve.http.predict import _guarded
    from vesalius.stages.serve.http.uploads import uploaded
    from vesalius.stages.serve.site import Limits

    others = (b"application/dicom", b"image/png", b"multipart/related; boundary=XX", b"multipart/form-data; boundary=\xff")
    kind = chance.choice((b"multipart/form-data; boundary=XX",) * 6 + others)
    limits = Limits()
    cut = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    pieces = [data[a:b] for a, b in zip([0, *cut], [*cut, len(data)], strict=True)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def work() -> None:
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind)], "query_string": b""}, receive)
        async with uploaded(request, folder, limits) as parts:
            _guarded(parts, limits)
            for part in parts:
                for source in find_sources(part.path):
                    open_study(source)
        if any((folder / "uploads").iterdir()):
            raise RuntimeError("an upload was left behind")

    asyncio.run(work())


def run_planted(data: bytes, folder: Path, chance: random.Random) -> None:
    """Faults that this program must notice: memory, an error, a death, a hang."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    way = chance.randrange(5)
    if way == 0:
        bytearray(2 * MORE)
    elif way == 1:
        raise KeyError("planted")
    elif way == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == 3:
        while True:
            pass


TARGETS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes, Path, random.Random], None]]] = {
    "dicom": (dicom_seeds, run_dicom), "table": (table_seeds, run_table), "upload": (upload_seeds, run_upload),
    "planted": (lambda: [b"nothing"], run_planted),
}


def one(target: str, seeds: list[bytes], seed: int, number: int, folder: Path) -> str:
    """Do one case: ``read``, ``refused``, or raise."""
    from vesalius.errors import VesaliusError

    chance = random.Random(f"{target}/{seed}/{number}")
    data = mutated(chance.choice(seeds), chance, seeds)
    try:
        TARGETS[target][1](data, folder, chance)
    except VesaliusError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from error
        return "refused"
    except Exception as error:
        if type(error).__name__ == "Refused":  # the service's answer of 4xx
            return "refused"
        raise
    return "read"


def quiet() -> None:
    """Libraries below ours warn about every broken file; what is wanted here is what ours say."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def child(target: str, seed: int, first: int, last: int, state: str, folder: str) -> None:
    report = os.fdopen(os.dup(1), "w")
    quiet()
    seeds = TARGETS[target][0]()
    for number in range(3):  # imports of the readers happen here, before the limit
        with contextlib.suppress(Exception):
            one(target, seeds, -1, number, Path(folder))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MORE, size + MORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    counts: Counter[str] = Counter()
    with open(state, "r+b") as opened, mmap.mmap(opened.fileno(), STATE.size) as shared:
        for number in range(first, last):
            shared[:] = STATE.pack(number - first, number, time.monotonic_ns(), time.process_time_ns())
            try:
                counts[one(target, seeds, seed, number, Path(folder))] += 1
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is a fault, and the next case follows
                fault = {"fault": f"{type(error).__name__}: {error}"[:300], "number": number, "where": traceback.format_tb(error.__traceback__)[-1][:300]}
                print(json.dumps(fault), file=report, flush=True)
    used = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024  # ru_maxrss would be that of the parent
    print(json.dumps({"counts": counts, "rss": used}), file=report, flush=True)


def fuzz(target: str, n: int, seed: int = 0, hang_s: float = HANG_S) -> dict[str, Any]:
    """Run ``n`` cases in child processes: counts, faults, seconds, largest resident memory."""
    counts: Counter[str] = Counter()
    faults: list[dict[str, Any]] = []
    start, place, last, rss = time.monotonic(), 0, n, 0
    while place < last:
        place, more, told, used = _child(target, seed, place, last, hang_s)
        counts.update(told)
        faults.extend(more)
        rss = max(rss, used)
    return {"target": target, "executions": n, "seed": seed, **counts, "faults": faults, "seconds": round(time.monotonic() - start, 1),
            "largest_rss_mb": round(rss / 2**20)}


def _child(target: str, seed: int, first: int, last: int, hang_s: float) -> tuple[int, list[dict[str, Any]], Counter[str], int]:
    """One child until it is done, dead, or hanging; gives the place where the next one begins."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        state.write_bytes(STATE.pack(0, first, 0, 0))
        (Path(folder) / "work").mkdir()
        command = [sys.executable, __file__, "--child", json.dumps([target, seed, first, last, str(state), str(Path(folder) / "work")])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        hung = _watched(process, state, hang_s)
        lines = [json.loads(line) for line in (process.stdout.read() if process.stdout else "").splitlines() if line.startswith("{")]
        done, number, _, _ = STATE.unpack(state.read_bytes())
    faults = [line for line in lines if "fault" in line]
    end = next((line for line in lines if "counts" in line), None)
    if end is not None:
        return last, faults, Counter(end["counts"]), int(end["rss"])
    faults.append({"fault": f"hang of {hang_s:g} s" if hung else f"the process died ({process.returncode})", "number": number})
    return number + 1, faults, Counter({"before a death": done}), 0


def _watched(process: subprocess.Popen[str], state: Path, hang_s: float) -> bool:
    """Wait for the child; end one that stays at a case. The pipe is small enough to hold what a child says, as faults are few."""
    while process.poll() is None:
        time.sleep(0.05)
        _, _, began, used = STATE.unpack(state.read_bytes())
        if began and (_used_s(process.pid) - used / 1e9 > hang_s or time.monotonic_ns() - began > WALL_TIMES * hang_s * 1e9):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    return False


def _used_s(pid: int) -> float:
    """Processor seconds of a process; 0 when it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def again(case: str) -> None:
    target, seed, number = case.split(":")
    with tempfile.TemporaryDirectory() as folder:
        print(one(target, TARGETS[target][0](), int(seed), int(number), Path(folder)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--targets", default="dicom,table,upload")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--again")
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        child(*json.loads(given.child))
    elif given.again:
        again(given.again)
    else:
        results = [fuzz(target, given.n, given.seed) for target in given.targets.split(",")]
        print(json.dumps(results, indent=1))
        if given.json:
            given.json.write_text(json.dumps(results, indent=1) + "\n")
        sys.exit(any(result["faults"] for result in results))


if __name__ == "__main__":
    main()
