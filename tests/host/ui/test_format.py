"""Durations for people."""

import pytest

from sftplay.host.ui.format import show_duration


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5, "5 s"), (600, "10 min"), (7200, "2.0 h"), (90 * 3600, "3.8 days")]
)
def test_a_duration_is_shown_as_exact_as_it_is(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
