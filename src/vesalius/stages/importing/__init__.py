"""Models that others trained, as mappings of ours."""

from vesalius.stages.importing.nnunet import import_nnunet, read_nnunet

__all__ = ["import_nnunet", "read_nnunet"]
