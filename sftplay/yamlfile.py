"""Reading a config's YAML: data only, with line numbers, and without YAML's traps.

Refused with line and column: aliases and merge keys (a few lines of them unfold to gigabytes),
duplicate keys (safe_load
keeps the last one silently), several documents, anything over 1 MB or nested deeper than 32.
Scalars follow YAML 1.2's core
schema: `2e-4` is a number, `no` is a word, `012` is 12, `1:30` is text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sftplay.errors import ConfigError
from sftplay.files import open_regular
from sftplay.places import OUTPUTS

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
_KEY = "value"  # of a value that is read by itself
_ALIGN = "begin all entries of one section in the same column, with spaces"
_QUOTE = "put the text into quotes"
# A piece of what the parser says; what that is in words, and what to do.
_PROBLEMS = (
    (
        "expected ',' or ']'",
        "a list that begins with [ has no ] at its end, or no comma between two values",
        "close it, or put text with [ ] { } , into quotes",
    ),
    (
        "expected ',' or '}'",
        "a mapping that begins with { has no } at its end, or no comma between two entries",
        "close it, or put text with [ ] { } , into quotes",
    ),
    ("found unexpected end of stream", "a quote is not closed", "close it"),
    (
        "mapping values are not allowed",
        "`key: value` can't stand here: the line begins further right than the one above it or has a"
        " second colon, or the one above has none",
        f"{_ALIGN}; put text with a colon into quotes",
    ),
    *(
        (f"expected <block end>, but found '{found}'", "text behind the end of a value", _QUOTE)
        for found in ("<scalar>", "]", "}", ",")
    ),
    ("expected the node content", "a value is missing, or a bracket was never opened", _QUOTE),
    ("expected <block end>", "this line begins in another column than those above it", _ALIGN),
    ("expected '<document start>'", "this line begins further left than those above it", _ALIGN),
    ("sequence entries are not allowed", "a list entry (`- …`) can't stand here", _ALIGN),
    ("could not find expected ':'", "a key without a colon above this place", "write `key: value`"),
    ("found character '\\t'", "a tab", "indent with spaces"),
    ("that cannot start any token", "text can't begin with this character", _QUOTE),
    ("found unknown escape", "an unknown escape behind \\", "use single quotes, or write \\\\"),
    ("constructor for the tag", "a tag (!…) of another program", "write the plain value"),
)
Marks = dict[tuple[str, ...], tuple[int, int]]  # key path → (line, column), both from 1


class TaggedText(str):
    """A scalar that a tag of another program stands before; read as text, never acted on."""

    __slots__ = ()


class _CoreLoader(yaml.SafeLoader):
    """safe_load with the scalar rules of YAML 1.2's core schema, one document, nested up to
    MAX_DEPTH, without anchors and aliases.

    Attributes:
        file: what messages call the text.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute
    file = ""
    _depth = 0

    def get_single_node(self) -> yaml.Node | None:
        """Return the only document's tree; None where there is no document."""
        self.get_event()  # type: ignore[no-untyped-call] # the stream's start
        if self.check_event(yaml.StreamEndEvent):
            return None
        node: yaml.Node | None = self.compose_document()
        if not self.check_event(yaml.StreamEndEvent):
            raise self._refused("several documents in one file (---)", "keep one")
        return node

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Return a node with everything below it."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._refused(
                "anchors and aliases are not allowed in a config", "write the value out"
            )
        is_collection = isinstance(event, yaml.CollectionStartEvent)
        self._depth += is_collection
        if self._depth > MAX_DEPTH:
            raise self._refused(f"nested deeper than {MAX_DEPTH} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= is_collection
        return node

    def _refused(self, what: str, todo: str = "") -> ConfigError:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        return ConfigError(what, where=_at(self.file, event.start_mark), todo=todo)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Join surrogate pairs into one character: JSON writes an emoji as two escapes."""
        node = super().compose_scalar_node(anchor)
        try:
            node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            problem = "half of a surrogate pair, which is no character"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark) from error
        return node


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(_pattern),
        [*_first, ""] if _tag == "null" else list(_first),
    )
_CoreLoader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(_text(loader, node)))
_CoreLoader.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(_text(loader, node))
)


def _text(loader: Any, node: Any) -> str:
    return str(loader.construct_scalar(node))


class _CoreDumper(yaml.SafeDumper):
    """safe_dump that quotes what YAML 1.1 or 1.2 would read as something else than text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - PyYAML's own class attribute
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_CoreLoader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {
            *yaml.SafeDumper.yaml_implicit_resolvers,
            *_CoreLoader.yaml_implicit_resolvers,
        }
    }


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Escape line breaks: PyYAML's other styles read some of them back as spaces (NEL, U+2028)."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_CoreDumper.add_representer(str, _represent_text)


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML that `parse_yaml` reads back unchanged, and other tools too."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(path: Path, tags: Sequence[str] = ()) -> tuple[dict[str, Any], Marks]:
    """Read one mapping from a YAML file.

    Args:
        tags: tags that may stand before a scalar, such as `!function`; it is read as `TaggedText`.

    Returns:
        The mapping, and where each of its keys stands.

    Raises:
        ConfigError: not such a file, with line and column (78). NotFoundError: no such file (66).
    """
    try:
        with open_regular(path, links=not _is_of_run(path)) as source:
            content = source.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(
                f"larger than {MAX_BYTES} bytes: this is not a config", where=str(path)
            )
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"not UTF-8 (byte {error.start})", where=str(path), todo="save the file as UTF-8"
        ) from error
    return parse_yaml(text, str(path), tags)


def _is_of_run(path: Path) -> bool:
    """Return whether it lies in a run's folder, where a container could have made it a link."""
    return path.absolute().is_relative_to(OUTPUTS.absolute())


def parse_yaml(text: str, name: str, tags: Sequence[str] = ()) -> tuple[dict[str, Any], Marks]:
    """`read_yaml` on text; `name` is what messages call it."""
    try:
        loader = _loader_with(tags)(text)
        loader.file = name
        try:
            node = loader.get_single_node()
            if node is None:
                return {}, {}
            if not isinstance(node, yaml.MappingNode):
                raise ConfigError(
                    "the top level must be a mapping (key: value)", where=_at(name, node.start_mark)
                )
            marks: Marks = {}
            _collect(node, (), marks, name)
            return dict(loader.construct_document(node)), marks
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        what, todo = _in_words(error.problem or "not valid YAML")
        mark = error.problem_mark or error.context_mark
        raise ConfigError(what, where=_at(name, mark), todo=todo) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"not valid YAML ({error})", where=name) from error


def _in_words(problem: str) -> tuple[str, str]:
    """Return what YAML's parser says, in words where it names its own tokens, and what to do."""
    said = ((what, todo) for sign, what, todo in _PROBLEMS if sign in problem)
    return next(
        said, (problem, "YAML requires spaces, `key: value`, and quotes around text with : or #")
    )


def _loader_with(tags: Sequence[str]) -> type[_CoreLoader]:
    """Return the loader that reads these tags as text."""
    if not tags:
        return _CoreLoader

    class Loader(_CoreLoader):
        pass

    for tag in tags:
        Loader.add_constructor(tag, lambda loader, node: TaggedText(_text(loader, node)))
    return Loader


def parse_scalar(text: str, name: str) -> Any:
    """The value of `--set key=value`: a YAML value of one line (number, list, null), else the words
    as they stand; `name` is what messages call it.
    """
    try:
        return parse_yaml(f"{_KEY}: {text}" if text.strip() else f"{_KEY}: ''", name)[0][_KEY]
    except ConfigError as error:
        if text.lstrip()[:1] in "[{'\"&*!|>":
            what = error.what.replace(f"`{_KEY}.", "`")
            raise ConfigError(what, where=name, todo=error.todo) from error
        return text


def _collect(node: yaml.Node, path: tuple[str, ...], marks: Marks, name: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            marks[(*path, str(index))] = (item.start_mark.line + 1, item.start_mark.column + 1)
            _collect(item, (*path, str(index)), marks, name)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            if here in marks:
                raise ConfigError(
                    f"the key `{'.'.join(here)}` stands twice",
                    where=_at(name, key.start_mark),
                    todo="keep one of them",
                )
            marks[here] = (key.start_mark.line + 1, key.start_mark.column + 1)
            _collect(value, here, marks, name)


def _at(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
