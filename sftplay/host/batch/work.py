"""A batch at work: data folders brought up to date, experiments trained and evaluated, and what
became of each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sftplay import console
from sftplay.call import StageCall
from sftplay.config import dump_config
from sftplay.errors import EXIT_MEANINGS, ProtocolError, SftplayError
from sftplay.files import write_json, write_text
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.file import BatchFile
from sftplay.host.batch.plan import DataStep, ExperimentStep, data_steps, decide, read_known
from sftplay.host.batch.workers import Workers
from sftplay.host.runs.clean import delete
from sftplay.places import OUTPUTS, data_folder
from sftplay.runs import Run
from sftplay.stages import BY_NAME
from sftplay.untrusted import read_json

STOPPED = (85, 129, 130, 143)  # codes by which a person, or a signal, ends the whole batch


@dataclass(frozen=True)
class BatchRun:
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
        """Return the splits that experiments are evaluated on."""
        return {"none": (), "all": ("val", "test")}.get(self.parsed.split, (self.parsed.split,))

    def config_of(self, name: str) -> Path:
        """The resolved config that an experiment is started with."""
        return self.folder / "configs" / f"{name}.yaml"


@dataclass(frozen=True)
class ExperimentOutcome:
    """The end of an experiment: code 0 if it is done."""

    name: str
    code: int
    said: str
    seconds: float = 0.0


def folder_of(file: Path) -> Path:
    """Return the folder of a batch's own files."""
    return OUTPUTS / f"batch-{file.stem}"


def prepare_data(batch: BatchRun, workers: Workers) -> tuple[dict[str, ExperimentOutcome], int]:
    """Bring every dataset up to date.

    Returns:
        What became of experiments whose data could not be made; and the code of a stop, 0 without
        one.
    """
    record = batch.folder / "batch.json"
    known, failed = read_known(record), dict[str, ExperimentOutcome]()
    for step in data_steps(batch.experiments, known):
        if not step.reason:
            continue
        users = [one for one in batch.experiments if one.settings.data.suffix == step.suffix]
        config = batch.config_of(f"data.{step.suffix}")
        _write_config(config, step)
        console.info(f"── data {step.suffix}: {step.reason}")
        code, stage = _data_stages(step, str(config), workers)
        if code in STOPPED:
            return failed, code
        if code:
            console.error(
                f"data {step.suffix}: {stage} ended with {code} ({EXIT_MEANINGS.get(code, 'unknown')})"
            )
            failed |= {
                one.name: ExperimentOutcome(one.name, code, f"no data: {stage} ended with {code}")
                for one in users
            }
        else:
            known[step.suffix] = step.key
            write_json(record, {"file": str(batch.file), "data": known, "experiments": []})
    return failed, 0


def _write_config(path: Path, step: DataStep) -> None:
    settings = step.settings.model_copy(
        update={"run": step.settings.run.model_copy(update={"name": "data"})}
    )
    write_text(path, f"# python3 tasks.py full-pipeline --config {path}\n{dump_config(settings)}")


def _data_stages(step: DataStep, config: str, workers: Workers) -> tuple[int, str]:
    """process, style, render, tokenize; the first code that is not 0, and its stage."""
    styled = data_folder("processed_with_style", step.settings)
    if not step.settings.style.prompt and styled.is_dir():
        console.info(f"{styled} is removed: this dataset has no style any more")
        delete(styled)
    for stage in (
        "process",
        *(("style",) if step.settings.style.prompt else ()),
        "render",
        "tokenize",
    ):
        code = workers.run_stage(StageCall(BY_NAME[stage], config))
        if code:
            return code, stage
    return 0, ""


def run_experiments(
    batch: BatchRun, experiments: Sequence[Experiment], workers: Workers, *, stop_on_error: bool
) -> Iterator[ExperimentOutcome]:
    """Outcomes as they come; ends early where a person stops it, or at a failure with
    `stop_on_error`.
    """
    jobs = {one.name: (lambda where, one=one: run_one(batch, one, where)) for one in experiments}
    for outcome in workers.run_jobs(jobs):
        yield outcome
        if outcome.code and (stop_on_error or outcome.code in STOPPED):
            workers.stop()


def run_one(batch: BatchRun, experiment: Experiment, workers: Workers) -> ExperimentOutcome:
    """Run one experiment to its end: train or resume, evaluate."""
    began = time.monotonic()
    step = decide(experiment, batch.splits)
    console.info(f"── {experiment.name}: {step.action} ({step.reason})")
    if step.action in ("skip", "refuse"):
        code = 76 if step.action == "refuse" else 0
        if code:
            console.error(f"{experiment.name}: {step.reason}")
            console.info(
                f"next: use another name, or remove the run: inv runs.rm {experiment.name}"
            )
        return ExperimentOutcome(
            experiment.name, code, "refused: " + step.reason if code else "done before"
        )
    code, stage = _stages(batch, experiment, step, workers)
    if code and code not in STOPPED:
        console.error(
            f"{experiment.name}: {stage} ended with {code} ({EXIT_MEANINGS.get(code, 'unknown')})"
        )
    said = "done" if not code else f"{stage} ended with {code}"
    return ExperimentOutcome(experiment.name, code, said, time.monotonic() - began)


def _stages(
    batch: BatchRun, experiment: Experiment, step: ExperimentStep, workers: Workers
) -> tuple[int, str]:
    config = batch.config_of(experiment.name)
    if step.action != "evaluate":
        write_text(
            config,
            f"# python3 tasks.py train --config {config}\n{dump_config(experiment.settings)}",
        )
        code = workers.run_stage(
            StageCall(BY_NAME["train"], str(config), options={"resume": step.action == "resume"})
        )
        if not code and Run(experiment.name).tuned() is None:
            console.error(f"{experiment.name}: train ended with 0 and left no trained weights")
            code = ProtocolError.code
        if code:
            return code, "train"
    run = Run(experiment.name)
    for split in batch.splits:
        if not (run.eval(split) / "metrics.json").is_file() or step.action != "evaluate":
            code = workers.run_stage(
                StageCall(BY_NAME["eval"], str(config), options={"split": split})
            )
            if code:
                return code, "eval"
    return 0, ""


def write_state(batch: BatchRun, outcomes: Sequence[ExperimentOutcome]) -> None:
    """batch.json: what the data folders were made from, and what became of each experiment."""
    record = batch.folder / "batch.json"
    values = {
        "file": str(batch.file),
        "data": read_known(record),
        "experiments": [asdict(one) for one in outcomes],
    }
    write_json(record, values)


def states(folder: Path) -> Mapping[str, str]:
    """Return each experiment's outcome at the last start, by name."""
    try:
        return {
            str(one["name"]): str(one["said"])
            for one in read_json(folder / "batch.json")["experiments"]
        }
    except (SftplayError, KeyError, TypeError):
        return {}
