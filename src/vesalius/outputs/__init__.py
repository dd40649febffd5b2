"""One task a module: head, target encoding, loss, prediction, decoding, what an explanation explains."""

from vesalius.outputs.base import OUTPUTS, Batch, Output, output_for

__all__ = ["OUTPUTS", "Batch", "Output", "output_for"]
