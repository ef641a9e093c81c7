"""The docker runner: the engine, one specification of a container, and stages and trainings in it.

A right or a mount is changed in spec.py and mounts.py only, compose.yaml with it; a test compares
the two.
"""
