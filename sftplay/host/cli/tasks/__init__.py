"""The tasks by group: a signature, one line for `--list`, one call into sftplay/host.

A new task is a function here and an entry in menu.py.
"""
