"""The protocol between launcher and stage, the same in both runners: calls, records, signals, exit
codes, the hub's token.

Records are a contract on disk (outputs/<run>/launch/): a field may be added with a default, none
renamed.
"""
