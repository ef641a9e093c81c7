"""`eval --tasks`: tasks of lm-eval on the base model and on the tuned one."""

from __future__ import annotations

import importlib.metadata
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from sftplay import __version__, console
from sftplay.data.progress import clock
from sftplay.data.styling.prompt import StylePrompt
from sftplay.errors import DataError, OutOfMemoryError
from sftplay.files import hash_file
from sftplay.locks import hold
from sftplay.model.lmeval import library, load, report, results
from sftplay.model.lmeval import public as public_names
from sftplay.model.lmeval.faults import reason
from sftplay.model.lmeval.options import TaskRun
from sftplay.model.lmeval.usable import require_length
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.task_file import TaskFile
from sftplay.temporary import sweep, temporary_folder

if TYPE_CHECKING:
    from sftplay.model.weights.load import Loaded
    from sftplay.model.weights.trained_run import RunFacts

# lm-eval's own defaults: the same examples in the prompts as its command line takes.
SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}
# What lm-eval raises where a row lacks a field, or an answer can't be scored.
_OF_ROWS = (
    TemplateError,
    ArithmeticError,
    AssertionError,
    LookupError,
    SyntaxError,
    TypeError,
    ValueError,
)
_VERSIONS = ("lm-eval", "torch", "transformers", "peft", "datasets")


def run(job: Job, target: Run) -> None:
    """Evaluate both models on each task, and write outputs/<run>/eval/task-<name>/.

    Raises:
        UsageError (2), NotFoundError (66), MachineError (69), ConfigError (78): options, tasks,
            environment. DataError: rows that can't be scored (65). OutOfMemoryError (81).
    """
    from sftplay.model.merging.card import refresh_cards
    from sftplay.model.weights.trained_run import open_run

    asked = TaskRun.of(job)
    files = load.read_files(asked.words, trusted=asked.trusted)
    datasets = load.dataset_folders(asked.words, files)
    began = time.monotonic()
    folder = target.folder / "eval"
    with hold(folder / ".lock", who="an evaluation", todo="wait for it to end"):
        sweep(folder)
        with (
            temporary_folder(folder / "lm-eval") as scratch,
            library.prepared(datasets, scratch),
        ):
            loaded = load.load(asked.words, files, asked.limit)
            _announce(target, loaded, asked)
            measured = list(_measure(job, target, asked, files, datasets, loaded))
        for record, samples in measured:  # lm-eval's prints are over, ours are heard again
            report.write(target, record, samples)
        refresh_cards(open_run(target), job.settings)
    seconds = round(time.monotonic() - began, 1)
    target.record_event("evaluated", tasks=list(asked.words), seconds=seconds)
    console.info(f"evaluated in {clock(seconds)}")


def _announce(target: Run, loaded: Any, asked: TaskRun) -> None:
    counts = {name: len(task.eval_docs) for name, task in loaded["tasks"].items()}
    taken = sum(min(count, asked.limit or count) for count in counts.values())
    of = f" of {sum(counts.values()):,}" if taken < sum(counts.values()) else ""
    names = ", ".join(list(counts)[:6]) + (" …" if len(counts) > 6 else "")
    console.info(
        f"evaluating run {target.name} on {console.count_of(len(counts), 'task')} of lm-eval ({names}), "
        f"{taken:,}{of} rows: the base model, then the tuned one"
    )
    console.info(
        "prompts in the run's chat template"
        if asked.chat
        else "prompts without a chat template, as public figures have them (--chat-template: with it)"
    )


def _measure(
    job: Job,
    target: Run,
    asked: TaskRun,
    files: Mapping[str, TaskFile],
    datasets: Mapping[str, Path],
    loaded: Any,
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield the record and the rows of each task, then those of each group."""
    from sftplay.model.runtime.quiet import quiet_libraries
    from sftplay.model.weights.fuse import fused
    from sftplay.model.weights.load import load_for_inference
    from sftplay.model.weights.same_base import require_same_base
    from sftplay.model.weights.trained_run import open_run

    quiet_libraries()
    facts = open_run(target)
    require_same_base(job.settings, facts)
    models = load_for_inference(job.settings, facts, need_base=True)
    console.info(f"device {models.device}; precision {models.precision}")
    system = _system_of(facts) if asked.chat else None
    with models.base() as model:
        base = _answer(job, models, model, "base", loaded, asked, system)
    tuned = _answer(job, models, fused(models.model), "tuned", loaded, asked, system)
    common = _common(job, target, asked, facts, models, system)
    sources = {file.name: _source(file) for file in files.values()}
    public = {name: public_names.has_public_name(name) for name in sources}
    data = [{"dataset": name, "revision": place.name} for name, place in sorted(datasets.items())]
    for name in [*loaded["tasks"], *(n for n in loaded["groups"] if n in base["results"])]:
        task = loaded["tasks"].get(name)
        record = {
            **common,
            **report.record_of_task(name, base, tuned, task),
            "files": sources.get(name.partition("::")[0], {}),
            "public_name": public.get(name, False),
            "datasets": data,
        }
        yield record, results.samples_of(name, base, tuned) if task is not None else []


def _answer(
    job: Job,
    models: Loaded,
    model: Any,
    title: str,
    loaded: Any,
    asked: TaskRun,
    system: str | None,
) -> Any:
    """Return lm-eval's results of one model."""
    import numpy as np
    import torch
    from lm_eval.evaluator import evaluate

    from sftplay.model.lmeval.counting import language_model

    random.seed(SEEDS["random"])
    np.random.seed(SEEDS["numpy"])
    torch.manual_seed(SEEDS["torch"])
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEEDS["fewshot"])
    asking = language_model(model, models.tokenizer, job.settings.eval.batch_size, title)
    for task in loaded["tasks"].values():
        require_length(task, asking.max_length)
    try:
        return evaluate(
            lm=asking,
            task_dict=loaded,
            limit=asked.limit,
            bootstrap_iters=results.BOOTSTRAP,
            log_samples=True,
            system_instruction=system,
            apply_chat_template=asked.chat,
            fewshot_as_multiturn=asked.chat,
            confirm_run_unsafe_code=asked.trusted,
        )
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError("out of GPU memory", todo="try --set eval.batch_size=1") from error
    except _OF_ROWS as error:
        raise DataError(
            f"lm-eval failed on a row or its score: {reason(error)}",
            where=", ".join(asked.words),
            todo="check that every row has the fields that the task uses; --limit finds the row",
        ) from error


def _system_of(facts: RunFacts) -> str | None:
    """Return the style prompt that the run was trained with."""
    recorded = facts.record.get("style")
    return StylePrompt(recorded["prompt"], recorded["mode"]).system("") if recorded else None


def _common(
    job: Job, target: Run, asked: TaskRun, facts: RunFacts, models: Loaded, system: str | None
) -> dict[str, Any]:
    """Return what the records of all tasks say alike."""
    from sftplay.fingerprint import fingerprint

    return {
        "schema": 1,
        "run": target.name,
        "settings": {
            "limit": asked.limit,
            "chat_template": asked.chat,
            "system": system,
            "batch_size": job.settings.eval.batch_size,
            "bootstrap": results.BOOTSTRAP,
            "seeds": SEEDS,
            "trusted": asked.trusted,
        },
        "model": {
            **{key: facts.stamp.get(key) for key in ("base_model", "revision", "quantization")},
            "method": facts.method,
            "quantized": models.quantized,
            "weights": fingerprint(facts.tuned),
        },
        "device": models.device.value,
        "precision": models.precision.value,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS}
        | {"sftplay": __version__},
    }


def _source(file: TaskFile) -> dict[str, Any]:
    """Return a task file and its data, each with its hash."""
    return {
        "yaml": _hashes(file.sources),
        "data": _hashes(path for path in file.files if path.is_file()),
    }


def _hashes(paths: Any) -> dict[str, str]:
    return {str(path): hash_file(path) for path in paths}
