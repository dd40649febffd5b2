"""Explanations: where a network looked, on the study's own grid, and which cases a reader should see."""

from vesalius.stages.explain.base import EXPLANATIONS, explain_study
from vesalius.stages.explain.cases import choose_cases, explain_cases
from vesalius.stages.explain.gradcam import gradcam_mask
from vesalius.stages.explain.trusted import trusted_map

__all__ = ["EXPLANATIONS", "choose_cases", "explain_cases", "explain_study", "gradcam_mask", "trusted_map"]
