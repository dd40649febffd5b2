"""Can this number be believed? Tests of a finished run, one module each, that register themselves; see `base`."""

from __future__ import annotations

from vesalius.stages.trust.base import TRUST, Part, Trust, not_for, sentence, trust_part
from vesalius.stages.trust.run import run_trust

__all__ = ["TRUST", "Part", "Trust", "not_for", "run_trust", "sentence", "trust_part"]
