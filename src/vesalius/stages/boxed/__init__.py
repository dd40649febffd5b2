"""Boxes from data to findings: what is particular to detection in the stages."""
