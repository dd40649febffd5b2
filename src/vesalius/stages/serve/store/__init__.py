"""The site's memory: SQLite by default, PostgreSQL by URL. What is written is on the disk when a call returns."""

from vesalius.stages.serve.store.audit import Audit
from vesalius.stages.serve.store.findings import Findings
from vesalius.stages.serve.store.images import Images
from vesalius.stages.serve.store.jobs import Jobs
from vesalius.stages.serve.store.outgoing import Outbox, identity_of
from vesalius.stages.serve.store.refusals import Refusals
from vesalius.stages.serve.store.rows import AuditRow, Decision, Job, Missing, ObjectRow, Outgoing, Received, SeriesRow

__all__ = ["AuditRow", "Decision", "Job", "Missing", "ObjectRow", "Outgoing", "Received", "SeriesRow", "Store", "identity_of"]


class Store(Images, Refusals, Jobs, Findings, Outbox, Audit):
    """All parts over one database; ``Store(url, folder)``, safe to use from many threads. `close` gives the connections back."""
