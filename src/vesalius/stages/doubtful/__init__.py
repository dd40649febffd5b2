"""Labels that may be wrong: which, how sure that is, a page to confirm or correct them, and the file that comes of it."""

from vesalius.stages.doubtful.corrections import Corrections, corrected, read_corrections
from vesalius.stages.doubtful.page import write_page

__all__ = ["Corrections", "corrected", "read_corrections", "write_page"]
