"""Push and pull of small images, through a registry on loopback and through broken ones."""

from __future__ import annotations

import pytest
import yaml

from sftplay.host.images import published
from tests.host.conftest import RunTask
from tests.host.images.conftest import STACK, Registry, Toy, change

pytestmark = pytest.mark.docker


def test_what_was_pushed_comes_back_by_digest_under_its_tag(
    pushed: Toy, registry: Registry, run_image_task: RunTask
) -> None:
    entry = published.read(pushed.checkout)[STACK]
    assert entry.reference == f"{registry.host}/{pushed.prefix}/{STACK}@{entry.digest}"
    assert registry.blob(entry.digest).is_file()
    end = run_image_task("image.pull")
    assert end.returncode == 0, end.stderr
    assert "pulled and verified (everything)" in end.stderr
    assert pushed.images() == sorted(
        [entry.reference, f"{pushed.prefix}/{STACK}:current", pushed.tag]
    )
    again = run_image_task("image.pull", STACK)
    assert again.returncode == 0
    assert "is here" in again.stderr
    assert "fresh, verified: everything" in run_image_task("image.ls").stdout


def test_another_image_under_the_locked_digest_is_refused_and_gone(
    pushed: Toy, run_image_task: RunTask
) -> None:
    change(pushed.checkout, config="sha256:" + "0" * 64)
    end = run_image_task("image.pull", STACK)
    assert end.returncode == 76, end.stderr
    assert "not the one that was published: config" in end.stderr
    assert pushed.images() == []


def test_a_registry_that_answers_with_another_manifest_is_refused(
    pushed: Toy, registry: Registry, run_image_task: RunTask
) -> None:
    manifest = registry.blob(published.read(pushed.checkout)[STACK].digest)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    end = run_image_task("image.pull", STACK)
    assert end.returncode == 76, end.stderr
    assert "not what its digest names" in end.stderr
    assert pushed.images() == []


def test_a_layer_that_was_tampered_with_is_refused(
    pushed: Toy, registry: Registry, run_image_task: RunTask
) -> None:
    manifest = registry.blob(published.read(pushed.checkout)[STACK].digest)
    layer = registry.blob(yaml.safe_load(manifest.read_text())["layers"][0]["digest"])
    content = bytearray(layer.read_bytes())
    content[len(content) // 2] ^= 1
    layer.write_bytes(bytes(content))
    end = run_image_task("image.pull", STACK)
    assert end.returncode == 76, end.stderr
    assert pushed.images() == []


def test_only_todays_verified_image_on_the_pinned_base_is_published(
    toy: Toy, registry: Registry, run_image_task: RunTask
) -> None:
    missing = run_image_task("image.push", STACK, "--registry", registry.host)
    assert missing.returncode == 76
    assert f"inv image.build {STACK}" in missing.stderr
    toy.build(verified="")
    unverified = run_image_task("image.push", STACK, "--registry", registry.host)
    assert unverified.returncode == 76, unverified.stderr
    assert published.read(toy.checkout) == {}
    toy.build()
    nowhere = run_image_task("image.push", STACK)
    assert nowhere.returncode == 2
    assert "--registry" in nowhere.stderr


def test_code_that_changed_since_makes_the_published_image_another_one(
    pushed: Toy, run_image_task: RunTask
) -> None:
    (pushed.checkout / "sftplay" / "cli.py").open("a").write("\n# changed\n")
    end = run_image_task("image.pull", STACK)
    assert end.returncode == 66
    assert "another state of this checkout" in end.stderr
    assert f"inv image.build {STACK}" in end.stderr
