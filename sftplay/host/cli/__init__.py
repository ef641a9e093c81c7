"""The command line: the menu of tasks, its options, its messages for wrong input, and the set-up
before it.

A task is a signature, one line and one call; every failure ends in one message and its exit code.
"""
