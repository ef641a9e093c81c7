"""Where and how a stage computes: device, number format, memory, and libraries kept quiet.

Every choice comes with its reason; no module here knows a model, a run or a row.
"""
