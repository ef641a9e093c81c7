"""Models and datasets that a stage needs and the cache does not have, fetched before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sftplay import console
from sftplay.call import StageCall
from sftplay.cli import resolve as resolve_job
from sftplay.errors import NotFoundError
from sftplay.freshness import read_stamp
from sftplay.host.launch.execute import execute
from sftplay.host.launch.request import ResolvedLaunch, announce
from sftplay.host.local import active, environments
from sftplay.host.select import choose
from sftplay.lmeval import is_fetched, split_words
from sftplay.places import data_folder, find_model, is_local_model
from sftplay.rawdata import hub_datasets
from sftplay.settings import Settings
from sftplay.stages import BY_NAME


def fetch_missing(launch: ResolvedLaunch) -> int:
    """Run `fetch` for the model and the hub datasets that are missing.

    Returns its exit code, 0 where nothing was.
    """
    call = launch.call
    for options, name in missing(call, launch.settings):
        console.info(f"{name} is not in the cache: fetching it first")
        fetch = StageCall(BY_NAME["fetch"], call.config, call.run, call.overrides, options)
        code = _fetch(
            replace(launch, request=replace(launch.request, call=fetch), job=resolve_job(fetch))
        )
        if code:
            return code
    return 0


def _fetch(launch: ResolvedLaunch) -> int:
    """Use the stage's runner where it has an image for it, else an environment: the cache serves
    both.
    """
    stack = launch.stack(launch.images.present)
    wanted = launch.runner.value if launch.request.runner == "docker" else launch.request.runner
    runner = choose.choose_runner(wanted, stack.value, launch.images, active.named())
    if runner.value == "local":
        stack = launch.stack(environments.present())
    announce(launch.call, runner, stack)
    return execute(launch, runner.value, stack.value)


def missing(call: StageCall, settings: Settings) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield (options of `fetch`, the name) for what the stage needs and the cache does not have.

    Raises:
        SftplayError: a task file of lm-eval that is refused (65, 66, 78).
    """
    stage = call.stage
    if stage.raw and not (stage.name == "train" and _was_processed(settings)):
        absent = [dataset.name for dataset in hub_datasets(settings.data) if not dataset.is_cached]
        if absent:
            yield {"only": "data"}, ", ".join(absent)
    if stage.model and not _has_model(settings):
        yield {"only": "model"}, settings.model.name
    trusted = bool(call.options.get("trust_tasks"))
    words = split_words(str(call.options["tasks"])) if call.options.get("tasks") else ()
    absent = [word for word in words if not is_fetched(word, trusted=trusted)]
    if absent and not stage.network:
        yield {"tasks": ",".join(absent), "trust_tasks": trusted}, f"data of {', '.join(absent)}"


def _was_processed(settings: Settings) -> bool:
    """Return whether rows were made of this data.raw before (or by hand): training then goes
    without the raw files.
    """
    folder = data_folder("processed", settings)
    stamp = read_stamp(folder)
    if stamp is None:
        return (folder / "train.jsonl").is_file()
    made_of = (stamp.section.get("data.raw"), stamp.section.get("data.mix"))
    return made_of == (settings.data.raw, settings.data.mix)


def _has_model(settings: Settings) -> bool:
    """Return whether no fetch is needed. A local folder is the stage's own to check."""
    if is_local_model(settings.model.name):
        return True
    try:
        find_model(settings)
    except NotFoundError:
        return False
    return True
