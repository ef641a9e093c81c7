"""Keys of a task file: unknown ones, and values that lm-eval can't use, each with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.task_keys import key_problems
from sftplay.yamlfile import parse_yaml

GOOD = """task: clips
dataset_path: json
dataset_kwargs: {data_files: {test: [data/a.jsonl]}, encoding: utf-8}
test_split: test
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: 0
doc_to_choice: {a: A, b: B}
description: ""
num_fewshot: 2
fewshot_config: {sampler: first_n, samples: [{q: x}]}
generation_kwargs: {until: [], do_sample: false, max_gen_toks: 8, temperature: 0}
metric_list: [{metric: exact_match, ignore_case: true}]
filter_list: [{name: x, filter: [{function: regex, regex_pattern: "(a)", group_select: -1}]}]
metadata: {version: 1}
"""


def problems(text: str) -> list[str]:
    return list(key_problems(*parse_yaml(text, "t.yaml", ("!function",)), Path("t.yaml")))


def test_what_lm_eval_takes_is_right() -> None:
    assert problems(GOOD) == []
    assert problems("process_docs: !function a.b\nfewshot_config: {samples: !function a.b}\n") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("doc_to_txt: q", "doc_to_txt: unknown key (did you mean doc_to_text?)"),
        ("fewshot_config: {spilt: x}", "fewshot_config.spilt: unknown key (did you mean split?)"),
        ("test_split: 3", "test_split: text is required (got 3)"),
        ("test_split: [a]", "test_split: text is required (got ['a'])"),
        ("num_fewshot: two", "num_fewshot: a whole number is required (got 'two')"),
        ("num_fewshot: true", "num_fewshot: a whole number is required (got True)"),
        ("num_fewshot: -1", "num_fewshot: it has to be greater than or equal to 0 (got -1)"),
        ("repeats: 0", "repeats: it has to be greater than or equal to 1 (got 0)"),
        ("doc_to_text: [q]", "doc_to_text: a template ({{field}}) or the name of a field"),
        ("doc_to_target: {a: 1}", "doc_to_target: a template ({{field}}), the name of a field, or"),
        ("doc_to_choice: [1, 2]", "doc_to_choice: a template ({{field}}), the name of a field, or"),
        ("doc_to_choice: ['']", "doc_to_choice: a template"),
        ("dataset_kwargs: [a]", "dataset_kwargs: a mapping (key: value) is required"),
        ("dataset_kwargs: {data_files: 3}", "FILE, [FILE, …] or {SPLIT: FILE, …} is required"),
        ("dataset_kwargs: {data_files: {}}", "dataset_kwargs.data_files: it names no file"),
        ("dataset_kwargs: {split: test}", "dataset_kwargs.split: lm-eval sets it itself"),
        ("dataset_kwargs: {streaming: true}", "dataset_kwargs.streaming: lm-eval sets it itself"),
        ("output_type: essay", "output_type: it has to be 'generate_until', 'loglikelihood'"),
        ("metric_list: acc", "metric_list: a list is required (got 'acc')"),
        ("metric_list: [acc]", "metric_list.0: a mapping (key: value) is required (got 'acc')"),
        ("metric_list: []", "metric_list: it is empty"),
        ("metric_list: [{aggregation: mean}]", "metric_list.0.metric: is missing"),
        ("metric_list: [{metric: acc}, {metric: acc}]", "metric_list: acc stands twice"),
        ("filter_list: [{name: x}]", "filter_list.0.filter: is missing"),
        (
            "filter_list: [{name: x, filter: [{function: regex, regex_pattern: (}]}]",
            "filter_list.0.filter.0.regex_pattern: no regular expression: missing ), unterminated",
        ),
        (
            "filter_list: [{name: x, filter: [{function: regex, group_select: 2}]}]",
            "group_select: 0 (first match) or -1 (last): an answer may have no other",
        ),
        ("generation_kwargs: {until: 3}", "generation_kwargs.until: text, or a list of texts"),
        ("generation_kwargs: {max_gen_toks: -3}", "generation_kwargs.max_gen_toks: it has to be"),
        ("generation_kwargs: {top_p: 7}", "generation_kwargs.top_p: it has to be less than"),
        ("process_docs: f", "process_docs: only a function (`!function module.name`) may stand"),
        ("doc_to_image: x", "doc_to_image: the models here read text only"),
        ("aggregate_metric_list: [{metric: acc, aggregation: sum}]", "by its mean only"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line: str, said: str) -> None:
    (problem,) = problems("task: clips\n" + line + "\n")
    assert problem.startswith("t.yaml:2:") and said in problem


def test_members_of_a_group_are_looked_at_too() -> None:
    text = (
        "group: g\ntask:\n  - task: a\n    num_fewshot: x\n  - group: h\n    task: [{repeats: 0}]\n"
    )
    first, second = problems(text)
    assert first.startswith("t.yaml:4:5: task.0.num_fewshot: ")
    assert second.startswith("t.yaml:6:13: task.1.task.0.repeats: ")
