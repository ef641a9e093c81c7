"""Task files of lm-eval: what they may read, and that nothing of theirs runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import ConfigError, NotFoundError, SftplayError, UsageError
from sftplay.lmeval import is_file, split_words
from sftplay.rawdata import HubDataset
from sftplay.task_file import read_task

TASK = """task: clips
dataset_path: json
dataset_kwargs: {data_files: {test: data/rows.jsonl}}
output_type: multiple_choice
doc_to_text: "{{q}}"
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "data/rows.jsonl").write_text("{}\n")
    (tmp_path / "secret.jsonl").write_text("{}\n")
    monkeypatch.chdir(project)


def written(text: str, name: str = "task.yaml") -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return Path(name)


def refused(text: str, *, trusted: bool = False) -> SftplayError:
    with pytest.raises(SftplayError) as caught:
        read_task(written(text), trusted=trusted)
    return caught.value


def test_a_task_names_its_data() -> None:
    task = read_task(written(TASK), trusted=False)
    assert (task.name, task.files, task.sources, task.datasets) == (
        "clips",
        (Path("data/rows.jsonl"),),
        (Path("task.yaml"),),
        (),
    )
    assert task.config["output_type"] == "multiple_choice"


def test_includes_are_merged_below_the_file_itself() -> None:
    written(TASK + "metric_list: [{metric: acc}]\n", "sub/_base.yaml")
    task = read_task(written("include: _base.yaml\ntask: other\n", "sub/task.yaml"), trusted=False)
    assert (task.name, task.config["metric_list"]) == ("other", [{"metric": "acc"}])
    assert task.sources == (Path("sub/task.yaml"), Path("sub/_base.yaml"))
    assert task.files == (Path("data/rows.jsonl"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("process_docs: !function utils.f", "task.yaml:6:1: process_docs: `!function utils.f`"),
        ("fewshot_config: {samples: !function utils.f}", "fewshot_config.samples"),
        ("metric_list: [{metric: !function utils.f}]", "metric_list.0.metric"),
        ("metric_list: [{metric: rouge, hf_evaluate: true}]", "downloads the code of a metric"),
        ("unsafe_code: true", "runs code that the model writes"),
        ("class: module.Task", "imports Python"),
        ("use_prompt: promptsource:x", "imports prompts"),
    ],
)
def test_code_is_refused_unless_it_is_trusted(line: str, said: str) -> None:
    problem = refused(TASK + line + "\n")
    assert (type(problem), problem.code) == (ConfigError, 78)
    assert said in str(problem) and "--trust-tasks" in problem.todo
    assert read_task(Path("task.yaml"), trusted=True).name == "clips"


def test_code_in_an_include_is_found_too() -> None:
    written(TASK + "process_results: !function evil.f\n", "_base.yaml")
    problem = refused("include: _base.yaml\ntask: other\n")
    assert "_base.yaml:6:1: process_results" in str(problem)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [id]", "!!python/name:os.system", "!evil x"]
)
def test_other_tags_are_broken_yaml_also_where_code_is_trusted(tag: str) -> None:
    problem = refused(TASK + f"doc_to_target: {tag}\n", trusted=True)
    assert problem.code == 78 and "a tag (!…)" in problem.what


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        ("data/none.jsonl", 66, "no such file: data/none.jsonl"),
        ("data/*.csv", 66, "no such file"),
        ("../secret.jsonl", 78, "leads out of the project"),
        ("data/../../secret.jsonl", 78, "leads out of the project"),
        ("/etc/passwd", 78, "leads out of the project"),
        ("~/.netrc", 78, "leads out of the project"),
        ("data/link.jsonl", 78, "leads out of the project"),
        ("https://example.org/rows.jsonl", 78, "is an address"),
        ("zip://x::https://example.org/rows.zip", 78, "is an address"),
    ],
)
@pytest.mark.parametrize("form", ["{{test: {}}}", "[{}]", "{{test: [{}]}}", '"{}"'])
def test_data_stays_in_the_project(named: str, code: int, said: str, form: str) -> None:
    Path("data/link.jsonl").symlink_to(Path("../../secret.jsonl"))
    files = form.format(f'"{named}"' if form != '"{}"' else named)
    problem = refused(TASK.replace("{test: data/rows.jsonl}", files))
    assert problem.code == code and said in problem.what


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("task: a\n  b: c\n", 78, "begins further right"),
        ("- a\n", 78, "the top level must be a mapping"),
        ("dataset_path: json\n", 78, "None is no name of a task"),
        ("task: ../a\n", 78, "'../a' is no name of a task"),
        ("group: g\ntask: [hellaswag]\n", 78, "holds whole tasks"),
        ("include: gone.yaml\n", 66, "the included file gone.yaml is missing"),
        ("include: task.yaml\n", 78, "it includes itself"),
    ],
)
def test_broken_files(text: str, code: int, said: str) -> None:
    problem = refused(text)
    assert problem.code == code and said in problem.what


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="no such task file"):
        read_task(Path("gone.yaml"), trusted=False)


def test_datasets_of_the_hub_and_tasks_in_a_group() -> None:
    text = """group: both
task:
  - {task: one, dataset_path: owner/rows, dataset_kwargs: {revision: abc}}
  - {task: two, dataset_path: json, dataset_kwargs: {data_files: data/rows.jsonl}}
"""
    task = read_task(written(text), trusted=False)
    assert task.name == "both"
    assert task.datasets == (HubDataset("owner/rows", "abc"),)
    assert task.files == (Path("data/rows.jsonl"),)


def test_words() -> None:
    assert split_words("a.yaml, hellaswag") == ("a.yaml", "hellaswag")
    assert [is_file(word) for word in ("a.yaml", "b.yml", "sub/x", "arc_easy")] == [
        True,
        True,
        True,
        False,
    ]
    for words in ("", "a,,b", "a,a"):
        with pytest.raises(UsageError):
            split_words(words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group: g\n", "the group g has no tasks"),
        ("group: g\ntask: x\n", "the group g has no tasks"),
        ("group: g\ntask: [{doc_to_text: q}]\n", "a member of the group g has no name"),
        ("group: g\ntask: [{task: a}, {task: a}]\n", "two of the group g have the name a"),
        ("group: g\ntask: [{task: g}]\n", "two of the group g have the name g"),
        ("group: g\ntask: [{group: h, task: []}]\n", "the group h has no tasks"),
        ("task: [{task: a}]\n", "a list of tasks has no name"),
        ("task: a\ndataset_path: data/rows.jsonl\n", "data/rows.jsonl is a file, not the format"),
        (TASK.replace("data/rows.jsonl", "data"), "dataset_kwargs.data_files: data is a folder"),
    ],
)
def test_what_lm_eval_would_misread_is_refused(text: str, said: str) -> None:
    problem = refused(text)
    assert (problem.code, said in str(problem), bool(problem.todo)) == (78, True, True)


def test_all_problems_of_a_file_and_its_includes_are_named_at_once() -> None:
    written("num_fewshot: x\n", "_base.yaml")
    problem = refused(TASK + "include: _base.yaml\nrepeats: y\n")
    assert str(problem).splitlines() == [
        "task.yaml:7:1: repeats: a whole number is required (got 'y')",
        "_base.yaml:1:1: num_fewshot: a whole number is required (got 'x')",
    ]


def test_where_a_key_stands() -> None:
    written("num_fewshot: 1\n", "_base.yaml")
    task = read_task(written(TASK + "include: _base.yaml\n"), trusted=False)
    assert task.places["doc_to_text"] == "task.yaml:5:1"
    assert task.places["num_fewshot"] == "_base.yaml:1:1"
