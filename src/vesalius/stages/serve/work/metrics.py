"""Figures for Prometheus. Labels are names of models, routes and outcomes: nothing that comes from a patient or a file."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter("vesalius_requests", "HTTP requests", ["method", "route", "status"], registry=registry)
        self._seconds = Histogram("vesalius_request_seconds", "Time of an HTTP request", ["route"], buckets=SECONDS, registry=registry)
        self._jobs = Counter("vesalius_jobs", "Readings by outcome", ["model", "lane", "outcome"], registry=registry)
        self._job_seconds = Histogram("vesalius_job_seconds", "Time of a reading, waiting included", ["model", "lane"], buckets=SECONDS, registry=registry)
        self._refused = Counter("vesalius_queue_full", "Readings refused because the queue was full", ["model"], registry=registry)
        self._waiting = Gauge("vesalius_queue", "Readings that wait or run", ["model"], registry=registry)
        self._ready = Gauge("vesalius_model_ready", "Whether the model's process is warm", ["model"], registry=registry)
        self._restarts = Counter("vesalius_model_restarts", "Deaths of the model's process", ["model"], registry=registry)
        self._removed = Counter("vesalius_refused_removed", "Refused objects that were removed to keep the bound", registry=registry)
        self._removed_bytes = Counter("vesalius_refused_removed_bytes", "Bytes of these", registry=registry)
        self._batches = Gauge("vesalius_batches", "Batches since the process started, by size", ["model", "size"], registry=registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request; ``route`` is the template (``/v1/jobs/{id}``), never the path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def done(self, model: str, lane: str, outcome: str, seconds: float) -> None:
        """One reading: done, refused or died."""
        self._jobs.labels(model, lane, outcome).inc()
        self._job_seconds.labels(model, lane).observe(seconds)

    def refused(self, model: str) -> None:
        self._refused.labels(model).inc()

    def waiting(self, model: str, n: int) -> None:
        self._waiting.labels(model).set(n)

    def ready(self, model: str, is_ready: bool) -> None:
        self._ready.labels(model).set(int(is_ready))

    def restarted(self, model: str) -> None:
        self._restarts.labels(model).inc()

    def removed(self, n: int, size: int) -> None:
        """So many refused objects of so many bytes went."""
        self._removed.inc(n)
        self._removed_bytes.inc(size)

    def batches(self, model: str, by_size: Mapping[str, int]) -> None:
        for size, n in by_size.items():
            self._batches.labels(model, size).set(n)

    def text(self) -> bytes:
        """The exposition format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)
