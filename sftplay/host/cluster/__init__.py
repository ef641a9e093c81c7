"""Scripts and manifests that start one training on a cluster.

They are text that a person reads, changes and submits; no scheduler is called from here.
"""
