"""Output of stages on this terminal: byte for byte while it comes, settled where it is looked at
later.
"""

from __future__ import annotations

import os
import re

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
)  # colours, cursor, window title


def copy(piece: bytes, to: int = 2) -> bool:
    """Byte for byte to the terminal; False where it is gone (the work continues, and a log holds it)."""
    try:
        while piece:
            piece = piece[os.write(to, piece) :]
    except OSError:
        return False
    return True


def settled(content: bytes) -> str:
    """Earlier output as text, for whoever looks at it later: without colours, and of a progress bar
    its last state.
    """
    lines = _CONTROL.sub("", content.decode("utf-8", "replace")).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
