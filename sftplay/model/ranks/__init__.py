"""One training in several processes: how many, how they are started, what they tell each other.

A training of one process passes through none of it: every exchange returns what it was given.
"""
