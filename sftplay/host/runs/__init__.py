"""Runs in outputs/: listed, shown, compared, replayed, stopped, removed, and their curves.

Reading never raises for what a run folder holds; what can't be read is reported as a problem of
that run.
"""
