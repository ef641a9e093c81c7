"""`python -m sftplay.model.acceptance.small_memory BYTES STAGE …`: a stage on a GPU of that size."""

from __future__ import annotations

import sys

import torch

from sftplay.cli import main

if __name__ == "__main__":
    share = int(sys.argv[1]) / torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    sys.exit(main(sys.argv[2:]))
