"""The local runner: stages as processes of this machine, in environments made from the images'
locks.

What a stage sees here must equal what it sees in a container: same argv, same exit codes, same run
folder.
"""
