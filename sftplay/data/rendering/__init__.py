"""Processed rows to rendered rows: the chat template, and the cut into what is trained and what is
not.
"""
