"""CPU stages without torch: raw rows to tokenized ones.

Adds orjson, tokenizers, transformers, pyarrow to the kernel.
"""
