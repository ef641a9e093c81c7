"""`inv quickstart`: the guided first run with sample data.

Each step prints the command that does it alone; every question has a default.
"""
