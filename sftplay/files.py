"""Writing files that matter: temporary name, fsync, rename, fsync of the folder.

And hashes of what was written. A temporary file or folder is locked while its writer lives, so that
the next writer can tell what a killed one left behind, also one in a container, whose process
numbers mean nothing here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sftplay.errors import NotFoundError, PermissionDeniedError, SftplayError, StorageError

TMP_PREFIX = ".tmp-"
_UNLOCKED = 0.05  # seconds in which a new temporary file is not locked yet


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
            _lock(out.fileno())
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


def temporary_name(target: Path) -> Path:
    """Return a name next to `target` that nobody else uses."""
    return target.with_name(f"{TMP_PREFIX}{target.name}.{os.getpid()}.{os.urandom(3).hex()}")


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to `target`, to be filled and renamed; it is removed otherwise."""
    folder = temporary_name(target)
    folder.mkdir(parents=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(held)
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files and folders in `folder` whose writer is dead.

    Args:
        name: only those of this target; default: all.
    """
    pattern = f"{TMP_PREFIX}{glob.escape(name)}.*" if name else f"{TMP_PREFIX}*"
    for leftover in folder.glob(pattern):
        if not _is_in_use(leftover):
            remove_tree(leftover)


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):  # a file system without locks: nothing of it is ever swept
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_in_use(path: Path) -> bool:
    """Return whether a living process writes there, or nobody can tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return error.errno != errno.ELOOP  # nobody writes to a link
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between its making and its lock nobody holds it.
        return 0 <= time.time() - os.fstat(fd).st_ctime < _UNLOCKED
    except OSError:
        return True
    finally:
        os.close(fd)


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


def refuse_pipe(path: Path) -> None:
    """Reading a pipe would wait for ever for somebody to write.

    Raises:
        StorageError: a pipe, a folder or a device stands where a file should be (74).
    """
    if path.exists() and not path.is_file():
        raise StorageError(
            "not a regular file", where=str(path), todo="restore the file, or remove it"
        )


def read_json(path: Path) -> Any:
    """Read JSON that sftplay wrote; a torn or missing file is an error that names it. A pipe is not
    waited for.

    Raises:
        NotFoundError: no such file. StorageError: not JSON.
    """
    try:
        refuse_pipe(path)
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError("no such file", where=str(path)) from error
    except ValueError as error:
        raise StorageError(
            f"not valid JSON ({error})",
            where=str(path),
            todo="the file is damaged: restore it, or delete it",
        ) from error


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
        return StorageError(
            "the disk is full",
            where=name,
            todo=f"free some space ({free_space(path)} left), then run the same command again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        uid = f"{os.getuid()}:{os.getgid()}"
        return PermissionDeniedError(
            f"no permission ({error.strerror})",
            where=name,
            todo=f"check the owner: sudo chown -R {uid} {name}",
        )
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return StorageError(
            "a link, a pipe or a folder stands where a file should be",
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


def free_space(path: Path | str) -> str:
    """Free bytes on the disk that holds `path` (or its nearest existing parent), for people."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    stat = os.statvfs(place)
    return human_size(stat.f_bavail * stat.f_frsize)


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


def hash_file(path: Path) -> str:
    """`sha256:<hex>` of a file's content, read in 1 MiB pieces."""
    refuse_pipe(path)
    try:
        with open(path, "rb") as source:
            return (
                f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"
                if hasattr(hashlib, "file_digest")
                else _hash_stream(source)
            )
    except OSError as error:
        raise explain_os_error(error, path) from error


def _hash_stream(source: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(1 << 20):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def hash_files(paths: Iterable[Path], root: Path) -> str:
    """One hash over names (relative to `root`) and contents of several files, in name order."""
    named = sorted((os.path.relpath(path, root), path) for path in paths)
    return hash_json([[name, hash_file(path)] for name, path in named])
