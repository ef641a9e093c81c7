"""Exit codes: each class owns one, and the table of design names them all."""

from __future__ import annotations

import inspect

from sftplay import errors


def _classes() -> list[type[errors.SftplayError]]:
    return [
        c
        for _, c in inspect.getmembers(errors, inspect.isclass)
        if issubclass(c, errors.SftplayError) and c is not errors.SftplayError
    ]


def test_codes_are_unique() -> None:
    codes = [c.code for c in _classes()]
    assert len(codes) == len(set(codes))


def test_every_code_is_explained() -> None:
    assert {c.code for c in _classes()} <= set(errors.EXIT_MEANINGS)


def test_codes_leave_the_ranges_of_shells_and_docker_alone() -> None:
    taken = {120, *range(123, 128), 255}
    assert not {c.code for c in _classes()} & taken


def test_a_stop_carries_its_signal() -> None:
    assert errors.StoppedError("x", signum=2).code == 130
    assert errors.StoppedError("x", signum=15).code == 143
