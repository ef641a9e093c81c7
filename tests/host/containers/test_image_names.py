from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import MachineError, UsageError
from sftplay.files import hash_file
from sftplay.host.containers import image_names
from sftplay.host.containers.image_names import STACKS, current
from tests.host.conftest import CHECKOUT


@pytest.mark.parametrize("stack", STACKS)
def test_the_tag_is_the_hash_of_what_goes_in(stack: str) -> None:
    name = current(stack)
    assert name.tag == f"sftplay/{stack}:{name.context_hash.removeprefix('sha256:')[:12]}"
    assert name.lock_hash == hash_file(CHECKOUT / "images" / stack / "requirements.lock")


def test_a_change_of_any_ingredient_gives_another_tag(checkout: Path) -> None:
    before = current("cpu", checkout)
    for path in (
        "images/Dockerfile",
        "images/cpu/requirements.lock",
        "sftplay/model/train.py",
        "images/uv.lock",
    ):
        text = (checkout / path).read_text()
        (checkout / path).write_text(text + "# changed\n")
        assert current("cpu", checkout).tag != before.tag, path
        (checkout / path).write_text(text)
    (checkout / "sftplay" / "table.json").write_text("{}")
    assert current("cpu", checkout).tag != before.tag
    (checkout / "sftplay" / "table.json").unlink()
    assert current("cpu", checkout) == before


def test_what_is_not_in_the_image_leaves_the_tag_alone(checkout: Path) -> None:
    before = current("cpu", checkout)
    (checkout / "sftplay" / "host" / "guide.py").write_text("# changed\n")
    (checkout / "images" / "unsloth" / "requirements.lock").write_text("# changed\n")
    (checkout / "sftplay" / "__pycache__").mkdir()
    (checkout / "sftplay" / "__pycache__" / "cli.cpython-311.pyc").write_bytes(b"changed")
    assert current("cpu", checkout) == before


def test_the_stages_have_their_own_tags() -> None:
    assert len({current(stack).context_hash for stack in STACKS}) == len(STACKS)


def test_wrong_names_and_missing_files_say_so(checkout: Path) -> None:
    with pytest.raises(UsageError, match="gpu"):
        current("gpu")
    (checkout / "images" / "uv.lock").unlink()
    with pytest.raises(MachineError, match="is missing") as caught:
        current("cpu", checkout)
    assert caught.value.where.endswith("uv.lock")


def test_the_stacks_are_those_of_the_environments() -> None:
    from sftplay.host.local import environments

    for_developers = {
        "dev",
        "audit",
        "llamafactory",
        "lm-eval",
        "lm-eval-cuda",
    }  # the tools, what the bench compares with, and the packages of `inv eval --tasks`: no images
    assert {*image_names.STACKS, *for_developers, "ray", "trackio"} == set(environments.STACKS)
