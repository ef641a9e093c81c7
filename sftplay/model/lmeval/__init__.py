"""lm-eval on base and tuned model: tasks loaded, requests answered with our models and progress, results
in our records.

Its package is in environments of its own only: nothing here imports it before `library.prepared`.
"""
