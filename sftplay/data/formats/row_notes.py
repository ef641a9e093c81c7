"""Notes about one row, taken while it is read: keys that are not used, repairs, and whatever else
its file's report should say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sftplay.data.findings import Finding


@dataclass(slots=True)
class RowNotes:
    """Findings of one row, collected while it is read.

    Attributes:
        fix_turns: whether turns out of order are to be fixed.
        from_arrow: whether the row comes from a table with a schema, which fills structs up with
            nulls.
        unused: name of a key that is not read → its value. Keys of a message are named
            `messages[].key`.
        fixes: what was done to turns out of order.
        findings: other things.
    """

    fix_turns: bool = False
    from_arrow: bool = False
    unused: dict[str, Any] = field(default_factory=dict)
    fixes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def skip(self, name: str, value: Any) -> None:
        """Note a key that is not read; one without a value holds nothing to read."""
        if value is not None and value not in ("", [], {}):
            self.unused[name] = value
