"""Owner of the files that containers write."""

from __future__ import annotations

import pytest

from sftplay.host.containers.host_identity import choose_user


@pytest.mark.parametrize(
    ("caller", "owner", "rootless", "user"),
    [
        ((1000, 100), (0, 0), False, "1000:100"),
        ((0, 0), (1000, 1001), False, "1000:1001"),
        ((0, 0), (0, 0), False, "0:0"),
        ((1000, 1000), (1000, 1000), True, "0:0"),
    ],
)
def test_files_belong_to_the_person(
    caller: tuple[int, int], owner: tuple[int, int], rootless: bool, user: str
) -> None:
    decision = choose_user(caller, owner, rootless=rootless)
    assert decision.value == user
    assert decision.reason
