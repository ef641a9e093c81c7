"""`inv batch`: many datasets, many experiments, one command. Killed and started again, it continues
where it was.

Data first: each dataset through process, style, render and tokenize, where something changed. Then
every experiment: train (or
resume, or watch one that runs), evaluate. Each through the same door as the single tasks, so both
runners and the hand-over work.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sftplay import console
from sftplay.errors import NotFoundError, UsageError
from sftplay.host.batch import summary
from sftplay.host.batch.engines import ClusterEngine, check_engine, run_on_cluster
from sftplay.host.batch.expand import Experiment, expand
from sftplay.host.batch.file import BatchFile, read, write_template
from sftplay.host.batch.plan import data_steps, decide, read_known
from sftplay.host.batch.ray import RayEngine
from sftplay.host.batch.slots import choose_slots
from sftplay.host.batch.slurm import SlurmEngine
from sftplay.host.batch.work import (
    STOPPED,
    BatchRun,
    ExperimentOutcome,
    prepare_data,
    run_experiments,
    run_one,
    write_state,
)
from sftplay.host.batch.workers import SequentialWorkers, Workers, make_workers
from sftplay.host.containers import folders
from sftplay.host.protocol.signals import handle_signals
from sftplay.host.ui import prompt
from sftplay.host.ui.format import show_duration
from sftplay.locks import hold

DEFAULT_FILE = "configs/batch.yaml"
MANY = 50  # experiments; more are asked about


def run(
    file: str | None = None,
    *,
    dry_run: bool = False,
    stop_on_error: bool = False,
    yes: bool = False,
    runner: str = "auto",
    device: str | None = None,
    only: str | None = None,
    engine: str = "local",
    submit: str = "",
    address: str | None = None,
) -> int:
    """Run the batch, or continue it.

    Args:
        dry_run: say what would run, and why; change nothing.
        stop_on_error: end at the first experiment that fails.
        yes: do not ask, however many experiments there are.
        device: auto, cuda or cpu, for every experiment.
        only: this experiment and no other, its data as it is.
        engine: local, slurm or ray; submit: more words for sbatch; address: of Ray's head.

    Returns:
        0 where everything is done; the code of the first failure otherwise, or of the stop.

    Raises:
        ConfigError: the file is wrong: every problem at once, nothing started (78). BusyError: it
            runs already (75).
    """
    check_engine(engine, address)
    path = Path(file or DEFAULT_FILE)
    if not path.exists():
        write_template(path)
        console.success(f"{path} is a template now: name your datasets and experiments in it")
        console.info(
            f"next: edit {path}, then: inv batch --dry-run{f' --file {path}' if file else ''}"
        )
        return 0
    parsed = read(path)
    many = parsed.size > MANY and not only
    if many and not dry_run and not yes and not _agreed(parsed.size):
        console.info("nothing was started")
        return 0
    if device:
        parsed = _on_device(parsed, device)
    batch = BatchRun(path, parsed, tuple(expand(parsed, path)))
    if dry_run:
        _print_plan(batch)
        return 0
    folders.setup()
    if only:
        return _run_only(batch, only, runner)
    with hold(
        batch.folder / ".lock",
        who="a batch",
        todo="wait for it, or stop it; inv status shows what trains",
    ):
        cluster = _cluster(batch, engine, runner, device, submit, address)
        return _run(batch, runner, cluster, stop_on_error=stop_on_error)


def _run_only(batch: BatchRun, name: str, runner: str) -> int:
    """Run one experiment, as a job of a cluster does: beside others, so nothing of the batch is
    locked or written.
    """
    found = [one for one in batch.experiments if one.name == name]
    if not found:
        raise NotFoundError(
            f"the batch has no experiment {name}",
            where=str(batch.file),
            todo="--dry-run lists its experiments",
        )
    return run_one(batch, found[0], SequentialWorkers(runner)).code


def _cluster(
    batch: BatchRun, engine: str, runner: str, device: str | None, submit: str, address: str | None
) -> ClusterEngine | None:
    """Return the engine of a cluster; None for this machine."""
    if engine == "local":
        return None
    argv = ["batch", "--file", str(batch.file), "--runner", runner]
    argv += ["--device", device] if device else []
    if engine == "ray":
        return RayEngine(address or "", batch.folder, argv, batch.experiments, runner)
    on_cpu = all(one.settings.train.device == "cpu" for one in batch.experiments)
    return SlurmEngine(batch.folder, argv, gpus=0 if on_cpu else 1, options=shlex.split(submit))


def _agreed(count: int) -> bool:
    if not prompt.can_ask():
        raise UsageError(
            f"this file makes {count:,} experiments: nothing was started, there is no terminal to ask on",
            todo="the same command with --yes starts them all; --dry-run lists them",
        )
    return prompt.ask_yes_no(
        f"This file makes {count:,} experiments. Start them all?", default=False
    )


def _on_device(parsed: BatchFile, device: str) -> BatchFile:
    groups = [
        group.model_copy(update={"set": {**group.set, "train.device": device}})
        for group in parsed.experiments
    ]
    return parsed.model_copy(update={"experiments": groups})


def _print_plan(batch: BatchRun) -> None:
    """Print what would happen now, line by line, on stdout."""
    for step in data_steps(batch.experiments, read_known(batch.folder / "batch.json")):
        doing = f"make: {step.reason}" if step.reason else "current: nothing to do"
        console.result(f"data {step.suffix}: {doing}")
    for one in batch.experiments:
        todo = decide(one, batch.splits)
        changes = ", ".join(f"{key} {value}" for key, value in one.changes.items())
        console.result(
            f"{one.name}: {todo.action} ({todo.reason}){f'  [{changes}]' if changes else ''}"
        )
    console.info(f"{len(batch.experiments)} experiments; nothing was started")


def _run(
    batch: BatchRun, runner: str, cluster: ClusterEngine | None, *, stop_on_error: bool
) -> int:
    began = time.monotonic()
    workers = _workers(batch, runner) if cluster is None else SequentialWorkers(runner)
    write_state(batch, [])
    ready, stopped = prepare_data(batch, workers)
    outcomes = list(ready.values())
    if not stopped and not (stop_on_error and outcomes):
        left = [one for one in batch.experiments if one.name not in ready]
        stops: list[int] = []
        for outcome in _outcomes(batch, left, workers, cluster, stops, stop_on_error=stop_on_error):
            outcomes.append(outcome)
            write_state(batch, outcomes)
            if outcome.code in STOPPED and cluster is None:
                stopped = outcome.code
        stopped = stopped or (128 + stops[0] if stops else 0)
    summary.show(
        batch.folder, batch.parsed, batch.experiments, {one.name: one.said for one in outcomes}
    )
    engine = () if cluster is None else cluster.words()
    return _end(batch, outcomes, stopped, time.monotonic() - began, engine)


def _workers(batch: BatchRun, runner: str) -> Workers:
    slots = choose_slots([one.settings for one in batch.experiments])
    if len(slots.value) > 1:
        console.info(f"{len(slots.value)} experiments at a time ({slots.reason})")
    return make_workers(slots.value, runner, batch.folder / "logs")


def _outcomes(
    batch: BatchRun,
    experiments: Sequence[Experiment],
    workers: Workers,
    cluster: ClusterEngine | None,
    stops: list[int],
    *,
    stop_on_error: bool,
) -> Iterator[ExperimentOutcome]:
    """Outcomes of this machine's workers, or of a cluster; its driver's signals go into `stops`."""
    if cluster is None:
        yield from run_experiments(batch, experiments, workers, stop_on_error=stop_on_error)
        return
    with handle_signals(stops.append, signal.SIGINT, signal.SIGTERM):
        yield from run_on_cluster(batch, experiments, cluster, stops, stop_on_error=stop_on_error)


def _end(
    batch: BatchRun,
    outcomes: Sequence[ExperimentOutcome],
    stopped: int,
    seconds: float,
    engine: Sequence[str],
) -> int:
    ended = [one for one in outcomes if one.code]
    failed = [one for one in ended if one.code not in STOPPED]
    for one in failed:
        console.error(f"{one.name}: {one.said}")
    done = len([one for one in outcomes if not one.code])
    file = ["--file", str(batch.file)] if str(batch.file) != DEFAULT_FILE else []
    again = shlex.join(["inv", "batch", *file, *engine])
    line = f"{done} of {len(batch.experiments)} experiments are done, {len(failed)} failed, in {show_duration(seconds)}"
    if stopped:
        console.warning(f"stopped: {line}")
        console.info(f"next: {again} continues from there")
        return stopped
    if failed or done < len(batch.experiments):
        console.warning(line)
        advice = "fix the problems above; " if failed else ""
        console.info(f"next: {advice}{again} does only what is left")
        return (failed or ended)[0].code
    console.success(line)
    console.info(f"next: inv report --batch {batch.file}")
    return 0
