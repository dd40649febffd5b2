"""How many instances a second does the node acknowledge after a flush, beside a bare pynetdicom receiver that also flushes?

    python benchmarks/clinic_receive.py [--n 10000] [--senders 4] [--rounds 3] [--side 64] [--folder FOLDER]

Both are processes of their own on this machine and are sent the same data sets by the same sender processes, in alternating rounds. The bare receiver writes
what it got (`event.encoded_dataset()`), flushes the file and its folder, and answers 0; ours also looks the object through, sums it and indexes it. In
the last round of ours every instance has to be in the store once. Times are from the first request to the last answer; ours is told again with the time
until the last instance is in the database.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from stages.serve.clinickills import forking
from stages.serve.clinicnode import CT, Models, instance, site_at, until
from stages.serve.clinictraffic import free_port, listens
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.store import Store


def bare(folder: str, port: int) -> None:
    """What anybody would write: file and folder flushed, then the answer."""
    handle = os.open(folder, os.O_RDONLY)

    def store(event: evt.Event) -> int:
        with open(Path(folder) / f"{event.request.AffectedSOPInstanceUID}.dcm", "wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        os.fsync(handle)
        return 0

    entity = AE(ae_title="VESALIUS")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.maximum_associations = 32
    entity.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])  # type: ignore[arg-type]


def ours(folder: str, port: int) -> None:
    """The whole service; its model is a stand-in, and no series becomes complete meanwhile."""
    Service(site_at(Path(folder), dicom_port=port, quiet_s=3600.0), Models()).start()  # type: ignore[arg-type]
    time.sleep(3600)


def sender(port: int, number: int, n: int, side: int, begin: Any, results: Any) -> None:
    """Send ``n`` instances over one association; the statuses that were not 0."""
    series = f"1.2.{number + 10}"
    item = instance(1, series=series, study=series, patient=str(number), side=side)
    entity = AE(ae_title=f"S{number}")
    entity.add_requested_context(CT, item.file_meta.TransferSyntaxUID)
    assoc = entity.associate("127.0.0.1", port, ae_title="VESALIUS")
    begin.wait()
    bad = 0
    for k in range(n):
        item.SOPInstanceUID, item.InstanceNumber = f"{series}.{k + 1}", k + 1
        status = assoc.send_c_store(item)
        bad += status.get("Status") != 0
    assoc.release()
    results.put(bad)


def measured(target: Any, folder: Path, n: int, senders: int, side: int) -> tuple[float, float, int]:
    """Instances a second until the last answer, and until the last row (ours); requests that were not answered by 0."""
    context, port = forking(), free_port()
    folder.mkdir(parents=True)
    node = context.Process(target=target, args=(str(folder), port), daemon=True)
    node.start()
    until(lambda: listens(port), 120.0)
    begin, results = context.Barrier(senders + 1), context.Queue()
    processes = [context.Process(target=sender, args=(port, k, n // senders, side, begin, results), daemon=True) for k in range(senders)]
    for process in processes:
        process.start()
    begin.wait(120)
    start = time.perf_counter()
    bad = sum(results.get(timeout=3600) for _ in processes)
    answered = time.perf_counter() - start
    if target is ours:
        until(lambda: not any((folder / "inbox").iterdir()), 600.0)
    indexed = time.perf_counter() - start
    node.kill()
    node.join()
    total = n // senders * senders
    return total / answered, total / indexed, bad


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("n", 10_000), ("senders", 4), ("rounds", 3), ("side", 64)):
        asked.add_argument(f"--{name}", type=int, default=value)
    asked.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    given = asked.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "ours": [], "indexed": []}
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        for turn in range(given.rounds):
            plain, _, bad_plain = measured(bare, Path(scratch) / f"bare{turn}", given.n, given.senders, given.side)
            mine, indexed, bad = measured(ours, Path(scratch) / f"ours{turn}", given.n, given.senders, given.side)
            for name, rate in (("bare", plain), ("ours", mine), ("indexed", indexed)):
                rates[name].append(round(rate, 1))
        faults = checked(Path(scratch) / f"ours{given.rounds - 1}", given.n // given.senders * given.senders)
    faults += [f"{bad + bad_plain} requests were not answered by success"] if bad or bad_plain else []
    ratio = statistics.median(mine / plain for mine, plain in zip(rates["ours"], rates["bare"], strict=True))
    print(json.dumps({"instances": given.n, "senders": given.senders, "per_second": rates, "ratio": round(ratio, 3), "faults": faults}, indent=2))
    return 1 if faults else 0


def checked(folder: Path, n: int) -> list[str]:
    """Instances that are lost or there twice, and rows whose file is not."""
    store = Store(f"sqlite:///{folder / 'vesalius.db'}", folder)
    kept = [item["SOPInstanceUID"] for item in store.find("instance", {}, limit=10 * n)]
    files = sum(1 for _ in (folder / "objects").rglob("*.dcm"))
    faults = {"lost": n - len(set(kept)), "twice": len(kept) - len(set(kept)), "files missing": n - files, "set aside": len(store.refused())}
    store.close()
    return [f"{what}: {count}" for what, count in faults.items() if count]


if __name__ == "__main__":
    sys.exit(main())
