"""What a training will need: memory, disk, steps and time, before it starts.

Constants carry their source or measurement; a finished run on this machine overrides them.
"""
