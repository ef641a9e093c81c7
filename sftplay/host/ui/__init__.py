"""Talking with the person at the terminal: tables, questions, figures, output of children.

Nothing here knows what a stage, a run or a container is; colors and widths may change, exit codes
may not.
"""
