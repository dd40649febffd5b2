"""Explanations: where a network looked, on the study's own grid, and which cases a reader should see."""

from vesalius.stages.explain.base import EXPLANATIONS, explain_study
from vesalius.stages.explain.cases import choose_cases, explain_cases

__all__ = ["EXPLANATIONS", "choose_cases", "explain_cases", "explain_study"]
