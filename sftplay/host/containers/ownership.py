"""Folders that containers need on this side, and whose they are: root may work in the project of
another user.
"""

from __future__ import annotations

import os
from pathlib import Path

from sftplay.files import explain_os_error
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.places import cache_folder

FOLDERS = ("data/raw", "outputs", "configs")


def make_folders(identity: HostIdentity) -> None:
    """Make what will be mounted, as the user of the containers: the engine would make it as root,
    or refuse.

    Raises:
        SftplayError: it can't be made (77, 74).
    """
    for folder in (*(Path(name) for name in FOLDERS), cache_folder()):
        if not folder.is_dir():
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise explain_os_error(error, folder) from error
            hand_to_user(identity, folder)


def hand_to_user(identity: HostIdentity, *paths: Path) -> None:
    """Give what root made here to the user that containers run as."""
    uid, _, gid = identity.user.partition(":")
    if os.geteuid() != 0 or int(uid) == 0:
        return
    for path in paths:
        if path.exists() and path.lstat().st_uid == 0:
            os.chown(path, int(uid), int(gid), follow_symlinks=False)


def hand_to_owner(folder: Path) -> None:
    """Give what root wrote into a run or a file (records, locks) to the project's owner, who could not continue
    with it otherwise.
    """
    owner = Path().stat()
    if os.geteuid() != 0 or owner.st_uid == 0 or not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
