"""A Ray cluster: its agents on the hosts, and one experiment of a batch as an argv on a node.

`client`, `inside` and `guard` run in the environment of images/ray.lock, where sftplay's other
packages have no dependencies: `inside` and `guard` import the standard library and Ray alone.
"""
