"""Unsloth in a process of its own: the probe, and the failures that hand over to BitsAndBytes.

A failure hands over only if failures.py has a row for it; anything else stays an error.
"""
