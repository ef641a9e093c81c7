"""Runner, stack and device of a stage: pure decisions, each with its reason.

A new stack or runner is a row and a rule here; nothing is started, asked or printed.
"""
