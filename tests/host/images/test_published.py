from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import ConfigError
from sftplay.host.images import published
from sftplay.host.images.published import PublishedImage
from tests.host.conftest import CHECKOUT, RunTask

ENTRY = PublishedImage(
    repository="registry.example:5000/me/sftplay/cpu",
    tag="0123456789ab",
    digest="sha256:" + "a" * 64,
    config="sha256:" + "b" * 64,
    context="sha256:0123456789ab" + "c" * 52,
    lock="sha256:" + "d" * 64,
    base="debian:bookworm-slim@sha256:" + "e" * 64,
    revision="f" * 40,
    verified="imports",
    size=2_000_000_000,
)


def test_the_repository_has_a_lock_that_can_be_read() -> None:
    assert set(published.read(CHECKOUT)) <= {"cpu", "bnb", "unsloth"}


def test_an_entry_comes_back_as_it_was_and_replaces_only_its_own_stack(checkout: Path) -> None:
    published.record("cpu", ENTRY, checkout)
    other = ENTRY.model_copy(update={"tag": "ba9876543210"})
    published.record("bnb", other, checkout)
    assert published.read(checkout) == {"cpu": ENTRY, "bnb": other}
    text = (checkout / published.PATH).read_text()
    published.record("cpu", ENTRY, checkout)
    assert (checkout / published.PATH).read_text() == text
    assert text.startswith("# ")
    assert ENTRY.reference == f"registry.example:5000/me/sftplay/cpu@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (f"digest: {ENTRY.digest}", "digest: latest", "digest"),
        (f"    digest: {ENTRY.digest}\n", "", "digest"),
        ("schema: 1", "schema: 2", "schema"),
        ("  cpu:", "  gpu:", "gpu"),
        ("linux/amd64", "linux/arm64", "platform"),
        ("repository: registry", "repository: http://registry", "repository"),
    ],
)
def test_a_lock_that_was_edited_into_nonsense_is_named(
    before: str, after: str, word: str, checkout: Path
) -> None:
    published.record("cpu", ENTRY, checkout)
    path = checkout / published.PATH
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=word) as caught:
        published.read(checkout)
    assert caught.value.where == str(path)


def test_a_tag_without_digest_is_never_pulled(checkout: Path, run_task: RunTask) -> None:
    published.record("cpu", ENTRY, checkout)
    path = checkout / published.PATH
    path.write_text(path.read_text().replace(f"    digest: {ENTRY.digest}\n", ""))
    end = run_task("image.pull", "cpu")
    assert end.returncode == 78, end.stderr
    assert "digest" in end.stderr
