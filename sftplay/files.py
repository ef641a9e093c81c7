"""Writing files that matter: temporary name, fsync, rename, fsync of the folder.

And opening what somebody else could have written, and hashes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sftplay.errors import NotFoundError, PermissionDeniedError, SftplayError, StorageError
from sftplay.temporary import mark_in_use, sweep, temporary_name

_READ = os.O_RDONLY | os.O_CLOEXEC
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE)
_MOUNTED = 2  # parts of outputs/<run> and data/<kind>: what is above them is the user's own


def fsync_dir(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _no_link(path: str | Path, flags: int) -> int:
    """Open for writing: in a run's folder a container could have left a link to somewhere else."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` whole or not at all, also after a crash or a
    full disk.

    Raises:
        StorageError: the disk is full or fails (74). PermissionDeniedError: not writable (77).
    """
    tmp = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        with open(tmp, "xb", opener=_no_link) as out:
            mark_in_use(out.fileno())
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(tmp, path)
        fsync_dir(path.parent)
    except OSError as error:
        if error.filename == str(tmp):
            error.filename = str(path)
        raise explain_os_error(error, path) from error
    finally:
        tmp.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` atomically."""
    with atomic_open(path) as out:
        out.write(content)


def write_text(path: Path, content: str) -> None:
    """Replace `path` atomically, UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` atomically with sorted, indented JSON (same value, same bytes)."""
    write_text(
        path,
        json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
    )


@contextmanager
def open_regular(path: Path, *, links: bool = False) -> Iterator[IO[bytes]]:
    """Open a file to read, if it is a regular one; a pipe or a device is not waited for.

    Args:
        links: follow symbolic links, as in a model's folder. Otherwise the file is no link, and
            below `outputs/<run>` and `data/<kind>` no folder on the way is one either.

    Raises:
        NotFoundError: no such file (66). StorageError: not a regular file (74).
        PermissionDeniedError: not readable (77).
    """
    try:
        fd = _open_named(path, links=links)
        with open(fd, "rb") as source:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.ENXIO, "not a regular file", str(path))
            yield source
    except OSError as error:
        error.filename = str(path)
        raise explain_os_error(error, path) from error


def _open_named(path: Path, *, links: bool) -> int:
    try:
        return os.open(path, _READ | os.O_NONBLOCK) if links else _open_unlinked(path)
    except ValueError as error:  # a null byte, half of a surrogate pair
        raise NotFoundError("no file can have this name", where=ascii(str(path))) from error


def _open_unlinked(path: Path) -> int:
    """Open a file step by step from the folder that a container has mounted."""
    parts = path.parts
    trusted = 1 if path.is_absolute() or len(parts) <= _MOUNTED else len(parts) - _MOUNTED
    opened = [os.open(Path(*parts[:-trusted]), _READ | os.O_DIRECTORY)]
    try:
        for part in parts[-trusted:-1]:
            opened.append(_open_folder(part, opened[-1]))
        return os.open(parts[-1], _READ | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=opened[-1])
    finally:
        for fd in opened:
            os.close(fd)


def _open_folder(name: str, above: int) -> int:
    try:
        return os.open(name, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError as error:  # how a link is refused here
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


def append_line(path: Path, line: str) -> None:
    """Append one line in one write call, so that lines of two processes never mix.

    No link is followed, no pipe waited for.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = _no_link(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
        try:
            os.write(fd, line.encode("utf-8") + b"\n")
        finally:
            os.close(fd)
    except OSError as error:
        raise explain_os_error(error, path) from error


def explain_os_error(error: OSError, path: Path | str) -> SftplayError:
    """Turn an operating-system error into the class that owns its exit code."""
    name = str(error.filename or path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full_disk(path, name, is_quota=error.errno == errno.EDQUOT)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _not_writable(error, name)
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return StorageError(
            "not a regular file: a link, a pipe or a folder stands there",
            where=name,
            todo="look at it, and remove it",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return NotFoundError(
            "a file stands where a folder should be",
            where=name,
            todo="look at the names above it, and remove the file",
        )
    if error.errno == errno.ENOENT:
        return NotFoundError("no such file or folder", where=name)
    return StorageError(f"input/output error ({error.strerror or error})", where=name)


def _not_writable(error: OSError, name: str) -> PermissionDeniedError:
    if error.errno == errno.EROFS:
        what = "the disk is read-only"
        todo = "mount it for writing; after an error the system makes a disk read-only: see dmesg"
        return PermissionDeniedError(what, where=name, todo=todo)
    return PermissionDeniedError(
        f"no permission ({error.strerror})",
        where=name,
        todo=f"check the owner: sudo chown -R {os.getuid()}:{os.getgid()} {name}",
    )


def _full_disk(path: Path | str, name: str, *, is_quota: bool) -> StorageError:
    disk = _disk_of(path)
    if is_quota:
        what, todo = "your quota of this disk is used up", "remove files of yours there"
    elif disk.f_files and not disk.f_favail:
        what = "the disk has no room for another file: its inodes are used up"
        todo = "remove files there, however small (df -i shows their number)"
    else:
        what, todo = "the disk is full", f"free some space ({free_space(path)} left)"
    return StorageError(what, where=name, todo=f"{todo}, then run the same command again")


def free_space(path: Path | str) -> str:
    """Free bytes on the disk that holds `path` (or its nearest existing parent), for people."""
    disk = _disk_of(path)
    return human_size(disk.f_bavail * disk.f_frsize)


def _disk_of(path: Path | str) -> os.statvfs_result:
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return os.statvfs(place)


def human_size(size: float) -> str:
    """1536 → '1.5 kB'; decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def hash_bytes(content: bytes) -> str:
    """`sha256:<hex>` of bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def hash_json(value: Any) -> str:
    """`sha256:<hex>` of a JSON value in canonical form (sorted keys, no spaces)."""
    return hash_bytes(
        json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


def hash_file(path: Path, *, links: bool = True) -> str:
    """`sha256:<hex>` of a regular file's content, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with open_regular(path, links=links) as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def hash_files(paths: Iterable[Path], root: Path) -> str:
    """One hash over names (relative to `root`) and contents of several files, in name order."""
    named = sorted((os.path.relpath(path, root), path) for path in paths)
    return hash_json([[name, hash_file(path)] for name, path in named])
