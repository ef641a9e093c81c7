"""A stop that comes inside a callback of native code, or a library's bare `except:`, is not lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sftplay import stops
from sftplay.errors import StoppedError

_PROGRAM = """
import os, signal, sys, time
from sftplay.stops import raise_if_stopped, raise_swallowed_again, stop

if "{handler}" == "stage":
    signal.signal(signal.SIGINT, stop)
raise_swallowed_again()

class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass

try:
    del_me = Destroyed()
    del del_me
    time.sleep(5)
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("handler", "raised"), [("python", "KeyboardInterrupt"), ("stage", "StoppedError")]
)
def test_a_stop_that_a_destructor_swallows_is_raised_again(handler: str, raised: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(handler=handler)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout.strip(), ran.returncode) == (raised, 0)
    assert "ignored" not in ran.stderr


def test_other_exceptions_of_destructors_are_printed_as_ever() -> None:
    program = """
from sftplay.stops import raise_swallowed_again
raise_swallowed_again()
class Bad:
    def __del__(self): raise ValueError("in a destructor")
Bad()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0 and "in a destructor" in ran.stderr


def test_a_stop_that_a_library_catches_is_raised_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stops._Request, "stopped", None)
    stops.raise_if_stopped()
    with monkeypatch.context() as kept:
        kept.setattr(stops.signal, "signal", lambda *words: None)
        try:
            stops.stop(15, None)
        except:  # noqa: E722 - as libraries do it
            pass
    with pytest.raises(StoppedError) as stopped:
        stops.raise_if_stopped()
    assert stopped.value.code == 143
