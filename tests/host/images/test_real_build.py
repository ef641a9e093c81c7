"""The real Dockerfile and a real engine, with a lock of one small package: what goes wrong, what
comes out, and that it comes out twice.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from sftplay.host.images import recipe
from tests.host.conftest import RunTask
from tests.host.images.conftest import Toy

pytestmark = pytest.mark.docker

STAND_IN = "sftplay-stand-in:bookworm"  # made by .ci/engine.sh where nothing can be pulled
LIST = "cd /opt; find venv sftplay -type f -print0 | sort -z | xargs -0 sha256sum; find venv sftplay -printf '%M %u %p %l\\n' | sort"


@pytest.fixture
def base(toy: Toy) -> str:
    """An image to build on: the one that SFTPLAY_BASE names, the pinned one, or the stand-in."""
    pinned = recipe.pinned_base()
    for name in (os.environ.get("SFTPLAY_BASE"), f"{pinned.name}@{pinned.digest}", STAND_IN):
        if name and toy.engine.api.images(name.partition("@")[0]):
            return name
    pytest.skip("no base image here: .ci/engine.sh up FOLDER makes one")


def cut(checkout: Path) -> Path:
    """Cut the cpu lock down to two small packages: absl-py, and setuptools, of which Python imports
    a module when it starts.
    """
    lock = checkout / "images" / "cpu" / "requirements.lock"
    blocks = re.findall(
        r"^(?:absl-py|setuptools)==.*?(?=^\S)", lock.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 2
    lock.write_text("".join(blocks))
    return lock


def tags(toy: Toy) -> list[str]:
    return [name for name in toy.images() if "/cpu:" in name]


def contents(toy: Toy, tag: str) -> str:
    argv = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", tag, "-c", LIST]
    env = {**os.environ, "DOCKER_HOST": toy.engine.host}
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout


def test_an_altered_hash_fails_the_build_and_leaves_nothing(
    toy: Toy, base: str, run_image_task: RunTask
) -> None:
    lock = cut(toy.checkout)
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock.read_text()))
    end = run_image_task("image.build", "cpu", "--base", base)
    assert end.returncode == 69, end.stderr
    assert "not the one that the lock names" in end.stderr
    assert tags(toy) == []
    log = next((toy.checkout / "outputs").glob("error-image-build-cpu.txt"))
    assert "Hash mismatch" in log.read_text()


def test_the_same_source_gives_the_same_files_and_no_more_than_it_should(
    toy: Toy, base: str, run_image_task: RunTask
) -> None:
    lock = cut(toy.checkout)
    seen: dict[str, str] = {}
    for comment in (
        "# once\n",
        "# twice\n",
    ):  # another lock file, the same packages: everything is installed again
        lock.write_text(comment + lock.read_text())
        end = run_image_task("image.build", "cpu", "--base", base, "--no-verify")
        assert end.returncode == 0, end.stderr
        seen |= {tag: contents(toy, tag) for tag in tags(toy) if tag not in seen}
    first, second = (set(text.splitlines()) for text in seen.values())
    assert first ^ second == set()
    assert any(line.endswith("absl/flags/__init__.py") for line in first)
    assert any(".pyc" in line and "_distutils_hack" in line for line in first)


def test_without_verification_it_has_no_tag_that_anything_would_start(
    toy: Toy, base: str, run_image_task: RunTask
) -> None:
    cut(toy.checkout)
    assert run_image_task("image.build", "cpu", "--base", base, "--no-verify").returncode == 0
    (tag,) = tags(toy)
    assert ":unverified-" in tag
    facts = toy.engine.api.inspect_image(tag)["Config"]
    assert facts["User"] == "10001:10001"
    assert facts["Entrypoint"] == ["python", "-m", "sftplay"]
    assert not any("TOKEN" in word or "SECRET" in word for word in facts["Env"])
    looked = run_image_task("image.check", "cpu")
    assert looked.returncode == 76
    assert "fresh, not verified" in looked.stderr
    argv = [
        "docker",
        "run",
        "--rm",
        "--entrypoint",
        "python",
        tag,
        "-c",
        "import sftplay, importlib.util as u; print(u.find_spec('sftplay.host'))",
    ]
    env = {**os.environ, "DOCKER_HOST": toy.engine.host}
    assert (
        subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout == "None\n"
    )


def test_it_does_not_pass_verification_and_says_what_fails(
    toy: Toy, base: str, run_image_task: RunTask
) -> None:
    """One package is not a stack: the image is built, does not run, and keeps its temporary tag."""
    cut(toy.checkout)
    end = run_image_task("image.build", "cpu", "--base", base)
    assert end.returncode == 69, end.stderr
    assert "built but does not pass: libraries" in end.stderr
    assert all(":unverified-" in tag for tag in tags(toy))
    assert toy.engine.api.containers(all=True, filters={"ancestor": tags(toy)[0]}) == []
