"""Failures of a transfer, each with its message."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sftplay.host.images import published
from tests.host.conftest import RunTask
from tests.host.images.conftest import STACK, Registry, Toy

pytestmark = pytest.mark.docker


@pytest.fixture
def pushed(toy: Toy, registry: Registry, run_image_task: RunTask) -> Toy:
    """An image that is published and no longer here."""
    toy.build()
    end = run_image_task("image.push", STACK, "--registry", registry.host)
    assert end.returncode == 0, end.stderr
    toy.remove()
    assert toy.images() == []
    return toy


def change(checkout: Path, **values: str) -> None:
    path = checkout / published.PATH
    lock = yaml.safe_load(path.read_text())
    lock["images"][STACK] |= values
    path.write_text(yaml.safe_dump(lock))


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
