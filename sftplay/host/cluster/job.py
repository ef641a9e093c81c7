"""One training as a cluster gets it: resources, command and image, decided once for every kind."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from sftplay.config import load_config
from sftplay.errors import MachineError, NotFoundError, UsageError
from sftplay.host.images import published
from sftplay.host.system.checkout import PROJECT
from sftplay.runs import Run
from sftplay.settings import Settings

RESTARTS = 3  # of a training that stopped with a checkpoint; a loop of stops ends
STOPPED = 85
HANDED_OVER = 79
# Ends that another try would repeat: data, files, config, refusals, wrong numbers.
FINAL = (2, 65, 66, 70, 76, 77, 78, 79, 80, 81, 82)
PORT = 29400  # of the rendezvous, torch's own default
_DIGEST = re.compile(r"^[^@\s]+@sha256:[0-9a-f]{64}$")
_TIME = re.compile(r"^(\d+-)?\d{1,3}:\d{2}:\d{2}$")
_SIZE = re.compile(r"^[1-9]\d*G$")


class CommentedTemplate(Template):
    """A text with `%{name}` for values, so that a shell's `$` stays what it is; `%%` is one `%`."""

    delimiter = "%"


@dataclass(frozen=True)
class ClusterJob:
    """A training, and what it needs of a cluster.

    Attributes:
        config: the config file, from the project's folder; continues: the run has begun.
        gpus: for each node, 0 for a training on CPUs. cpus, memory: for each node; memory as `32G`.
        time: limit as `[days-]hours:minutes:seconds`.
        command: the `inv` line that made this, for the head of the file.
    """

    run: str
    config: str
    backend: str
    project: str
    command: str
    overrides: tuple[str, ...] = ()
    continues: bool = False
    nodes: int = 1
    gpus: int = 1
    cpus: int = 8
    memory: str = "32G"
    time: str = "24:00:00"

    @property
    def name(self) -> str:
        """Return the run's name as a label of DNS, with room for a number behind it."""
        label = re.sub(r"[^a-z0-9]+", "-", f"sftplay-{self.run}".lower()).strip("-")
        return label[:52].rstrip("-")

    def arguments(self, backend: str = "") -> list[str]:
        """Return the words after `train`; `backend` replaces the config's."""
        words = ["--config", self.config, "--run", self.run]
        for override in (*self.overrides, *([f"backend={backend}"] if backend else [])):
            words += ["--set", override]
        return words

    def line(self, *head: str, backend: str = "") -> str:
        """Return a shell's line: `head`, then the words of the training."""
        return shlex.join([*head, "train", *self.arguments(backend)])


def describe_job(
    target: str,
    *,
    command: str,
    overrides: Sequence[str] = (),
    run: str | None = None,
    **resources: int | str | None,
) -> ClusterJob:
    """Read a run or a config file, and say what its training needs.

    Args:
        target: a run's name, or a config file.
        resources: nodes, gpus, cpus, memory, time; None for the default.

    Raises:
        NotFoundError: neither a run nor a file of this name (66). UsageError: a resource is no
            number or no time (2). ConfigError: the config is wrong (78).
    """
    config = _config_of(target)
    settings = load_config(Path(config), [*overrides, *([f"run.name={run}"] if run else [])])
    given = {key: value for key, value in resources.items() if value is not None}
    _check(given)
    given.setdefault("gpus", _gpus(settings))
    name = str(settings.run.name)
    return ClusterJob(
        name, config, settings.backend, str(PROJECT), command, tuple(overrides),
        continues=Run(name).has_begun(), **given,  # type: ignore[arg-type]
    )  # fmt: skip


def image_of(stack: str, given: str | None = None) -> str:
    """Return a stack's image by digest: the given one, else the published one.

    Raises:
        UsageError: the given one has no digest (2). MachineError: none is published (69).
    """
    if given is not None:
        if not _DIGEST.match(given):
            raise UsageError(
                f"{given} names no image by digest: a tag can move between two nodes",
                todo="for example: --image registry.example/sftplay/bnb@sha256:…",
            )
        return given
    images: Mapping[str, published.PublishedImage] = published.read()
    if stack not in images:
        raise MachineError(
            f"the {stack} image is not published yet, so no other machine can pull it",
            where=str(published.PATH),
            todo=f"publish it: inv image.push {stack}; or name one: --image repository@sha256:…",
        )
    return images[stack].reference


def stack_of(job: ClusterJob) -> str:
    """Return the stack that the training starts in."""
    return job.backend if job.gpus else "cpu"


def _config_of(target: str) -> str:
    path = Path(target)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise NotFoundError("no such config file", where=target, todo="ls configs")
        absolute = path.absolute()
        inside = absolute.is_relative_to(PROJECT)
        return str(absolute.relative_to(PROJECT) if inside else absolute)
    if not Run(target).config.is_file():
        raise NotFoundError(
            f"{target} is neither a run nor a config file",
            todo="name one: inv runs lists the runs, configs/ holds the config files",
        )
    return str(Run(target).config)


def _gpus(settings: Settings) -> int:
    if settings.train.device == "cpu":
        return 0
    processes = getattr(settings.train, "processes", "auto")
    return processes if isinstance(processes, int) else 1


def _check(given: Mapping[str, int | str]) -> None:
    for key, least in (("nodes", 1), ("cpus", 1), ("gpus", 0)):
        if key in given and int(given[key]) < least:
            raise UsageError(f"--{key} is {given[key]}; at least {least} is needed")
    if "time" in given and not _TIME.match(str(given["time"])):
        raise UsageError(f"--time {given['time']} is no time", todo="for example: --time 24:00:00")
    if "memory" in given and not _SIZE.match(str(given["memory"])):
        raise UsageError(f"--memory {given['memory']} is no size", todo="for example: --memory 64G")
