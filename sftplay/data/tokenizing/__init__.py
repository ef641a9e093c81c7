"""Rendered rows to ids and labels: the tokenizer, the length limit, and the Arrow artifact."""
