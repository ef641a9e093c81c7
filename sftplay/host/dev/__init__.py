"""Tools for developers and for the documentation: tests, lint, benchmarks, locks, generated pages.

No stage and no user's task depends on this package.
"""
