"""What the HTTP side needs of the service (`stages.serve.service.Service` has it)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from vesalius.stages.serve.node.receive import Receiver
from vesalius.stages.serve.site import Site
from vesalius.stages.serve.store import Store
from vesalius.stages.serve.work import Engine


class Serving(Protocol):
    """Attributes of a running service; the HTTP side starts and stops none of them."""

    site: Site
    store: Store
    engine: Engine
    receiver: Receiver

    def health(self) -> dict[str, Any]:
        """Plain values; ``ready`` says whether work is taken."""
        ...

    def release(self, finding_id: str, paths: Sequence[Path] | None = None) -> None:
        """Put the objects of a decided finding on their way."""
        ...
