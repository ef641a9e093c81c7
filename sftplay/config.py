"""A config file plus `--set` → settings, or every problem at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sftplay.errors import ConfigError, UsageError
from sftplay.settings import NAME_PATTERN, Settings
from sftplay.validation import alternatives, in_words
from sftplay.yamlfile import Marks, dump_yaml, parse_scalar, read_yaml

Said = dict[tuple[str, ...], str]  # key path → the option that set it, for messages
_MAPPING = "data.mix"  # its keys are names of files, with dots
_OTHER = {"data.raw": "mix", _MAPPING: "raw"}  # each names the rows in the place of the other
_SHORT = {"run.name": "--run {}", "train.device": "--device {}"}  # options that stand for a key


def load_config(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read and check a config.

    Args:
        path: the YAML file.
        overrides: `key.path=value` each, applied in order.

    Raises:
        ConfigError: every problem, one line each, with line numbers and the nearest name for
            unknown keys (78).
    """
    raw, marks = read_yaml(path)
    return settle(path, raw, marks, [parse_override(override) for override in overrides])


def settle(
    path: Path, raw: dict[str, Any], marks: Marks, values: Sequence[tuple[str, Any]]
) -> Settings:
    """Check a config that was read, with other values of some keys.

    Args:
        raw: the file's content; it is changed in place. values: (key path, value) each.

    Raises:
        ConfigError: as `load_config`.
    """
    said: Said = {}
    for key, value in values:
        _put(raw, key, value)
        place = tuple(key.split("."))
        said[place] = _SHORT[key].format(value) if key in _SHORT else f"--set {key}"
        marks = {
            loc: mark for loc, mark in marks.items() if loc[: len(place)] != place
        }  # the file is not to blame for it
    settings = validate(raw, str(path), marks, said)
    if settings.run.name is None:
        raw = {**raw, "run": {**(raw.get("run") or {}), "name": run_name_from(path)}}
        settings = _validate_named(raw, path, marks, said)
    return settings


def _validate_named(raw: dict[str, Any], path: Path, marks: Marks, said: Said) -> Settings:
    """Validate a config whose run has the name of its file."""
    try:
        return validate(raw, str(path), marks, said)
    except ConfigError as error:
        error.todo = "the name comes from the file's: name the run otherwise with --run NAME"
        raise


def run_name_from(path: Path) -> str:
    """Default run name: the config's file stem; a resolved config in a run folder names its run."""
    return path.absolute().parent.name if path.name == "config.yaml" else path.stem.lower()


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Put one `key.path=value` into the raw mapping, in place."""
    _put(raw, *parse_override(override))


def parse_override(override: str) -> tuple[str, Any]:
    """Read `key.path=value`.

    Raises:
        UsageError: it is not of that form (2).
    """
    key, sign, value = override.partition("=")
    if not sign or not key.strip():
        raise UsageError(
            f"--set requires key.path=value, got {override!r}",
            todo="for example: --set train.learning_rate=1e-4",
        )
    section, inside, source = key.strip().partition(f"{_MAPPING}.")
    if inside and not section and "." in source:  # a dot there is the file's, not the key's
        todo = (
            f"name every source of the mix at once: --set '{_MAPPING}={{{source}: {value or 1}, …}}'"
            f", for example --set '{_MAPPING}={{a.csv: 2, b.jsonl: 1}}'; or write the mapping into"
            " the config"
        )
        raise UsageError(
            f"--set can't name one source of {_MAPPING} by itself: {source}", todo=todo
        )
    return key.strip(), parse_scalar(value, f"--set {key.strip()}")


def _put(raw: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    place = raw
    for part in parts[:-1]:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    place[parts[-1]] = value
    if value is not None and key in _OTHER:
        place.pop(_OTHER[key], None)


def validate(raw: dict[str, Any], name: str, marks: Marks, said: Said | None = None) -> Settings:
    """Check a raw mapping against the schema; all problems at once.

    Args:
        marks: where the file says it; said: what the command line says instead of the file.
    """
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [
            _describe(problem, marks, said or {}) for problem in _merge_alternatives(error.errors())
        ]
        typed = all(line.startswith("--") for line in lines)
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        listing = "\n".join(f"  {line}" for line in lines)
        raise ConfigError(
            lines[0]
            if typed and len(lines) == 1
            else f"{count} {'on the command line' if typed else 'in the config'}\n{listing}",
            where="" if typed else name,
            todo="`inv config.show` prints every key with its default",
        ) from None


def dump_config(settings: Settings) -> str:
    """The resolved config as YAML, itself runnable.

    Every key is written, so a later default changes nothing.
    """
    return dump_yaml(settings.model_dump(mode="json"))


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its key path, as JSON has it."""
    found: dict[str, Any] = {}

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            else:
                found[f"{prefix}{key}"] = value

    walk(settings.model_dump(mode="json"), "")
    return found


def walk_settings(
    model: type[BaseModel] = Settings, prefix: str = ""
) -> Iterator[tuple[str, Any, Any, str]]:
    """Every leaf of the schema: (key path, annotation, default, docstring). docs/config.md is made
    from it.
    """
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from walk_settings(section, f"{prefix}{name}.")
        else:
            yield (
                f"{prefix}{name}",
                field.annotation,
                field.get_default(call_default_factory=True),
                field.description or "",
            )


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings class that an annotation (`X` or `X | None`) names, if any."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _merge_alternatives(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """One problem for a key that takes one thing or another: pydantic reports each alternative by
    itself.
    """
    leaves = {tuple(path.split(".")) for path, *_ in walk_settings()}
    mapping = tuple(_MAPPING.split("."))
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    said: dict[tuple[str, ...], list[str]] = {}
    for problem in problems:
        loc = tuple(str(part) for part in problem["loc"])
        key = next((loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in leaves), loc)
        if key == mapping:
            key = loc[: len(key) + 1]  # an entry is a place of its own, with a line of its own
        merged.setdefault(key, {**problem, "loc": key})
        said.setdefault(key, []).append(in_words(problem))
    return [{**merged[key], "msg": alternatives(said[key])} for key in merged]


def _describe(problem: Any, marks: Marks, said: Said) -> str:
    loc = tuple(str(part) for part in problem["loc"])
    origin = _origin(loc, marks, said)
    if origin is not None and problem["type"] == "extra_forbidden":
        key = "" if said.get(loc) == origin else f"{'.'.join(loc)} is an "
        return f"{origin}: {key}unknown key{_nearest(loc, whole=True)}"
    key_loc = next((loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in marks), loc)
    line = f"line {marks[key_loc][0]}: " if key_loc in marks else ""
    key = ".".join(loc)
    if problem["type"] == "extra_forbidden":
        return f"{line}{key}: unknown key{_nearest(loc)}"
    message = problem["msg"]
    if problem["type"] == "string_pattern_mismatch" and problem["ctx"]["pattern"] == NAME_PATTERN:
        message = (
            "lower-case letters, digits, . _ - and no more than 63 of them, a letter or digit first"
        )
        if origin is not None and not origin.startswith("--set"):
            return f"{origin}: {message}"  # the option shows its value
    shown = repr(problem.get("input"))
    got = (
        ""
        if isinstance(problem.get("input"), dict)
        else f" (got {shown if len(shown) < 60 else shown[:57] + '…'})"
    )
    if origin is not None:
        entry = "" if origin.endswith(key) or not key.startswith(f"{_MAPPING}.") else f"{loc[-1]}: "
        return f"{origin}: {entry}{message}{got}"
    return f"{line}{key}: {message}{got}" if key else f"{line}{message}"


def _origin(loc: tuple[str, ...], marks: Marks, said: Said) -> str | None:
    """Return the words of the command line that put the value there: for the key itself, one above
    it, or one below a section that the file does not have.
    """
    above = [said[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in said]
    below = (
        []
        if loc in marks or not loc
        else [origin for place, origin in said.items() if place[: len(loc)] == loc]
    )
    return next(iter([*above, *below]), None)


def _nearest(loc: tuple[str, ...], *, whole: bool = False) -> str:
    known = [path for path, *_ in walk_settings()]
    siblings = {
        path.split(".")[len(loc) - 1]
        for path in known
        if path.split(".")[: len(loc) - 1] == list(loc[:-1]) and len(path.split(".")) >= len(loc)
    }
    close = difflib.get_close_matches(loc[-1], sorted(siblings), n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{'.'.join((*loc[:-1], close[0])) if whole else close[0]}`?"
    elsewhere = [path for path in known if path.split(".")[-1] == loc[-1]]
    if elsewhere:
        return f"; did you mean `{elsewhere[0]}`?"
    return f"; known here: {', '.join(sorted(siblings))}"
