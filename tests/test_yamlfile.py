"""YAML's traps: refused with line and column, or read as a person means them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.errors import ConfigError
from sftplay.yamlfile import parse_scalar, parse_yaml, read_yaml


def test_scalars_follow_the_core_schema() -> None:
    value, _ = parse_yaml("a: 2e-4\nb: 012\nc: 1:30\nd: no\ne: true\nf: ~\ng: 1_000\nh: .5\n", "x")
    assert value == {
        "a": 2e-4,
        "b": 12,
        "c": "1:30",
        "d": "no",
        "e": True,
        "f": None,
        "g": "1_000",
        "h": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("a: 1\nb: &x {c: 1}\n", "x:2:4", "anchors"),
        ("a: 1\nb: *x\n", "x:2:4", "aliases"),
        ("a: 1\nb: 2\na: 3\n", "x:3:1", "twice"),
        ("t:\n  a: 1\n  a: 2\n", "x:3:3", "twice"),
        ("a: 1\n---\nb: 2\n", "x:2:1", "several documents"),
        ("- a\n- b\n", "x:1:1", "mapping"),
        ("a:\n\tb: 1\n", "x:2:1", "a tab"),
        ("a: [1, 2\n", "x:2:1", "has no ] at its end"),
        ("a: " + "[" * 40 + "]" * 40, "x:1:", "nested"),
    ],
)
def test_traps_are_refused_with_their_place(text: str, place: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x")
    assert caught.value.where.startswith(place)
    assert word in caught.value.what


def test_surrogate_pairs_are_one_character() -> None:
    """As json.dumps writes text beyond the first 65,536 characters."""
    assert parse_yaml(json.dumps({"style": "Hi \U0001f600!", "\U0001f600": 1}), "c")[0] == {
        "style": "Hi \U0001f600!",
        "\U0001f600": 1,
    }
    with pytest.raises(ConfigError, match="half of a surrogate pair"):
        parse_yaml('style: "Hi \\ud83d!"', "c")


def test_python_tags_build_nothing() -> None:
    with pytest.raises(ConfigError):
        parse_yaml("a: !!python/object/apply:os.system ['true']\n", "x")


def test_a_deep_bomb_ends_at_once() -> None:
    with pytest.raises(ConfigError, match="nested"):
        parse_yaml("a: " + "[" * 20_000, "x")


def test_an_empty_file_is_an_empty_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "c.yaml") == ({}, {})


def test_bom_and_crlf_are_fine_and_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_yaml(tmp_path / "c.yaml")[0] == {"a": 1, "b": 2}
    (tmp_path / "d.yaml").write_bytes("a: ü".encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        read_yaml(tmp_path / "d.yaml")


def test_a_large_file_is_not_a_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: 1\n" * 300_000)
    with pytest.raises(ConfigError, match="larger"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("", ""),
        ("null", None),
        ("[a, b]", ["a", "b"]),
        ("'7'", "7"),
        ("a b", "a b"),
    ],
)
def test_set_values(text: str, value: object) -> None:
    assert parse_scalar(text, "--set a.b") == value


@pytest.mark.parametrize(
    ("text", "place", "what", "todo"),
    [
        ("a:\n  b: 1\n   c: 2\n", "3:5", "begins further right", "same column"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "in another column", "same column"),
        ("a: 1\n  # no\n b: 2\n", "3:2", "in another column", "same column"),
        (" a: 1\nb: 2\n", "2:1", "further left", "same column"),
        ("a: b: c\n", "1:5", "a second colon", "quotes"),
        ("a\nb: 1\n", "2:2", "the one above has none", "same column"),
        ("a:\n\tb: 1\n", "2:1", "a tab", "spaces"),
        ("a: @b\n", "1:4", "can't begin with this character", "quotes"),
        ("a: - b\n", "1:4", "a list entry", "same column"),
        ("a: 'b' c\n", "1:8", "behind the end of a value", "quotes"),
        ("a: [1] b\n", "1:8", "behind the end of a value", "quotes"),
        ("a: {b: 1}}\n", "1:10", "behind the end of a value", "quotes"),
        ("a: ]\n", "1:4", "never opened", "quotes"),
        ('a: "\\q"\n', "1:6", "an unknown escape", "single quotes"),
        ("a: !x 1\n", "1:4", "a tag", "plain value"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, place: str, what: str, todo: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_yaml(text, "c.yaml")
    assert refused.value.where == f"c.yaml:{place}"
    assert what in refused.value.what and todo in refused.value.todo
    for leak in ("<", "token", "mapping values", "constructor"):
        assert leak not in str(refused.value)
