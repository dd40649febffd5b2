"""A stand-in for the process of a model that loads nothing: it does what a text file says (see `serving.writing`), one at a time."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from vesalius.stages.serve.work.lines import Line


def main(fd: int, options: dict) -> None:
    if Path(options["model"]).name == "slow-start":
        time.sleep(60)
    if Path(options["model"]).name == "ends":
        os._exit(3)
    line = Line(socket.socket(fileno=fd))
    line.send({"ready": {"pid": os.getpid(), "hash": "0", "kind": "binary", "classes": ["no", "yes"], "ndim": 2, "quick": True, "engine": ""}})
    try:
        while not (message := line.receive() or {}).get("end"):
            line.send({"id": message["id"], "finding": read(message, options["name"])})
    except (EOFError, OSError):
        os._exit(0)


def read(message: dict, name: str) -> dict:
    text = Path(message["files"][0]).read_text(errors="replace")
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("sleep"):
        time.sleep(float(text.split()[1]))
    if message["out"]:
        Path(message["out"]).mkdir()
        (Path(message["out"]) / "finding.json").write_text(json.dumps({"label": text}))
    return {"id": message["job"], "label": text, "model": name}


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
