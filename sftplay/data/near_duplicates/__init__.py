"""Rows that share most of their wording with an earlier one: found, counted, and left out where
that is asked for.
"""
