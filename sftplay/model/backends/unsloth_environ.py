"""Environment variables that the Unsloth stack requires before its first import.

Sets variables and imports nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

VARIABLES: Mapping[str, str] = {
    # xFormers is kept out of the lock: that is what switches it off. Unsloth reads none of these;
    # other libraries do.
    "XFORMERS_DISABLED": "1",
    "XFORMERS_FORCE_DISABLE_TRITON": "1",
    # Unsloth counts its users by downloading a file for each environment.
    "UNSLOTH_DISABLE_STATISTICS": "1",
    # sftplay's loss requires the output layer's values; a fused loss would return none.
    "UNSLOTH_RETURN_LOGITS": "1",
}


def prepare(environ: dict[str, str] | os._Environ[str] = os.environ) -> None:
    """Set the variables; generated code goes to a private temporary folder instead of the
    project's.
    """
    environ.update(VARIABLES)
    environ.pop(
        "UNSLOTH_ALLOW_CPU", None
    )  # Unsloth's own tests: it would claim a GPU where there is none
    if "UNSLOTH_COMPILE_LOCATION" not in environ:
        private = Path(tempfile.mkdtemp(prefix="sftplay-"))
        environ["UNSLOTH_COMPILE_LOCATION"] = str(private / "unsloth_compiled_cache")
