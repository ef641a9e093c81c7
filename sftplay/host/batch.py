"""`inv batch`: many datasets, many experiments, one command. Killed and started again, it goes on where it was.

Data first: each dataset through process, style, render and tokenize, where something changed. Then every experiment: train (or
resume, or watch one that runs), evaluate. Each through the same door as the single tasks, so both runners and the hand-over work.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sftplay import console
from sftplay.config import dump_config
from sftplay.errors import EXIT_MEANINGS, ProtocolError, SftplayError, UsageError
from sftplay.files import read_json, write_json, write_text
from sftplay.host import ask, batch_summary, folders
from sftplay.host.batch_file import BatchFile, Experiment, expand, read, write_template
from sftplay.host.batch_plan import DataStep, Step, data_steps, decide, read_known
from sftplay.host.clean import delete
from sftplay.host.estimate import show_duration
from sftplay.host.gpus import slots_for
from sftplay.host.hands import Hands, hands_for
from sftplay.locks import hold
from sftplay.places import OUTPUTS, data_folder
from sftplay.runs import Run

DEFAULT_FILE = "configs/batch.yaml"
MANY = 50  # experiments; more are asked about
STOPPED = (85, 129, 130, 143)  # codes by which a person, or a signal, ends the whole batch


@dataclass(frozen=True)
class Batch:
    """A batch that may start.

    Attributes:
        folder: outputs/batch-<file's stem>: configs, state, summary, report.
    """

    file: Path
    parsed: BatchFile
    experiments: tuple[Experiment, ...]

    @property
    def folder(self) -> Path:
        return folder_of(self.file)

    @property
    def splits(self) -> tuple[str, ...]:
        """What experiments are evaluated on."""
        return {"none": (), "all": ("val", "test")}.get(self.parsed.split, (self.parsed.split,))

    def config_of(self, name: str) -> Path:
        """The resolved config that an experiment is started with."""
        return self.folder / "configs" / f"{name}.yaml"


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended: code 0 where it is done."""

    name: str
    code: int
    said: str
    seconds: float = 0.0


def folder_of(file: Path) -> Path:
    """Where a batch keeps its own files."""
    return OUTPUTS / f"batch-{file.stem}"


def run(
    file: str | None = None,
    *,
    dry_run: bool = False,
    stop_on_error: bool = False,
    yes: bool = False,
    runner: str = "auto",
    device: str | None = None,
) -> int:
    """Run the batch, or go on with it.

    Args:
        dry_run: say what would run, and why; change nothing.
        stop_on_error: end at the first experiment that fails.
        yes: do not ask, however many experiments there are.
        device: auto, cuda or cpu, for every experiment.

    Returns:
        0 where everything is done; the code of the first failure otherwise, or of the stop.

    Raises:
        ConfigError: the file is wrong: every problem at once, nothing started (78). BusyError: it runs already (75).
    """
    path = Path(file or DEFAULT_FILE)
    if not path.exists():
        write_template(path)
        console.success(f"{path} is a template now: name your datasets and experiments in it")
        console.info(f"next: edit {path}, then: inv batch --dry-run{f' --file {path}' if file else ''}")
        return 0
    parsed = read(path)
    if parsed.size > MANY and not dry_run and not yes and not _agreed(parsed.size):
        console.info("nothing was started")
        return 0
    if device:
        parsed = _on_device(parsed, device)
    batch = Batch(path, parsed, tuple(expand(parsed, path)))
    if dry_run:
        _say_plan(batch)
        return 0
    folders.setup()
    with hold(batch.folder / ".lock", who="a batch", todo="wait for it, or stop it; inv status shows what trains"):
        return _run(batch, runner, stop_on_error=stop_on_error)


def _agreed(count: int) -> bool:
    if not ask.somebody_is_there():
        raise UsageError(
            f"this file makes {count:,} experiments: nothing was started, there is no terminal to ask on",
            todo="the same command with --yes starts them all; --dry-run lists them",
        )
    return ask.yes(f"This file makes {count:,} experiments. Start them all?", default=False)


def _on_device(parsed: BatchFile, device: str) -> BatchFile:
    groups = [group.model_copy(update={"set": {**group.set, "train.device": device}}) for group in parsed.experiments]
    return parsed.model_copy(update={"experiments": groups})


def _say_plan(batch: Batch) -> None:
    """What would happen now, line by line, on stdout."""
    for step in data_steps(batch.experiments, read_known(batch.folder / "batch.json")):
        doing = f"make: {step.reason}" if step.reason else "current: nothing to do"
        console.result(f"data {step.suffix}: {doing}")
    for one in batch.experiments:
        todo = decide(one, batch.splits)
        changes = ", ".join(f"{key} {value}" for key, value in one.changes.items())
        console.result(f"{one.name}: {todo.action} ({todo.reason}){f'  [{changes}]' if changes else ''}")
    console.info(f"{len(batch.experiments)} experiments; nothing was started")


def _run(batch: Batch, runner: str, *, stop_on_error: bool) -> int:
    began = time.monotonic()
    slots = slots_for([one.settings for one in batch.experiments])
    if len(slots.value) > 1:
        console.info(f"{len(slots.value)} experiments at a time ({slots.reason})")
    hands = hands_for(slots.value, runner, batch.folder / "logs")
    _write_state(batch, [])
    ready, stopped = _make_data(batch, hands)
    outcomes = list(ready.values())
    if not stopped and not (stop_on_error and outcomes):
        left = [one for one in batch.experiments if one.name not in ready]
        for outcome in _run_all(batch, left, hands, stop_on_error=stop_on_error):
            outcomes.append(outcome)
            _write_state(batch, outcomes)
            if outcome.code in STOPPED:
                stopped = outcome.code
    batch_summary.show(batch.folder, batch.parsed, batch.experiments, {one.name: one.said for one in outcomes})
    return _end(batch, outcomes, stopped, time.monotonic() - began)


def _make_data(batch: Batch, hands: Hands) -> tuple[dict[str, Outcome], int]:
    """Bring every dataset up to date.

    Returns:
        What became of experiments whose data could not be made; and the code of a stop, 0 without one.
    """
    record = batch.folder / "batch.json"
    known, failed = read_known(record), dict[str, Outcome]()
    for step in data_steps(batch.experiments, known):
        if not step.reason:
            continue
        users = [one for one in batch.experiments if one.settings.data.suffix == step.suffix]
        config = batch.config_of(f"data.{step.suffix}")
        _write_config(config, step)
        console.info(f"── data {step.suffix}: {step.reason}")
        code, stage = _data_stages(step, str(config), hands)
        if code in STOPPED:
            return failed, code
        if code:
            console.error(f"data {step.suffix}: {stage} gave {code} ({EXIT_MEANINGS.get(code, 'unknown')})")
            failed |= {one.name: Outcome(one.name, code, f"no data: {stage} gave {code}") for one in users}
        else:
            known[step.suffix] = step.key
            write_json(record, {"file": str(batch.file), "data": known, "experiments": []})
    return failed, 0


def _write_config(path: Path, step: DataStep) -> None:
    settings = step.settings.model_copy(update={"run": step.settings.run.model_copy(update={"name": "data"})})
    write_text(path, f"# python3 tasks.py full-pipeline --config {path}\n{dump_config(settings)}")


def _data_stages(step: DataStep, config: str, hands: Hands) -> tuple[int, str]:
    """process, style, render, tokenize; the first code that is not 0, and its stage."""
    styled = data_folder("processed_with_style", step.settings)
    if not step.settings.style.prompt and styled.is_dir():
        console.info(f"{styled} is removed: this dataset has no style any more")
        delete(styled)
    for stage in ("process", *(("style",) if step.settings.style.prompt else ()), "render", "tokenize"):
        code = hands.do(stage, config)
        if code:
            return code, stage
    return 0, ""


def _run_all(
    batch: Batch, experiments: Sequence[Experiment], hands: Hands, *, stop_on_error: bool
) -> Iterator[Outcome]:
    """Outcomes as they come; ends early where a person stops it, or at a failure with `stop_on_error`."""
    jobs = {one.name: (lambda where, one=one: _one(batch, one, where)) for one in experiments}
    for outcome in hands.share(jobs):
        yield outcome
        if outcome.code and (stop_on_error or outcome.code in STOPPED):
            hands.stop()


def _one(batch: Batch, experiment: Experiment, hands: Hands) -> Outcome:
    """One experiment to its end."""
    began = time.monotonic()
    step = decide(experiment, batch.splits)
    console.info(f"── {experiment.name}: {step.action} ({step.reason})")
    if step.action in ("skip", "refuse"):
        code = 76 if step.action == "refuse" else 0
        if code:
            console.error(f"{experiment.name}: {step.reason}")
            console.info(f"next: give it another name, or remove the run: inv runs.rm {experiment.name}")
        return Outcome(experiment.name, code, "refused: " + step.reason if code else "done before")
    code, stage = _stages(batch, experiment, step, hands)
    if code and code not in STOPPED:
        console.error(f"{experiment.name}: {stage} gave {code} ({EXIT_MEANINGS.get(code, 'unknown')})")
    said = "done" if not code else f"{stage} gave {code}"
    return Outcome(experiment.name, code, said, time.monotonic() - began)


def _stages(batch: Batch, experiment: Experiment, step: Step, hands: Hands) -> tuple[int, str]:
    config = batch.config_of(experiment.name)
    if step.action != "evaluate":
        write_text(config, f"# python3 tasks.py train --config {config}\n{dump_config(experiment.settings)}")
        code = hands.do("train", str(config), *(["--resume"] if step.action == "resume" else []))
        if not code and Run(experiment.name).tuned() is None:
            console.error(f"{experiment.name}: train ended with 0 and left no trained weights")
            code = ProtocolError.code
        if code:
            return code, "train"
    run = Run(experiment.name)
    for split in batch.splits:
        if not (run.eval(split) / "metrics.json").is_file() or step.action != "evaluate":
            code = hands.do("eval", str(config), f"--split={split}")
            if code:
                return code, "eval"
    return 0, ""


def _write_state(batch: Batch, outcomes: Sequence[Outcome]) -> None:
    record = batch.folder / "batch.json"
    values = {"file": str(batch.file), "data": read_known(record), "experiments": [asdict(one) for one in outcomes]}
    write_json(record, values)


def _end(batch: Batch, outcomes: Sequence[Outcome], stopped: int, seconds: float) -> int:
    failed = [one for one in outcomes if one.code and one.code not in STOPPED]
    for one in failed:
        console.error(f"{one.name}: {one.said}")
    done = len([one for one in outcomes if not one.code])
    again = shlex.join(["inv", "batch", *(["--file", str(batch.file)] if str(batch.file) != DEFAULT_FILE else [])])
    line = f"{done} of {len(batch.experiments)} experiments are done, {len(failed)} failed, in {show_duration(seconds)}"
    if stopped:
        console.warning(f"stopped: {line}")
        console.info(f"next: {again} goes on from there")
        return stopped
    if failed or done < len(batch.experiments):
        console.warning(line)
        console.info(f"next: mend what stands above; {again} does only what is left")
        return failed[0].code if failed else 1
    console.success(line)
    console.info(f"next: inv report --batch {batch.file}")
    return 0


def states(folder: Path) -> Mapping[str, str]:
    """What became of each experiment at the last start, by name."""
    try:
        return {str(one["name"]): str(one["said"]) for one in read_json(folder / "batch.json")["experiments"]}
    except (SftplayError, KeyError, TypeError):
        return {}
