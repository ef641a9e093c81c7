"""Images here: pruned where they are old."""

from __future__ import annotations

import re

import pytest

from sftplay.host.images import state
from tests.host.conftest import RunTask
from tests.host.images.conftest import Toy

pytestmark = pytest.mark.docker


def tags(toy: Toy) -> list[str]:
    return [name for name in toy.images() if "/cpu:" in name]


def test_prune_takes_what_is_old_and_leaves_what_is_todays(
    toy: Toy, run_image_task: RunTask
) -> None:
    old = toy.build(verified="once")
    (toy.checkout / "sftplay" / "cli.py").open("a").write("\n# changed\n")
    todays = toy.build(verified="now")
    listed = run_image_task("image.ls").stdout
    assert re.search(rf"{old} +stale: sftplay's code changed since", listed)
    refused = run_image_task("image.prune")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert {old, todays} <= set(toy.images())


def test_what_is_pruned_is_gone_also_an_image_that_lost_its_name(toy: Toy) -> None:
    toy.build(verified="once")
    toy.build(verified="now")
    going = [found for found in state.ours(toy.engine) if found.id in toy.made]
    assert sorted(found.tags for found in going) == [(), (toy.tag,)]
    assert [found.digests for found in going] == [(), ()]
    assert state.remove(toy.engine, going) == 0
    assert [found for found in state.ours(toy.engine) if found.id in toy.made] == []
