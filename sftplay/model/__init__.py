"""Stages that need torch: fetch, train, eval, infer, merge, and the backends."""
