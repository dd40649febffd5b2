"""Verbs: what is done with studies and mappings. No stage knows a task."""
