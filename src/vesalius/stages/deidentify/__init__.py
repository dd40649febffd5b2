"""The verb ``deidentify``: a folder of images and objects without the people in them."""

from vesalius.stages.deidentify.folder import Done, deidentify

__all__ = ["Done", "deidentify"]
