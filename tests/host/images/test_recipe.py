from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.containers.image_names import current
from sftplay.host.images import recipe
from sftplay.host.images.recipe import BaseImage

HERE = BaseImage("stand-in:bookworm", "sha256:1234", pinned=False)


def pairs(words: list[str], flag: str) -> list[str]:
    return [words[number + 1] for number, word in enumerate(words) if word == flag]


def test_the_base_is_pinned_by_digest() -> None:
    base = recipe.pinned_base()
    assert base.name == "debian:bookworm-slim"
    assert base.digest.startswith("sha256:")
    assert f"BASE={base.name}@{base.digest}" in pairs(
        recipe.arguments(current("cpu"), base, {}), "--build-arg"
    )


@pytest.mark.parametrize(("stack", "torch"), [("cpu", "cpu"), ("bnb", "cuda"), ("unsloth", "cuda")])
def test_the_stack_says_which_torch(stack: str, torch: str) -> None:
    given = pairs(recipe.arguments(current(stack), HERE, {}), "--build-arg")
    assert given == ["BASE=stand-in:bookworm", f"STACK={stack}", f"TORCH={torch}"]


def test_a_certificate_authority_is_a_secret_and_a_proxy_is_named_only(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("certificates")
    environ = {
        "SSL_CERT_FILE": str(authority),
        "HTTPS_PROXY": "http://me:secret@proxy:3128",
        "HF_TOKEN": "hf_secret",
    }
    words = recipe.arguments(current("cpu"), HERE, environ)
    assert pairs(words, "--secret") == [f"id=ca,src={authority}"]
    assert "HTTPS_PROXY" in pairs(words, "--build-arg")
    assert not any("secret@" in word or "hf_secret" in word for word in words)


def test_labels_of_a_cuda_image_say_cuda_and_driver() -> None:
    labels = recipe.labels(current("bnb"), HERE)
    assert labels["sftplay.cuda"] == "13.0"
    assert labels["sftplay.driver"] == "580"
    assert labels["sftplay.stack"] == "bnb"
    assert labels["org.opencontainers.image.base.digest"] == "sha256:1234"
    assert "sftplay.cuda" not in recipe.labels(current("cpu"), HERE)


def test_a_stale_image_says_what_changed(checkout: Path) -> None:
    labels = recipe.labels(current("cpu"), HERE)
    assert list(recipe.what_changed(labels, current("cpu"))) == []
    del labels["sftplay.lock"]
    labels["sftplay.code"] = "sha256:other"
    assert list(recipe.what_changed(labels, current("cpu"))) == [
        "the lock (images/cpu/requirements.lock)",
        "sftplay's code",
    ]
    before = recipe.parts("cpu", checkout)
    (checkout / "sftplay" / "cli.py").write_text("changed")
    after = recipe.parts("cpu", checkout)
    assert {key for key in before if before[key] != after[key]} == {recipe.CODE_LABEL}
