"""Another hospital's set, scored by a sealed model: figures, the drop against its own test, and what shifted."""

from __future__ import annotations

from vesalius.stages.external.evaluate import External, evaluate_external

__all__ = ["External", "evaluate_external"]
