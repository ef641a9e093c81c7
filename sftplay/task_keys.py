"""Keys of a task file of lm-eval, and what each may hold. lm-eval itself looks at a key when it needs
it, which may be after hours of answers.

The names are those of TaskConfig, FewshotConfig, GroupConfig and AggMetricConfig in lm-eval's package.

One module although it is long: it is one schema, compared with lm-eval's as one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, ValidationError

from sftplay.yamlfile import Marks, TaggedText

_SAYS = {
    "string_type": "text is required",
    "int_type": "a whole number is required",
    "float_type": "a number is required",
    "bool_type": "true or false is required",
    "list_type": "a list is required",
    "model_type": "a mapping (key: value) is required",
    "dict_type": "a mapping (key: value) is required",
    "is_instance_of": "only a function (`!function module.name`) may stand here",
    "missing": "is missing",
    "too_short": "it is empty",
}


def _texts(value: Any) -> Any:
    """Check a text, or a list of texts."""
    if not isinstance(value, str) and not _is_list_of_texts(value):
        raise ValueError("text, or a list of texts, is required")
    return value


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _data_files(value: Any) -> Any:
    for one in value.values() if isinstance(value, dict) else [value]:
        if not isinstance(one, str) and not (_is_list_of_texts(one) and one):
            raise ValueError("FILE, [FILE, …] or {SPLIT: FILE, …} is required")
    if not value:
        raise ValueError("it names no file")
    return value


def _prompt(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("a template ({{field}}) or the name of a field is required")
    return value


def _target(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, list)):
        raise ValueError("a template ({{field}}), the name of a field, or a number is required")
    return value


def _choices(value: Any) -> Any:
    each = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(value, str) and not (_is_list_of_texts(each) and each and all(each)):
        raise ValueError(
            "a template ({{field}}), the name of a field, or a list of texts is required"
        )
    return value


def _samples(value: Any) -> Any:
    rows = isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
    if not rows and not isinstance(value, TaggedText):
        raise ValueError("a list of rows (mappings) is required")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return value


def _match(value: int) -> int:
    if value not in (0, -1):
        raise ValueError("0 (first match) or -1 (last): an answer may have no other")
    return value


def _mean(value: Any) -> Any:
    if value != "mean" and not isinstance(value, TaggedText):
        raise ValueError("lm-eval aggregates a group by its mean only")
    return value


def _given(value: Any) -> Any:
    raise ValueError("lm-eval sets it itself: dataset_path, dataset_name, test_split")


def _no_media(value: Any) -> Any:
    raise ValueError("the models here read text only")


Texts = Annotated[Any, AfterValidator(_texts)]
Target = Annotated[Any, AfterValidator(_target)]
Choices = Annotated[Any, AfterValidator(_choices)]
Pattern = Annotated[str, AfterValidator(_pattern)]
OutputType = Literal["generate_until", "loglikelihood", "loglikelihood_rolling", "multiple_choice"]
Function = InstanceOf[TaggedText]
Length = Annotated[int, Field(ge=1)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Options(_Keys):
    """Keys of which lm-eval gives the others to a function."""

    model_config = ConfigDict(extra="allow")


class _DataOptions(_Options):
    data_files: Annotated[Any, AfterValidator(_data_files)] = None
    data_dir: str | None = None
    field: str | None = None
    path: Annotated[Any, AfterValidator(_given)] = None
    name: Annotated[Any, AfterValidator(_given)] = None
    split: Annotated[Any, AfterValidator(_given)] = None
    streaming: Annotated[Any, AfterValidator(_given)] = None


class _Metric(_Options):
    metric: str
    aggregation: str | None = None
    higher_is_better: bool | None = None
    hf_evaluate: bool | None = None
    regexes_to_ignore: list[Pattern] | None = None


class _Step(_Options):
    function: str
    regex_pattern: Pattern | None = None
    group_select: Annotated[int, AfterValidator(_match)] | None = None
    k: Length | None = None


class _Filter(_Keys):
    name: str
    filter: list[_Step] = Field(min_length=1)


class _Generation(_Options):
    until: Texts = None
    max_gen_toks: Length | None = None
    max_new_tokens: Length | None = None
    max_tokens: Length | None = None
    max_completion_tokens: Length | None = None
    do_sample: bool | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    num_beams: Length | None = None
    repetition_penalty: float | None = Field(None, gt=0)


class _Prompt(_Keys):
    """Keys of a task that few-shot examples may have otherwise."""

    process_docs: Function | None = None
    doc_to_text: Annotated[Any, AfterValidator(_prompt)] = None
    doc_to_target: Target = None
    doc_to_choice: Choices = None
    gen_prefix: str | None = None
    target_delimiter: str | None = None
    fewshot_delimiter: str | None = None


class FewshotKeys(_Prompt):
    """Keys of `fewshot_config`."""

    sampler: str | None = None
    split: str | None = None
    fewshot_indices: list[int] | None = None
    samples: Annotated[Any, AfterValidator(_samples)] = None


class AggregateKeys(_Keys):
    """Keys of an entry of `aggregate_metric_list`."""

    metric: str
    aggregation: Annotated[Any, AfterValidator(_mean)] = "mean"
    filter_list: Texts = None
    weight_by_size: bool | None = None


class TaskKeys(_Prompt):
    """Keys of a task, and of a group, whose members take over those of a task."""

    include: Texts = None
    task: Any = None
    task_alias: str | None = None
    tag: Texts = None
    custom_dataset: Function | None = None
    dataset_path: str | None = None
    dataset_name: str | None = None
    dataset_kwargs: _DataOptions | None = None
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    doc_to_image: Annotated[Any, AfterValidator(_no_media)] = None
    doc_to_audio: Annotated[Any, AfterValidator(_no_media)] = None
    unsafe_code: bool | None = None
    process_results: Function | None = None
    use_prompt: str | None = None
    description: str | None = None
    fewshot_config: FewshotKeys | None = None
    num_fewshot: int | None = Field(None, ge=0)
    metric_list: list[_Metric] | None = Field(None, min_length=1)
    output_type: OutputType | None = None
    generation_kwargs: _Generation | None = None
    repeats: Length | None = None
    filter_list: list[_Filter] | None = Field(None, min_length=1)
    should_decontaminate: bool | None = None
    doc_to_decontamination_query: str | None = None
    metadata: Any = None
    trust_remote_code: bool | None = None
    class_: Any = Field(None, alias="class")
    group: Any = None
    group_alias: str | None = None
    aggregate_metric_list: list[AggregateKeys] | None = Field(None, min_length=1)


def key_problems(
    values: Mapping[str, Any], marks: Marks, path: Path, above: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield a line for every key of a file that lm-eval doesn't have, and every value that it can't
    use, members of groups included.

    Args:
        above: where in the file the values stand.
    """
    try:
        TaskKeys.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            loc = (*above, *map(str, problem["loc"]))
            place = next((loc[:end] for end in range(len(loc), 0, -1) if loc[:end] in marks), None)
            line, column = marks[place] if place else (1, 1)
            yield f"{path}:{line}:{column}: {'.'.join(loc)}: {_says(problem)}"
    for key, name in (("metric_list", "metric"), ("filter_list", "name")):
        yield from _named_twice(values.get(key), name, (*above, key), marks, path)
    members = values.get("task")
    for number, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, Mapping):
            yield from key_problems(member, marks, path, (*above, "task", str(number)))


def _says(problem: Any) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        key = str(problem["loc"][-1])
        known = FewshotKeys if len(problem["loc"]) == 2 else TaskKeys
        close = difflib.get_close_matches(key, known.model_fields, 1)
        return "unknown key" + (f" (did you mean {close[0]}?)" if close else "")
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    said = _SAYS.get(kind) or str(problem["msg"]).replace("Input should be", "it has to be")
    shown = repr(problem["input"])
    got = f" (got {shown})" if len(shown) < 60 and kind not in ("missing", "too_short") else ""
    return said + got


def _named_twice(
    entries: Any, key: str, place: Sequence[str], marks: Marks, path: Path
) -> Iterator[str]:
    """Yield a line for each entry whose name another one has: lm-eval keeps the last of them."""
    seen = set()
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        name = entry.get(key) if isinstance(entry, Mapping) else None
        if isinstance(name, str) and name in seen:
            line, column = marks.get((*place, str(number)), (1, 1))
            yield f"{path}:{line}:{column}: {'.'.join(place)}: {name} stands twice"
        if isinstance(name, str):
            seen.add(name)
