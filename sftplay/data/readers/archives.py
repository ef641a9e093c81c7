"""Files that hold other files, or that are of another kind than their name says: recognized by
their first bytes, with the command that helps.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from sftplay.errors import DataError

_UNPACK = {
    ".zip": "unzip {name} -d FOLDER",
    ".tar": "tar xf {name}",
    ".tgz": "tar xzf {name}",
    ".tar.gz": "tar xzf {name}",
    ".tar.zst": "tar --zstd -xf {name}",
    ".tar.bz2": "tar xjf {name}",
    ".tar.xz": "tar xJf {name}",
    ".bz2": "bunzip2 {name}",
    ".xz": "unxz {name}",
    ".7z": "7z x {name}",
    ".rar": "unrar x {name}",
}
_LONGEST_FIRST = sorted(_UNPACK, key=len, reverse=True)
_SHEET = "save the sheet as csv (UTF-8)"
# First bytes, what such a file is, what to do, and the kind of rawdata.KINDS that it is right for.
_KINDS = (
    (rb"BZh[1-9]1AY&SY", "packed by bzip2", _UNPACK[".bz2"], ""),
    (rb"\xfd7zXZ\x00", "packed by xz", _UNPACK[".xz"], ""),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK[".7z"], ""),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK[".rar"], ""),
    (rb"PAR1[\x15\x19]", "a parquet file", "rename it so that it ends in .parquet", "parquet"),
    (rb"ARROW1\x00\x00", "an Arrow file", "rename it so that it ends in .arrow", "arrow"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", _SHEET, ""),
    (rb"%PDF-", "a PDF document", "write its rows as jsonl or csv", ""),
    (
        rb"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "fetch the file: git lfs pull (in the folder of the clone)",
        "",
    ),
)


def refuse_other_kind(head: bytes, kind: str, name: str, compression: str) -> None:
    """Look at the first bytes of a file, unpacked.

    Args:
        kind: what its suffix says, one of rawdata.KINDS.

    Raises:
        DataError: an archive, or a file of another kind, with the command that helps (65).
    """
    if head.startswith(b"PK\x03\x04"):
        sheet = b"[Content_Types].xml" in head or b"xl/" in head[:4096]
        what, todo = ("an Excel file", _SHEET) if sheet else ("a zip archive", _UNPACK[".zip"])
        raise _other(what, todo, name)
    if head[257:262] == b"ustar":
        packed = {"gzip": ".tar.gz", "zstd": ".tar.zst"}.get(compression, ".tar")
        raise _other("a tar archive", _UNPACK[packed], name)
    for magic, what, todo, right in _KINDS:
        if right != kind and re.match(magic, head):
            raise _other(what, todo, name)


def why_left_out(path: PurePath) -> str:
    """Explain why a file of a folder is no data file."""
    name = path.name.lower()
    suffix = next((suffix for suffix in _LONGEST_FIRST if name.endswith(suffix)), "")
    if suffix:
        return f"an archive: unpack it ({_UNPACK[suffix].format(name=path.name)})"
    if name.endswith((".xlsx", ".xls", ".ods")):
        return f"a spreadsheet: {_SHEET}"
    return "not a data file"


def _other(what: str, todo: str, name: str) -> DataError:
    return DataError(f"this is {what}", where=name, todo=todo.format(name=name))
