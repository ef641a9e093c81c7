"""Row formats: which one a file is in (detect), and how a row of it becomes a list of messages
(fields, conversation).
"""
