"""Values that an earlier data command was given (`--set data.fields=…`, `style --style …`), when
`train` brings its stage up to date.

One rule: a key that this command's config file or `--set` names wins. A value that an earlier data
command was given, and this command does not name, is kept and printed, each time. What `train`
itself is given is for that one command: the stages that it runs don't stamp it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sftplay.config import load_config
from sftplay.freshness import DataStamp
from sftplay.stages import BY_NAME, Job, Option
from sftplay.yamlfile import read_yaml


@dataclass(frozen=True)
class KeptValue:
    """One value that an earlier data command was given.

    Attributes:
        given: as it was typed: `--set data.turns=last`, `--style 'Be brief.'`.
        undo: the command after which it is not kept any more.
    """

    stage: str
    given: str
    undo: str

    def __str__(self) -> str:
        return (
            f"{self.given} is kept from an earlier `inv {self.stage}`, since this command and its "
            f"config don't name it; to undo it: {self.undo}"
        )


def named_keys(job: Job) -> set[str]:
    """The keys that a job's config file and its `--set` values name."""
    _, marks = read_yaml(job.config_file)
    leaves = {
        ".".join(place)
        for place in marks
        if (len(place) > 1 or place == ("backend",))
        and not any(other[: len(place)] == place and other != place for other in marks)
    }
    named = leaves | {_key(override) for override in job.overrides}
    if f"style.prompts.{job.settings.data.suffix}" in named:
        named.add("style.prompt")  # it stands for it, for this dataset
    for one, other in (("data.raw", "data.mix"), ("data.mix", "data.raw")):
        if any(_overlap(name, one) for name in named):
            named.add(other)  # each stands in the place of the other
            break
    return named


def refreshed(job: Job, stage: str, stamp: DataStamp | None) -> Job:
    """The job that brings `stage` up to date: today's config and `--set` values, with what is kept
    of an earlier command of that stage.

    Args:
        job: of any stage. Options are taken from it only where `stage` has one of that name.
    """
    options = {option.key: option.default for option in BY_NAME[stage].options if not option.once}
    overrides: tuple[str, ...] = ()
    if stamp is not None and (stamp.overrides or any(stamp.options.values())):
        named = named_keys(job)
        options.update(_kept_options(stage, stamp, named))
        overrides = _kept_overrides(stamp, named)
    options.update(
        {key: job.options[key] for key in options if job.options.get(key) not in (None, False)}
    )
    given = (stamp.overrides, stamp.options) if stamp else ((), {})
    job = replace(job, options=options, given=given)
    return with_overrides(job, (*overrides, *job.overrides)) if overrides else job


def with_overrides(job: Job, overrides: tuple[str, ...]) -> Job:
    """The job with other `--set` values, and the settings that follow from them."""
    return replace(job, overrides=overrides, settings=load_config(job.config_file, overrides))


def kept_values(job: Job, stage: str, stamp: DataStamp | None) -> list[KeptValue]:
    """List the values of an earlier command that `refreshed` keeps, to be printed."""
    if stamp is None or not (stamp.overrides or any(stamp.options.values())):
        return []
    named = named_keys(job)
    again = f"inv {stage} --config {shlex.quote(str(job.config_file))}"
    if any(_key(override) == "data.suffix" for override in job.overrides):
        again += f" --set data.suffix={job.settings.data.suffix}"
    found = [
        KeptValue(stage, f"--set {shlex.quote(override)}", again)
        for override in _kept_overrides(stamp, named)
    ]
    options = _kept_options(stage, stamp, named)
    for option in BY_NAME[stage].options:
        value = options.get(option.key)
        if value in (None, False, option.default) or job.options.get(option.key):
            continue
        undo = again
        if option.setting == "style.prompt":  # `style` needs a prompt
            undo = again.replace("inv style", "inv render --no-style", 1)
        found.append(KeptValue(stage, _typed(option, value), undo))
    return found


def given_values(job: Job, section: Iterable[str], options: Iterable[str] = ()) -> dict[str, Any]:
    """Overrides and options for a stage's stamp: its own if it was typed, else what was stamped
    before.
    """
    if job.given is not None:
        return {"overrides": job.given[0], "options": dict(job.given[1])}
    return {
        "overrides": relevant(job.overrides, section),
        "options": {key: job.options.get(key) for key in options},
    }


def words_for(job: Job, stage: str, section: Iterable[str]) -> str:
    """The words after `python -m sftplay STAGE` that make what `job` would make."""
    sets = [f"--set {shlex.quote(override)}" for override in relevant(job.overrides, section)]
    options = [
        _typed(option, job.options[option.key])
        for option in BY_NAME[stage].options
        if job.options.get(option.key) not in (None, False, option.default)
    ]
    return " ".join([f"--config {shlex.quote(str(job.config_file))}", *sets, *options])


def relevant(overrides: Iterable[str], section: Iterable[str]) -> tuple[str, ...]:
    """The `--set` values that touch one of the section's keys, the last one for each: only these
    are stamped.
    """
    keys = tuple(section)
    kept: dict[str, str] = {}
    for override in overrides:
        name = _key(override)
        if any(_overlap(key, name) for key in keys):
            kept.pop(name, None)  # the last one stands where it was given
            kept[name] = override
    return tuple(kept.values())


def _kept_overrides(stamp: DataStamp, named: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        override
        for override in stamp.overrides
        if not any(_overlap(_key(override), name) for name in named)
    )


def _kept_options(stage: str, stamp: DataStamp, named: set[str]) -> dict[str, Any]:
    return {
        option.key: stamp.options[option.key]
        for option in BY_NAME[stage].options
        if not option.once and option.key in stamp.options and option.setting not in named
    }


def _typed(option: Option, value: Any) -> str:
    return option.name if option.kind == "flag" else f"{option.name} {shlex.quote(str(value))}"


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _overlap(key: str, name: str) -> bool:
    """True if one of two key paths contains the other."""
    return key == name or key.startswith(f"{name}.") or name.startswith(f"{key}.")
