"""Answers to prompts: rendering, decoding of a batch, chat, and a file of prompts.

decoding.py chooses tokens and generate.py fills batches; the rest knows prompts only.
"""
