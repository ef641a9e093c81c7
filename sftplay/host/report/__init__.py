"""`inv report`: one HTML file for a run or a batch.

Pages are built from sftplay/page; a part says so where something is missing, and never fails for
it.
"""
