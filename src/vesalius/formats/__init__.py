"""The only place that opens image files.

    FORMATS   one reader a file format     LAYOUTS  one reader a layout of files and labels
    open_study(source) -> Study            recognise(data) -> Cohort
    find_sources(path) -> [Source]         content_hash(source) -> sha256
"""

from vesalius.formats.base import FORMATS, MAX_SAMPLES, Format
from vesalius.formats.data import recognise
from vesalius.formats.given import LAYOUTS, Given, Layout, Options
from vesalius.formats.opening import content_hash, format_of, header, open_study
from vesalius.formats.sources import find_sources

__all__ = ["FORMATS", "LAYOUTS", "MAX_SAMPLES", "Format", "Given", "Layout", "Options", "content_hash", "find_sources", "format_of", "header", "open_study",
           "recognise"]
