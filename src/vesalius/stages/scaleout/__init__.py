"""Beyond one machine: prediction over an archive on a Ray cluster, and a service whose models are Ray Serve replicas. Both need the extra ``ray``."""
