"""Paperwork: the model card and the reporting checklists, filled from the facts of a run; gaps stay visibly empty."""

from vesalius.stages.paperwork.base import Answer
from vesalius.stages.paperwork.lists import NAMES, Checklist, Gap, Item, all_filled
from vesalius.stages.paperwork.write import paperwork

__all__ = ["NAMES", "Answer", "Checklist", "Gap", "Item", "all_filled", "paperwork"]
