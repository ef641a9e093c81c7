"""A stage from its call to its exit code; a training that survives a killed launcher.

decide.py holds every rule of the hand-over and stays pure; state lives in locks and records, never
in memory.
"""
