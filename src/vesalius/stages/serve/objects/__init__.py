"""DICOM objects of a finding and of a doctor's decision; each is read back before it is handed out.

    Ids                                  UIDs that follow from a job
    write_objects(made, out, kinds)      SEG, RTSTRUCT, SR, secondary capture of what a model found
    write_report, Signed                 a structured report, unverified or verified
"""

from vesalius.stages.serve.objects.ids import Ids
from vesalius.stages.serve.objects.report import Signed, write_report
from vesalius.stages.serve.objects.write import KINDS, Imaged, write_objects

__all__ = ["KINDS", "Ids", "Imaged", "Signed", "write_objects", "write_report"]
