"""Tasks for the people who change sftplay: tests, lint, locks, documentation.

Change freely: nothing that a stage or a run needs is here.
"""
