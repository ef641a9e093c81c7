"""One forward pass over rows: padding or packing, the attention kernel, and the loss.

Each saving (packed rows, no vocabulary matrix) is tested against the plain computation.
"""
