"""Images here: pruned where they are old."""

from __future__ import annotations

import re

import pytest

from sftplay.host.images import state
from sftplay.host.system.machine import read_machine
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


def test_check_judges_the_stacks_of_this_machine(run_image_task: RunTask) -> None:
    """A host without a GPU is not told to build CUDA images."""
    looked = run_image_task("image.check")
    used = state.of_machine(read_machine())
    others = [stack for stack in ("cpu", "bnb", "unsloth", "export") if stack not in used]
    assert f"not looked at, since this machine does not use them: {', '.join(others)};" in re.sub(
        r"\s+", " ", looked.stderr
    )
    assert not any(f"image.build {stack}" in looked.stderr for stack in others)
    assert looked.returncode in (0, 76)
    assert "not looked at" not in run_image_task("image.check", "all").stderr


def test_what_is_pruned_is_gone_also_an_image_that_lost_its_name(toy: Toy) -> None:
    toy.build(verified="once")
    toy.build(verified="now")
    going = [found for found in state.ours(toy.engine) if found.id in toy.made]
    assert sorted(found.tags for found in going) == [(), (toy.tag,)]
    assert [found.digests for found in going] == [(), ()]
    assert state.remove(toy.engine, going) == 0
    assert [found for found in state.ours(toy.engine) if found.id in toy.made] == []
