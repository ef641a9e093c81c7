"""A quick identity of a folder of weights: names, sizes and samples of every file, not all of its
gigabytes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sftplay.files import explain_os_error, open_regular

_SAMPLES, _PIECE = 64, 65_536


def fingerprint(folder: Path) -> str:
    """`sha256:<hex>` over config.json and the safetensors files: small files whole, large ones by
    64 spread samples of 64 kB.
    """
    digest = hashlib.sha256()
    names = ("config.json", "adapter_config.json")
    try:
        for path in sorted(
            [
                *folder.glob("*.safetensors"),
                *(folder / name for name in names if (folder / name).is_file()),
            ]
        ):
            with open_regular(path, links=True) as source:
                size = os.fstat(source.fileno()).st_size
                digest.update(f"{path.name}\0{size}\0".encode())
                if size <= _SAMPLES * _PIECE:
                    digest.update(source.read())
                    continue
                for number in range(_SAMPLES):
                    source.seek(number * (size - _PIECE) // (_SAMPLES - 1))
                    digest.update(source.read(_PIECE))
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return f"sha256:{digest.hexdigest()}"
