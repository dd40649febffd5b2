"""The only place that opens image files.

    FORMATS   one reader a file format     LAYOUTS  one reader a layout of files and labels
    open_study(source) -> Study            recognise(data) -> Cohort
    find_sources(path) -> [Source]         content_hash(source) -> sha256
    open_case(case) -> Study               open_truth(case, target, study), open_view(case, study) -> arrays
                                           open_boxes(case, target, study) -> BoxTruth
"""

from vesalius.formats.base import FORMATS, MAX_SAMPLES, Format
from vesalius.formats.boxes import open_boxes
from vesalius.formats.cases import case_hash, image_hash, open_case, open_truth, open_view
from vesalius.formats.data import recognise
from vesalius.formats.given import LAYOUTS, Given, Layout, Options
from vesalius.formats.opening import content_hash, format_of, header, open_study
from vesalius.formats.sources import find_sources

__all__ = ["FORMATS", "LAYOUTS", "MAX_SAMPLES", "Format", "Given", "Layout", "Options", "case_hash", "content_hash", "find_sources", "format_of", "header",
           "image_hash", "open_boxes", "open_case", "open_study", "open_truth", "open_view", "recognise"]
