"""Few-shot examples, filters and generation settings of a task, each tried before a model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sftplay.console import count_of
from sftplay.errors import ConfigError, DataError
from sftplay.model.lmeval.faults import reason
from sftplay.model.lmeval.fit import missing_field, place_of
from sftplay.task_file import TaskFile

_OWN = {"until", "max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}


def require_usable(task: Any, file: TaskFile, doc: Mapping[str, Any]) -> None:
    """Try everything of a task that is the same for all rows.

    Args:
        doc: a row that can be scored.

    Raises:
        ConfigError: too few examples, filters or generation_kwargs that can't be used (78).
            DataError: an example that has no answer (65).
    """
    _require_examples(task, file, doc)
    _require_filters(task, file, doc)
    if task.OUTPUT_TYPE == "generate_until":
        for problem in _wrong_generation(task.config.generation_kwargs or {}):
            raise ConfigError(
                f"generation_kwargs: {problem}",
                where=place_of(file, task.config, "generation_kwargs"),
                todo="they are those of transformers' GenerationConfig, and until and max_gen_toks",
            )


def require_length(task: Any, longest: int) -> None:
    """ConfigError (78) where a task's answers may be longer than the model reads."""
    given = task.config.generation_kwargs or {}
    for key in sorted(_OWN - {"until"}):
        if int(given.get(key) or 0) >= longest:
            raise ConfigError(
                f"generation_kwargs.{key}: {given[key]} tokens, but the model reads {longest}, prompt "
                "and answer together",
                where=f"task {task.config.task}",
                todo=f"set it to much less than {longest}",
            )


def _require_examples(task: Any, file: TaskFile, doc: Mapping[str, Any]) -> None:
    count = task.config.num_fewshot or 0
    if not count:
        return
    where = place_of(file, task.config, "num_fewshot")
    examples, rows = task.fewshot_cfg, list(task.sampler.df)
    chosen = examples.fewshot_indices
    if chosen and not all(0 <= place < len(rows) for place in chosen):
        raise ConfigError(
            f"fewshot_config.fewshot_indices: its {count_of(len(rows))} count from 0",
            where=place_of(file, task.config, "fewshot_config"),
        )
    same = examples.split == task.config.test_split
    left = len(chosen or rows) - same
    if count > left:
        without = ", without the one that is asked" if same else ""
        raise ConfigError(
            f"num_fewshot: {count} examples of {count_of(left)}{without}",
            where=where,
            todo=f"num_fewshot: {left} or fewer, or a fewshot_split with more rows",
        )
    for number, row in enumerate(rows, start=1):
        if problem := _wrong_example(task, row):
            name = examples.split or "fewshot_config.samples"
            raise DataError(
                f"row {number:,} of {name}, from which the examples are: {problem}",
                where=str(file.path),
                todo="correct the row; rows count from 1",
            )
    try:
        task.set_fewshot_seed(seed=0)
        task.fewshot_context(doc, num_fewshot=count, gen_prefix=task.doc_to_prefix(doc))
    except Exception as error:
        raise ConfigError(
            f"num_fewshot: its examples can't be written: {reason(error)}", where=where
        ) from error


def _wrong_example(task: Any, row: Mapping[str, Any]) -> str:
    """Return why a row is no example, empty where it is one."""
    examples = task.fewshot_cfg
    keys = ("doc_to_text", "doc_to_target")
    if missing := missing_field(row, **{key: getattr(examples, key) for key in keys}):
        return missing
    try:
        choices = (
            task.doc_to_choice(row, examples.doc_to_choice) if examples.doc_to_choice else None
        )
        text = task.doc_to_text(row, examples.doc_to_text)
        answer = task.doc_to_target(row, examples.doc_to_target)
        if answer is None or answer == "":
            return "it has no answer (doc_to_target)"
        if not task.multiple_input:
            task.build_qa_turn(q=text, c=choices, a=answer)
    except Exception as error:  # noqa: BLE001 - templates and rows may raise anything
        return f"it can't be written: {reason(error)}"
    return ""


def _require_filters(task: Any, file: TaskFile, doc: Mapping[str, Any]) -> None:
    """Run the filters on a made-up response."""
    likelihood = task.OUTPUT_TYPE != "generate_until"
    context = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    found = task.construct_requests(doc=doc, ctx=context, metadata=(task.config.task, 0, 1))
    requests = found if isinstance(found, list) else [found]
    for each in requests:
        each.resps = [(-1.0, False) if likelihood else "#### 1"] * task.config.repeats
        if task.OUTPUT_TYPE == "loglikelihood_rolling":
            each.resps = [-1.0]
    where = place_of(file, task.config, "filter_list")
    for ensemble in task._filters:  # the attribute by which lm-eval's evaluator takes them
        try:
            ensemble.apply(requests)
            left = [each.filtered_resps[ensemble.name] for each in requests]
            if not likelihood and not file.has_functions and not isinstance(left[0], str):
                raise TypeError("it leaves a list of responses")
            task.process_results(doc, left)
        except Exception as error:
            raise ConfigError(
                f"filter_list: {ensemble.name} can't be used: {reason(error)}",
                where=where,
                todo="its last step leaves one response: take_first, or after majority_vote take_first",
            ) from error


def _wrong_generation(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what transformers would refuse, key by key."""
    from transformers import GenerationConfig

    known = {*GenerationConfig().to_dict()} | _OWN
    for key in given:
        if key not in known:
            yield f"transformers has no {key}"
        elif key == "max_length":
            yield "max_length counts the prompt too: max_gen_toks"
    passed = {key: value for key, value in given.items() if key not in _OWN}
    sampled = passed.get("do_sample", float(passed.get("temperature") or 0) > 0)
    if sampled and not float(passed.get("temperature") or 0) > 0:
        yield "do_sample: true requires a temperature above 0"
    try:
        GenerationConfig(**passed).validate()
    except Exception as error:  # noqa: BLE001 - transformers raises several kinds
        yield reason(error)
