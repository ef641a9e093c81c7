"""`inv doctor`: what this machine has, what is missing, and how to fix it.

Facts are gathered once, judged by pure rules, and shown; a rule is a function that yields findings.
"""
