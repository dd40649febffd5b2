"""Prediction requests: this service against a plain FastAPI endpoint with torch, the same network, the same preparation, 64 clients.

    python benchmarks/clinic_requests.py [--network resnet18] [--size 224] [--clients 64] [--seconds 8] [--rounds 3] [--judged]

Both are started here, on 127.0.0.1, and are asked in alternating rounds by the same closed loop of clients (each asks again when it has its answer), so
that what else the machine does falls on both. The plain endpoint is what anybody writes: it takes the upload, decodes and prepares the picture through
the mapping, and calls the network; FastAPI runs it in its pool of threads. A third part asks the service for more than its queue holds: it must answer
200, 429 or 503 to everything and be well afterwards. Prints a table, and JSON with --json FILE. Leaves with 1 when an aim is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from vesalius.core.geometry import Grid
from vesalius.core.reads import Reads
from vesalius.core.study import Study
from vesalius.core.target import TargetSpec
from vesalius.mapping import Mapping, load
from vesalius.networks import build
from vesalius.outputs import output_for
from vesalius.plan import Plan
from vesalius.stages.fitfor import learn
from vesalius.stages.serve.http.app import make_app
from vesalius.stages.serve.http.server import Server
from vesalius.stages.serve.service import Service
from vesalius.stages.serve.site import Limits, Site
from vesalius.stages.serve.work import Engine
from vesalius.stages.serve.work.options import Options

AIM, WARM_S = 1.8, 2.0
START_S = 240.0
CLOSE = 1e-4
REMEMBERED = 48


def model_in(folder: Path, network: str, size: int, judged: bool = False) -> None:
    """A model with random weights: what it answers does not matter, how fast does. When ``judged`` it remembers what such pictures look like, as a
    fitted one does, so that the service judges each picture; the plain endpoint does not."""
    torch.manual_seed(0)
    channels = 1
    plan = Plan().decide("network.name", network, "benchmark").decide("network.options", {}, "benchmark")
    output = output_for(TargetSpec("multiclass", ("a", "b", "c")))
    made = build(network, channels=channels, n_out=3, size=(size, size))
    mapping = Mapping(Reads((size, size), channels), [made], output, plan)
    mapping.save(folder / "model")
    if not judged:
        return
    films = [lambda data=data: study_of(io.BytesIO(data)) for data in pictures(REMEMBERED, size, seed=1)]
    learn(mapping, films[::2], films[1::2], seconds=20.0).save(folder / "model")


def study_of(file: io.BufferedIOBase | io.BytesIO) -> Study:
    image = np.asarray(Image.open(file))[None]
    return Study(image, Grid.plain(image.shape[1:]))


def pictures(n: int, size: int, seed: int = 0) -> list[bytes]:
    """Smooth noise as PNG, a quarter larger than the network reads, as films are."""
    source, made = np.random.default_rng(seed), []
    for _ in range(n):
        out = io.BytesIO()
        coarse = Image.fromarray(source.integers(0, 256, (24, 24), np.uint8))
        coarse.resize((size * 5 // 4, size * 5 // 4), Image.Resampling.BICUBIC).save(out, "png")
        made.append(out.getvalue())
    return made


def plain_server(model: Path, port: int) -> None:
    """The opponent."""
    mapping = load(model)
    app = FastAPI()

    @app.post("/v1/predict")
    def predict(files: UploadFile) -> dict[str, float]:
        x, _ = mapping.encode(study_of(files.file))
        with torch.inference_mode():
            raw = mapping.network(x[None]).float().numpy()
        return dict(zip(mapping.output.target.classes, map(float, mapping.output.probabilities(raw)[0]), strict=True))

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def our_server(model: Path, port: int, folder: Path, queue: int) -> None:
    """The service as `vesalius serve` starts it."""
    site = Site(folder=folder, models={"films": model}, http_port=port, dicom_port=0, limits=Limits(requests_per_minute=10_000_000, queue=queue))
    service = Service(site, Engine(site.models, Options(queue=queue)))
    service.start()
    server = Server(make_app(service), site)
    server.start()
    sys.stdin.read()
    server.stop(5.0)
    service.stop(5.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(kind: str, model: Path, folder: Path, queue: int) -> Iterator[tuple[int, int]]:
    """A server in a process of its own, ready; its port and the process's id."""
    port = free_port()
    words = [sys.executable, __file__, "--role", kind, "--model", str(model), "--port", str(port), "--folder", str(folder), "--queue", str(queue)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        until_ready(port, "/health/ready" if kind == "ours" else "/openapi.json", process)
        yield port, process.pid
    finally:
        if process.stdin:
            process.stdin.close()
        if kind == "plain":
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def until_ready(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as line:
                line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                if line.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the server did not become ready")


def request_of(picture: bytes) -> bytes:
    """A whole HTTP request: the same bytes for both servers."""
    body = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + picture + b"\r\n--edge--\r\n"
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def asked(line: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> tuple[int, bytes]:
    reader, writer = line
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def load_of(port: int, requests: list[bytes], clients: int, seconds: float) -> tuple[list[float], Counter[int], float]:
    """Clients that ask again as soon as they have an answer: seconds of each answer, statuses, and the time it took."""
    taken: list[float] = []
    codes: Counter[int] = Counter()
    stop = time.perf_counter() + seconds

    async def client(k: int) -> None:
        line = await asyncio.open_connection("127.0.0.1", port)
        n = k
        while time.perf_counter() < stop:
            start = time.perf_counter()
            status, _ = await asked(line, requests[n % len(requests)])
            taken.append(time.perf_counter() - start)
            codes[status] += 1
            n += clients
        line[1].close()

    start = time.perf_counter()
    await asyncio.gather(*(client(k) for k in range(clients)))
    return taken, codes, time.perf_counter() - start


def figures(taken: list[float], seconds: float) -> dict[str, float]:
    p = np.percentile(taken, [50, 99]) * 1000
    return {"requests_per_s": len(taken) / seconds, "p50_ms": float(p[0]), "p99_ms": float(p[1]), "n": len(taken)}


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process and all below it."""
    held = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in held)


def same_answers(ports: dict[str, int], request: bytes) -> float:
    """Largest difference of a probability between the two servers."""
    async def both() -> list[dict[str, float]]:
        answers = []
        for port in ports.values():
            _, body = await asked(await asyncio.open_connection("127.0.0.1", port), request)
            made = json.loads(body)
            answers.append(made.get("scores", made))
        return answers

    plain, ours = asyncio.run(both())
    return max(abs(plain[name] - ours[name]) for name in plain)


def compare(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    model_in(folder / "run", args.network, args.size, args.judged)
    requests = [request_of(each) for each in pictures(16, args.size)]
    rounds: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    with started("plain", folder / "run", folder / "site", args.queue) as plain, started("ours", folder / "run", folder / "site", args.queue) as ours:
        ports, pids = {"plain": plain[0], "ours": ours[0]}, {"plain": plain[1], "ours": ours[1]}
        apart = same_answers(ports, requests[0])
        for port in ports.values():
            asyncio.run(load_of(port, requests, args.clients, WARM_S))
        for i in range(args.rounds):
            for name in ("plain", "ours") if i % 2 == 0 else ("ours", "plain"):
                before = cpu_of(pids[name])
                taken, codes, seconds = asyncio.run(load_of(ports[name], requests, args.clients, args.seconds))
                spent = {"ok": codes[200] / sum(codes.values()), "cpu_ms": (cpu_of(pids[name]) - before) / len(taken) * 1000}
                rounds[name].append(figures(taken, seconds) | spent)
                print(f"round {i + 1} {name:5}  " + "  ".join(f"{key} {value:.4g}" for key, value in rounds[name][-1].items()), flush=True)
        _, codes, _ = asyncio.run(load_of(ports["ours"], requests, args.queue * 2, args.seconds))
        after, well, seconds = asyncio.run(load_of(ports["ours"], requests, 8, 2.0))
    middle = {name: {key: float(np.median([each[key] for each in held])) for key in held[0]} for name, held in rounds.items()}
    ratio = middle["ours"]["requests_per_s"] / middle["plain"]["requests_per_s"]
    return {"network": args.network, "size": args.size, "clients": args.clients, "rounds": rounds, "median": middle, "ratio": ratio,
            "largest_difference": apart,
            "overload": {str(code): n for code, n in sorted(codes.items())}, "after_overload": {str(code): n for code, n in well.items()},
            "cores": os.cpu_count()}


def told(made: dict) -> bool:
    """Print what was measured; whether every aim is met."""
    print(f"\n{made['network']} {made['size']} x {made['size']}, {made['clients']} clients, {made['cores']} cores; medians of rounds")
    for name in ("plain", "ours"):
        each = made["median"][name]
        print(f"  {name:6} {each['requests_per_s']:8.1f} requests/s   p50 {each['p50_ms']:7.0f} ms   p99 {each['p99_ms']:7.0f} ms   "
              f"{each['cpu_ms']:.1f} ms of processor a request   answered {each['ok']:.1%}")
    print(f"  ratio {made['ratio']:.2f} (aim: at least {AIM}); largest difference of a probability {made['largest_difference']:.1e}")
    print(f"  overload: {made['overload']}; after it: {made['after_overload']}")
    met = made["ratio"] >= AIM and made["median"]["ours"]["p99_ms"] <= made["median"]["plain"]["p99_ms"] and made["largest_difference"] < CLOSE
    return bool(met and set(made["overload"]) <= {"200", "429", "503"} and set(made["after_overload"]) == {"200"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", type=int, default=128)
    parser.add_argument("--judged", action="store_true", help="the model remembers its training images, and the service judges each picture")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", choices=("plain", "ours"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.role == "plain":
        plain_server(args.model, args.port)
        return 0
    if args.role == "ours":
        our_server(args.model, args.port, args.folder, args.queue)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="vesalius-requests-"))
    try:
        made = compare(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(made, indent=2))
    return 0 if told(made) else 1


if __name__ == "__main__":
    sys.exit(main())
