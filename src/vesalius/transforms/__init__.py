"""Transforms draw their parameters, apply them purely, and can undo them."""
