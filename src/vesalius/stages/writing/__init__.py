"""Findings as files: NIfTI, picture, DICOM SEG, RTSTRUCT; each is read back and compared before it is handed out.

    write_finding(finding, source, out, kinds) -> {kind: path}        WRITERS  one writer a module
"""

from vesalius.stages.writing.base import WRITERS, Marked, Writer, marked_of
from vesalius.stages.writing.proof import prove
from vesalius.stages.writing.write import write_finding

__all__ = ["WRITERS", "Marked", "Writer", "marked_of", "prove", "write_finding"]
