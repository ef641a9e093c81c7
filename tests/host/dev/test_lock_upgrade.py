"""Changes that an upgrade of a lock would make."""

from __future__ import annotations

from sftplay.host.dev.lock_upgrade import changes
from tests.host.conftest import CHECKOUT


def test_moved_added_and_removed_packages_are_told_apart() -> None:
    before = "a==1.0 \\\n    --hash=sha256:0\nb-c==2.0 ; sys_platform == 'linux' \\\ngone==1\n"
    after = (
        "a==1.1 \\\n    --hash=sha256:1\nb-c==2.0 ; sys_platform == 'linux' \\\nnew[x]==0.1.post1\n"
    )
    assert changes(before, after) == ["a 1.0 → 1.1", "added: new 0.1.post1", "removed: gone 1"]


def test_a_real_lock_does_not_differ_from_itself() -> None:
    text = (CHECKOUT / "images/unsloth/requirements.lock").read_text(encoding="utf-8")
    assert changes(text, text) == []
    assert changes(text, text.replace("\ntorch==", "\ntorch==9.")) == [
        f"torch {version} → 9.{version}"
        for version in [text.split("\ntorch==")[1].split(" ", 1)[0]]
    ]
