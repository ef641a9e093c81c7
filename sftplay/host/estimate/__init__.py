"""Estimates of a training before it starts: memory, disk, steps and time.

Constants carry their source or measurement; a finished run on this machine overrides them.
"""
