"""Findings with boxes as files: JSON, COCO, CSV, picture, DICOM SR; each is read back and compared before it is handed out.

    write_boxes(finding, source, out, kinds) -> {kind: path}        BOX_WRITERS  one writer a module
"""

from vesalius.stages.writing.boxes._base import BOX_WRITERS, BoxWriter, Found, Held, found_of
from vesalius.stages.writing.boxes._write import suited, write_boxes

__all__ = ["BOX_WRITERS", "BoxWriter", "Found", "Held", "found_of", "suited", "write_boxes"]
