"""The steps of `inv gpu.accept`: each one a process with a time limit, its rows written as they come.

What sftplay is compared with (`reference.py`, `trl_script.py`, `unsloth_script.py`,
`plain_answers.py`) shares no code with it.
"""
