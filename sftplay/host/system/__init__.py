"""The machine: its hardware, processes, disks and checkout, read and not judged.

Facts go in here, each with its source; decisions belong to select/ and doctor/, messages to ui/.
"""
