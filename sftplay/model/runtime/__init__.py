"""Place and form of a stage's computation: device, number format, memory, and quiet libraries.

Every choice comes with its reason; no module here knows a model, a run or a row.
"""
