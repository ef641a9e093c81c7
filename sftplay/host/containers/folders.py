"""The project's folders, each with a .gitkeep, and .env with what compose.yaml has to know of this
machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from sftplay import console
from sftplay.files import explain_os_error
from sftplay.host.containers.host_identity import choose_user, memory_limit
from sftplay.host.containers.image_names import DOCKERFILE
from sftplay.host.system import machine
from sftplay.host.system.checkout import CHECKOUT
from sftplay.places import cache_folder
from sftplay.setup_files import ENV_FILE, WITHOUT_GPU, make_folders, write_env


def setup() -> list[Path]:
    """Make what is missing; what is there stays as it is.

    Returns:
        The folders and files that were made or changed.

    Raises:
        PermissionDeniedError: not writable (77). StorageError: disk full or a file where a folder
            should be (74).
    """
    made = make_folders()
    made += [cache_folder()] if _make_cache() else []
    made += [ENV_FILE] if write_env(compose_variables()) else []
    names = ", ".join(str(path) for path in made)
    console.success(
        f"made: {names}" if made else "folders are there already: data/raw, outputs and the others"
    )
    return made


def compose_variables(dev: Path = Path("/dev")) -> dict[str, str]:
    """Return what the compose files read from .env: user, model cache, memory limit, the override
    without a GPU, and where the Dockerfile is if this folder has none.

    Args:
        dev: where device files lie.
    """
    owner = Path().stat()
    user = choose_user(
        (os.geteuid(), os.getegid()), (owner.st_uid, owner.st_gid), rootless=False
    ).value
    uid, _, gid = user.partition(":")
    here = machine.read_machine(dev=dev)
    found = {
        "SFTPLAY_UID": uid,
        "SFTPLAY_GID": gid,
        "SFTPLAY_CACHE": str(cache_folder().absolute()),
    }
    found["SFTPLAY_MEMORY"] = str(memory_limit(os.environ.get("SFTPLAY_MEMORY"), here.memory))
    if not DOCKERFILE.is_file():  # a project that `sftplay init` made
        found["SFTPLAY_SOURCE"] = str(CHECKOUT)
    return found if here.has_gpu else {**found, "COMPOSE_FILE": WITHOUT_GPU}


def _make_cache() -> bool:
    """The model cache, which a container can only have mounted where it exists; whether it was
    missing.
    """
    folder = cache_folder()
    try:
        missing = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return missing
