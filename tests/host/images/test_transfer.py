"""Failures of a transfer, each with its message."""

from __future__ import annotations

import pytest

from sftplay.host.images import published
from tests.host.conftest import RunTask
from tests.host.images.conftest import STACK, Registry, Toy, change

pytestmark = pytest.mark.docker


def test_an_unknown_digest_and_a_dead_registry_say_different_things(
    pushed: Toy, registry: Registry, run_image_task: RunTask
) -> None:
    right = published.read(pushed.checkout)[STACK].digest
    change(pushed.checkout, digest="sha256:" + "1" * 64)
    unknown = run_image_task("image.pull", STACK)
    assert unknown.returncode == 66, unknown.stderr
    assert "does not have this image" in unknown.stderr
    change(pushed.checkout, digest=right)
    registry.stop()
    dead = run_image_task("image.pull", STACK)
    assert dead.returncode == 69, dead.stderr
    assert "does not answer" in dead.stderr
    assert "inv image.build" in dead.stderr
