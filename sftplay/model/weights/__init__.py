"""Weights: a base model and the tuned weights of a run, loaded together and, if nothing is lost, fused.

A base is used only with an adapter that was trained on it.
"""
