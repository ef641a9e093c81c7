"""Access to the hub: a token that no child sees unless it may; offline, for stages without network.

A token in a variable would reach every child, and anybody who may read /proc. So a task takes it
out of its environment first, into memory that has no name in any folder. A stage with network
inherits the descriptor; a container gets a private file, which is removed once it runs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sftplay.environment import TOKENS
from sftplay.files import explain_os_error

VARIABLE = "HF_TOKEN_PATH"  # the hub's own: a file with the token
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_DESCRIPTORS = "/proc/self/fd/"
_PREFIX = "sftplay-token-"


def hide_token(environ: MutableMapping[str, str]) -> None:
    """Replace a token in the environment by a descriptor of this process; without one nothing
    changes.

    Where the person has both a token and a file with one, the token counts, as for the hub's own
    tools.
    """
    found = [environ.pop(name) for name in TOKENS if name in environ]
    token = next((text for text in found if text.strip()), "")
    if token:
        descriptor = os.memfd_create("sftplay-token")
        os.write(descriptor, token.encode())
        environ[VARIABLE] = f"{_DESCRIPTORS}{descriptor}"


def inherited(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return the descriptors that a child with this environment needs."""
    path = environ.get(VARIABLE, "")
    return (int(path.removeprefix(_DESCRIPTORS)),) if path.startswith(_DESCRIPTORS) else ()


@dataclass(frozen=True)
class TokenFile:
    """A file for a container, gone as soon as `discard` is called: the mount keeps its content."""

    path: Path

    def discard(self) -> None:
        """Remove it and its folder."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


@contextmanager
def private_file(environ: Mapping[str, str]) -> Iterator[TokenFile | None]:
    """Yield a copy of a hidden token that an engine can mount; None where none is hidden.

    What a killed command left of such a copy is removed first: its folder is locked while its
    writer lives.
    """
    sweep()
    for descriptor in inherited(environ):
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_private_folder()))
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise explain_os_error(error, _private_folder()) from error
        file = TokenFile(folder / "token")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            file.path.touch(mode=0o600)
            file.path.write_bytes(Path(f"{_DESCRIPTORS}{descriptor}").read_bytes())
            yield file
        except OSError as error:
            raise explain_os_error(error, file.path) from error
        finally:
            file.discard()
            os.close(held)
        return
    yield None


def sweep() -> None:
    """Remove the token files of commands that were killed."""
    for folder in _private_folder().glob(f"{_PREFIX}*"):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # somebody else's, or gone
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # An empty one is younger than its lock: the file is written under it.
            if os.fstat(held).st_uid == os.getuid() and (folder / "token").exists():
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(held)


def _private_folder() -> Path:
    """Return the folder of the user's session, in memory, else that of temporary files."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(given if given and Path(given).is_dir() else tempfile.gettempdir())
