"""Evaluation of a run on held-out rows: loss, text metrics, and the adapter loaded by plain PEFT.

metrics.py is pure; report.py alone writes files.
"""
