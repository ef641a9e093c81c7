"""The garbage collector looks rarely while a stage loads, and as usual afterwards, whatever
happens.
"""

from __future__ import annotations

import gc

import pytest

from sftplay.collector import loaded, loading


def test_rarely_until_everything_is_there() -> None:
    usual = gc.get_threshold()
    with loading():
        assert gc.isenabled() and gc.get_threshold()[0] >= 20 * usual[0]
        loaded()
        assert gc.get_threshold() == usual


def test_a_failure_leaves_it_as_usual() -> None:
    usual = gc.get_threshold()
    with pytest.raises(ValueError, match="boom"), loading():
        raise ValueError("boom")
    assert gc.get_threshold() == usual
