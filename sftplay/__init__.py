"""sftplay: from a raw file of examples to a fine-tuned chat model, in pinned environments."""

__version__ = "0.1.0"
