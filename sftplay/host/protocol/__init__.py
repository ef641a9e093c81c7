"""What both runners share with a stage: its call, the launcher's records, signals, exit codes, the hub's token.

Records are a contract on disk (outputs/<run>/launch/): a field may be added with a default, none renamed.
"""
