"""The process of a model as its supervisor holds it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from vesalius.stages.serve.work.lines import Line

HARD_S = 5.0
LAST_S = 1.0


class Child:
    """Started with one end of a pair of sockets; it ends by itself when the other end closes, so that none outlives the service.

    Its output goes nowhere: libraries quote what they read there, and that may be a patient's name.
    """

    def __init__(self, module: str, options: str) -> None:
        ours, theirs = socket.socketpair()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), options], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.line = Line(ours)

    @property
    def pid(self) -> int:
        return self.process.pid

    def how_it_ended(self) -> str | None:
        """``exit code 1`` or ``SIGKILL``; None while it runs. Its socket may close a moment before it has ended."""
        try:
            code = self.process.wait(LAST_S)
        except subprocess.TimeoutExpired:
            return None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self, grace_s: float) -> None:
        """Ask it to end; kill it when it has not after ``grace_s`` seconds."""
        try:
            self.line.send({"end": True})
            self.process.wait(min(grace_s, HARD_S))
        except (OSError, subprocess.TimeoutExpired):
            self.kill()

    def kill(self) -> None:
        """End it and whatever it has started, at once."""
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
        self.process.wait()
