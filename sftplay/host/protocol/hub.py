"""Access to the hub: a token as a file, for stages with network; offline, for all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@contextmanager
def token_file(base: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """HF_TOKEN_PATH for a stage with network, where the person has only HF_TOKEN: a private file,
    gone afterwards.
    """
    token = next((base[name] for name in TOKENS if base.get(name)), None)
    if token is None or base.get("HF_TOKEN_PATH"):
        yield {}
        return
    with TemporaryDirectory(prefix="sftplay-") as folder:
        path = Path(folder) / "token"
        path.touch(mode=0o600)
        path.write_text(token)
        yield {"HF_TOKEN_PATH": str(path)}
