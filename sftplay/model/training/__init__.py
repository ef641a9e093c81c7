"""One training start, from its plan to its end: rows, trainer, checkpoints, records, resume guard.

The loop is the library's; every file is written through checkpoints.py, record.py or telemetry.py.
"""
