"""Mask runs: studies that are read in tiles, from preparation to figures."""
