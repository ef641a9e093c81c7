"""Stage `eval`: loss, perplexity and text metrics on held-out rows, the base model against the
tuned one.
"""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sftplay import __version__, console
from sftplay.data.progress import progress
from sftplay.errors import NonFiniteError, OutOfMemoryError, UsageError
from sftplay.files import hash_json
from sftplay.freshness import warn_if_behind
from sftplay.locks import hold
from sftplay.manifest import sealed_folder
from sftplay.model.answers.last_answer import HeldOut
from sftplay.model.evaluation.held_out import (
    SPLIT_FILES,
    changes_since,
    read_rows,
    user_words,
)
from sftplay.model.evaluation.measurement import Measurement
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.temporary import sweep

if TYPE_CHECKING:
    from sftplay.model.answers.generate import Answer
    from sftplay.model.weights.load import Loaded
    from sftplay.model.weights.trained_run import RunFacts

STAMPED_VERSIONS = ("torch", "transformers", "peft", "rouge-score", "sacrebleu")


def run(job: Job) -> None:
    """Evaluate base and tuned model on one split, and write outputs/<run>/eval/<split>/.

    Raises:
        NotFoundError: no trained run, or no rows (66). DataError: the split is empty (65).
        NonFiniteError: a loss is not finite (80). OutOfMemoryError (81).
    """
    target, split = Run(job.run_name), str(job.options.get("split") or "val")
    samples = job.options.get("samples")
    if samples is not None and samples < 1:
        raise UsageError(f"--samples requires a number of rows, 1 or more, not {samples}")
    target.require_tuned()  # before anything slow
    if job.options.get("tasks") is not None:
        from sftplay.model.lmeval.run import run as run_tasks

        run_tasks(job, target)
        return
    _refuse_task_options(job)
    if job.options.get("write_task"):
        from sftplay.model.lmeval.own_task import write_task

        write_task(target, job.settings, split, samples)
        return
    if job.options.get("portable"):
        from sftplay.model.evaluation.portable import check

        check(target, job.settings)
        return
    rows, counts = read_rows(job.settings, split, samples or job.settings.eval.samples)
    from sftplay.model.answers.whole import can_decode
    from sftplay.model.merging.card import refresh_cards
    from sftplay.model.runtime.quiet import quiet_libraries
    from sftplay.model.weights.fuse import fused
    from sftplay.model.weights.load import load_for_inference
    from sftplay.model.weights.same_base import require_same_base
    from sftplay.model.weights.trained_run import open_run

    quiet_libraries()
    began = time.monotonic()
    facts = open_run(target)
    require_same_base(job.settings, facts)
    warn_if_behind(job.settings)
    changed = changes_since(facts.record, job.settings, SPLIT_FILES[split])
    for line in changed:
        console.warning(f"not the data of this run: {line}")
    places = " and ".join(f"{count:,} of {name}" for name, count in counts.items() if count)
    console.info(
        f"evaluating run {target.name} on {console.count_of(len(rows))} ({places}): the base model, then the tuned one"
    )
    with hold(target.folder / "eval" / ".lock", who="an evaluation", todo="wait for it to end"):
        sweep(target.folder / "eval")
        loaded = load_for_inference(job.settings, facts, need_base=True)
        console.info(f"device {loaded.device}; precision {loaded.precision}")
        own = can_decode(loaded.model, loaded.pad_id).value
        with loaded.base() as model:
            base = _measure(job, loaded, model, "base", rows, own)
        tuned = _measure(
            job, loaded, fused(loaded.model), "tuned", rows, own
        )  # the base was measured before
        _write(job, target, split, rows, counts, facts, loaded, (base, tuned), changed)
    refresh_cards(facts, job.settings)
    seconds = time.monotonic() - began
    target.record_event("evaluated", split=split, rows=len(rows), seconds=round(seconds, 1))
    console.success(f"{target.eval(split)}/report.md ({seconds:.0f} s)")


def _refuse_task_options(job: Job) -> None:
    """UsageError (2) for an option that means nothing without `--tasks`."""
    for key in ("limit", "chat_template", "trust_tasks"):
        if job.options.get(key):
            name = "--" + key.replace("_", "-")
            raise UsageError(f"{name} is for tasks of lm-eval", todo="name some: --tasks FILE.yaml")


def _measure(
    job: Job, loaded: Loaded, model: Any, name: str, rows: Sequence[HeldOut], own: bool
) -> Measurement:
    """Loss over all trained tokens, and an answer to each row."""
    import torch

    from sftplay.model.answers.prompts import plain_text
    from sftplay.model.forward.collate import Collator
    from sftplay.model.forward.loss import each_row_loss

    settings = job.settings.eval
    try:
        with progress(len(rows), "row", f"{name}: loss") as bar:
            tokens = [{"input_ids": row.ids, "labels": row.labels} for row in rows]
            losses = each_row_loss(
                model, tokens, Collator(loaded.pad_id), settings.loss_rows, bar.advance
            )
        answers = _answer(job, loaded, model, name, rows, own)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError("out of GPU memory", todo="try --set eval.batch_size=1") from error
    texts = [plain_text(loaded.tokenizer, answer.ids) for answer in answers]
    found = Measurement(losses, texts, [answer.ended for answer in answers])
    if not math.isfinite(found.loss):
        raise NonFiniteError(
            f"the loss of the {name} model is {found.loss}", todo="try --set train.precision=fp32"
        )
    return found


def _answer(
    job: Job, loaded: Loaded, model: Any, name: str, rows: Sequence[HeldOut], own: bool
) -> list[Answer]:
    """Greedy answers in the order of the rows; they are made longest prompt first."""
    from sftplay.model.answers.generate import Request, answers
    from sftplay.model.answers.prompts import window_of
    from sftplay.model.answers.sampling import Sampling

    settings, window = job.settings.eval, window_of(model)
    requests = [
        Request(place, row.prompt, max(1, window - len(row.prompt)) if window else None)
        for place, row in enumerate(rows)
    ]
    requests.sort(key=lambda request: (-len(request.ids), request.key))
    sampling = Sampling(settings.max_new_tokens)
    with progress(len(rows), "row", f"{name}: answers") as bar:
        found = dict(
            answers(
                model,
                requests,
                sampling,
                loaded.stop_ids,
                loaded.pad_id,
                settings.batch_size,
                bar.advance,
                own=own,
            )
        )
    return [found[place] for place in range(len(rows))]


def _write(
    job: Job,
    target: Run,
    split: str,
    rows: Sequence[HeldOut],
    counts: dict[str, int],
    facts: RunFacts,
    loaded: Loaded,
    measured: tuple[Measurement, Measurement],
    changed: list[str],
) -> None:
    from sftplay.fingerprint import fingerprint
    from sftplay.model.evaluation import report
    from sftplay.model.evaluation.metrics import signature

    questions = user_words(job.settings, split, {row.row_id for row in rows})
    samples = report.samples(loaded.tokenizer, rows, *measured, questions)
    metrics = report.compare(samples, *measured)
    record = {
        "schema": 1,
        "run": target.name,
        "split": split,
        "rows": counts,
        "trained_tokens": measured[0].tokens,
        "rows_hash": hash_json([[entry["id"], entry["reference"]] for entry in samples]),
        "metrics": metrics,
        "generation": {
            **job.settings.eval.model_dump(include={"max_new_tokens", "batch_size"}),
            "greedy": True,
        },
        "model": {
            **{key: facts.stamp.get(key) for key in ("base_model", "revision", "quantization")},
            "method": facts.method,
            "quantized": loaded.quantized,
            "weights": fingerprint(facts.tuned),
        },
        "device": loaded.device.value,
        "precision": loaded.precision.value,
        "data_changed_since_training": changed,
        "chrf": signature(),
        "versions": {name: importlib.metadata.version(name) for name in STAMPED_VERSIONS}
        | {"sftplay": __version__},
    }
    with sealed_folder(target.eval(split), {"run": target.name, "split": split}) as folder:
        report.write(folder, record, samples)
    console.result(report.table(record))
