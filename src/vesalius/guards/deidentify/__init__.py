"""De-identification of DICOM objects and pictures (PS3.15 Annex E)."""

from vesalius.guards.deidentify.apply import Cleaned, deidentified
from vesalius.guards.deidentify.key import Key
from vesalius.guards.deidentify.options import Options

__all__ = ["Cleaned", "Key", "Options", "deidentified"]
