"""The DICOM node: receiving, asking, routing, the loop of jobs, sending, storage commitment."""
