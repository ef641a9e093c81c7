"""Task files and data that are wrong: each ends in our words, with its place and exit code, before the
model is loaded.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.box import Box, Ran
from tests.model.lmeval.test_run import ANSWERS, CHOICE, LIKELIHOOD, python

pytestmark = pytest.mark.long  # an environment of 620 MB, which takes 10 s to import

__all__ = ["python"]
ROWS = [{"q": f"{i}?", "choices": [f"{i}", "x"], "gold": i % 2, "a": f"A {i}"} for i in range(6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ABSENT = object()
GROUP = {"group": "both", "task": [CHOICE, ANSWERS]}
RAW_WORDS = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception|Iteration)\b|arrow\.lib|with error <")


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[Box]:
    """Forks of lm-eval's environment, with its imports done."""
    imports = ("datasets", "lm_eval.evaluator", "lm_eval.tasks", "lm_eval.models.huggingface")
    started = Box(tmp_path_factory.mktemp("forks"), python=python, imports=imports)
    yield started
    started.close()


@pytest.fixture(scope="module")
def place(trained_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong") / "project"
    shutil.copytree(trained_project, folder)
    (folder / "data/rows.jsonl").write_text(LINES)
    return folder


def evaluate(forks: Box, place: Path, task: dict[str, Any]) -> Ran:
    plain = json.loads(json.dumps({k: v for k, v in task.items() if v is not ABSENT}))
    text = yaml.safe_dump(plain, sort_keys=False).replace("MARK", "!function evil.f")
    (place / "task.yaml").write_text(text)
    argv = ("eval", "--run", "demo", "--tasks=task.yaml")
    return forks.run(*argv, cwd=place, HF_DATASETS_OFFLINE="1", TRANSFORMERS_OFFLINE="1")


def refused(forks: Box, place: Path, task: dict[str, Any], code: int, said: str) -> None:
    done = evaluate(forks, place, task)
    assert (done.code, said in done.err) == (code, True), done.err
    assert "next:" in done.err and not RAW_WORDS.search(done.out + done.err), done.err
    assert "device" not in done.err, done.err
    left = place / "outputs/demo/eval"
    assert not left.exists() or {path.name for path in left.iterdir()} <= {".lock"}


def metric(**keys: Any) -> dict[str, Any]:
    return {"metric_list": [{"metric": "exact_match", **keys}]}


def filtered(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"filter_list": [{"name": "x", "filter": list(steps)}]}


FIRST = {"function": "take_first"}


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        (CHOICE, {"metric_list": [{"metric": "accuracy"}]}, "unknown metric 'accuracy'"),
        (ANSWERS, metric(aggregation="average"), "unknown aggregation 'average'"),
        (ANSWERS, metric(aggregation="bleu"), "exact_match can't be aggregated by bleu"),
        (ANSWERS, metric(colour=1), "none of its 6 rows can be scored"),
        (ANSWERS, {"metric_list": [{"metric": "./evil"}]}, "unknown metric './evil'"),
        (CHOICE, {"metric_list": [{"metric": "bleu"}]}, "bleu can't be measured with output_type"),
        (ANSWERS, filtered({"function": "y"}), "unknown filter 'y'"),
        (ANSWERS, filtered({"function": "regex", "colour": 1}, FIRST), "x can't be used"),
        (ANSWERS, filtered({"function": "lowercase"}), "leaves a list of responses"),
        (CHOICE, {"output_type": "essay"}, "output_type: it has to be 'generate_until'"),
        (CHOICE, {"test_split": "exam"}, "test_split: its data has no split exam, only test"),
        (ANSWERS, {"training_split": "trn"}, "training_split: its data has no split trn"),
        (CHOICE, {"test_split": ABSENT}, "test_split is missing"),
        (CHOICE, {"dataset_path": ABSENT}, "dataset_path is missing"),
        (CHOICE, {"dataset_kwargs": ABSENT}, "dataset_kwargs.data_files is missing"),
        (
            CHOICE,
            {"dataset_kwargs": {"data_files": "data/rows.jsonl"}},
            "has no split test, only train",
        ),
        (
            CHOICE,
            {"dataset_kwargs": {**CHOICE["dataset_kwargs"], "colour": 1}},
            "colour: no option",
        ),
        (CHOICE, {"doc_to_text": "{{question}}"}, "doc_to_text: question is no field of its rows"),
        (CHOICE, {"doc_to_text": "{{q.x}}"}, "doc_to_text: can't be filled from the first row"),
        (CHOICE, {"doc_to_text": "{% if q %}"}, "doc_to_text: line 1 of its template"),
        (ANSWERS, {"doc_to_text": "gold"}, "none of its 6 rows can be scored"),
        (CHOICE, {"doc_to_target": 7}, "its target 7"),
        (CHOICE, {"doc_to_target": ABSENT}, "doc_to_target is missing"),
        (CHOICE, {"doc_to_choice": "q"}, "are no list: '0?'"),
        (CHOICE, {"doc_to_choice": "choicez"}, "gives no list of texts"),
        (CHOICE, {"doc_to_choice": ABSENT}, "doc_to_choice is missing"),
        (ANSWERS, {"description": "{{x}}"}, "description: x is no field of its rows"),
        (ANSWERS, {"gen_prefix": "{{x}}"}, "gen_prefix: x is no field of its rows"),
        (ANSWERS, {"num_fewshot": 6}, "6 examples of 5 rows, without the one that is asked"),
        (ANSWERS, {"fewshot_config": {"sampler": "worst"}}, "unknown sampler 'worst'"),
        (
            ANSWERS,
            {"fewshot_split": ABSENT, "fewshot_config": {"samples": [{"q": "x"}]}},
            "fewshot_config.doc_to_target: a is no field",
        ),
        (ANSWERS, {"generation_kwargs": {"colour": 1}}, "transformers has no colour"),
        (ANSWERS, {"generation_kwargs": {"do_sample": True}}, "a temperature above 0"),
        (LIKELIHOOD, {"doc_to_target": "gold"}, "its target 0 (doc_to_target: gold) is no text"),
        (CHOICE, {"doc_to_choice": "{{q.__class__.__mro__}}"}, "unsafe"),
        (CHOICE, {"process_docs": "MARK"}, "`!function evil.f` imports Python"),
        (
            GROUP,
            {"task": [CHOICE, {**ANSWERS, "test_split": "exam"}]},
            "task clips_answers: test_split",
        ),
        (GROUP, {"aggregate_metric_list": [{"metric": "no"}]}, "no member has the metric no"),
    ],
)
def test_a_wrong_task_file_ends_with_78(
    forks: Box, place: Path, task: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    for name in ("evil.py", "evil/evil.py"):  # as a module, and as a metric of `evaluate`
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(f"open({str(place / 'ran')!r}, 'w')\n")
    refused(forks, place, {**task, **changes}, 78, said)
    assert not (place / "ran").exists()


BROKEN = LINES.replace('"A 2"', '"A 2",')
PACKED = gzip.compress(LINES.encode())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.jsonl", b"", "data/b.jsonl: the file has no rows"),
        ("b.jsonl", b"\n\n", "data/b.jsonl: the file has no rows"),
        ("b.json", b"[]", "data/b.json: the file has no rows"),
        ("b.jsonl", BROKEN.encode(), "data/b.jsonl:3:57: not valid JSON (trailing comma"),
        ("b.jsonl", LINES[:-9].encode(), "data/b.jsonl:6:"),
        ("b.jsonl", LINES.encode("utf-16"), "the file is UTF-16"),
        ("b.jsonl", LINES.replace("3?", "é?").encode("latin1"), "data/b.jsonl:4: not UTF-8"),
        ("b.jsonl", LINES.encode() + b"[1]\n", "data/b.jsonl:7: the row is no object"),
        ("b.jsonl.gz", PACKED[:-12], "data/b.jsonl.gz: the packed file is cut off"),
        ("b.jsonl", b"PK\x03\x04" + bytes(99), "data/b.jsonl: this is a zip archive"),
    ],
)
def test_broken_data_ends_with_65_and_names_the_line(
    forks: Box, place: Path, name: str, content: bytes, said: str
) -> None:
    (place / "data" / name).write_bytes(content)
    data = {"dataset_kwargs": {"data_files": {"test": f"data/{name}"}}}
    refused(forks, place, {**CHOICE, **data}, 65, said)
    if "UTF-8" in said:
        return  # a split that is not asked is not decoded
    others = {"test": "data/rows.jsonl", "train": [f"data/{name}"]}
    refused(forks, place, {**CHOICE, "dataset_kwargs": {"data_files": others}}, 65, said)


GOOD = {"q": "a?", "choices": ["x", "y"], "gold": 1, "a": "x"}


@pytest.mark.parametrize(
    ("task", "changes", "row", "said"),
    [
        (CHOICE, {}, {"gold": 7}, "target 7 (doc_to_target: gold) is none of its choices: 0 'x'"),
        (CHOICE, {}, {"gold": -1}, "target -1"),
        (CHOICE, {}, {"gold": None}, "field gold (doc_to_target) is missing"),
        (CHOICE, {}, {"q": None}, "field q (doc_to_text) is missing"),
        (CHOICE, {}, {"choices": []}, "are not texts: []"),
        (CHOICE, {}, {"choices": ["", "y"]}, "are not texts: ['', 'y']"),
        (CHOICE, {"doc_to_target": "{{a}}"}, {"a": "D"}, "target 'D'"),
        (CHOICE, {"doc_to_target": "{{a}}"}, {"a": None}, "field a (doc_to_target) is missing"),
        (ANSWERS, {}, {"a": None}, "field a (doc_to_target) is missing"),
        (LIKELIHOOD, {"doc_to_target": "{{a + gold * 'x'}}"}, {"gold": None}, "can't be scored"),
    ],
)
def test_a_row_that_no_answer_fits_ends_with_65(
    forks: Box,
    place: Path,
    task: dict[str, Any],
    changes: dict[str, Any],
    row: dict[str, Any],
    said: str,
) -> None:
    # a template that the first row can't fill is a fault of the task file
    for number in (3,) if "can't be scored" in said else (1, 3):
        rows = [{**GOOD, "a": "y"}, GOOD, GOOD, GOOD]
        rows[number - 1] = {**GOOD, **row}
        (place / "data/rows2.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        data = {"dataset_kwargs": {"data_files": {"test": "data/rows2.jsonl"}}}
        done = evaluate(forks, place, {**task, **data, **changes})
        assert (done.code, said in done.err) == (65, True), done.err
        assert f"data/rows2.jsonl: row {number}: " in done.err and "device" not in done.err
        assert done.err.count("data/rows2.jsonl: row ") == 1


def test_a_word_that_is_no_field_is_warned_about(forks: Box, place: Path) -> None:
    """It may be meant: a text that is the same for all rows."""
    done = evaluate(forks, place, {**ANSWERS, "task": "word", "doc_to_target": "answer"})
    assert done.code == 0, done.err
    assert re.search(r"task.yaml:\d+:1: doc_to_target: answer is no field of the rows", done.err)
    shutil.rmtree(place / "outputs/demo/eval")


def test_answers_longer_than_the_model_reads(forks: Box, place: Path) -> None:
    long = {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 9999}}
    done = evaluate(forks, place, {**ANSWERS, **long})
    assert done.code == 78 and "9999 tokens, but the model reads 512" in done.err, done.err


def test_the_keys_that_are_known_are_lm_evals(python: Path) -> None:
    """Against the data classes of lm-eval's package."""
    import subprocess

    from sftplay.task_keys import AggregateKeys, FewshotKeys, TaskKeys

    code = """if True:
        import dataclasses, json
        from lm_eval.config.group import AggMetricConfig, GroupConfig
        from lm_eval.config.task import FewshotConfig, TaskConfig
        kinds = (TaskConfig, GroupConfig, FewshotConfig, AggMetricConfig)
        print(json.dumps([[f.name for f in dataclasses.fields(kind)] for kind in kinds]))"""
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    task, group, fewshot, aggregate = map(set, json.loads(done.stdout.splitlines()[-1]))
    of_files = {"include", "class_", "trust_remote_code"}
    assert {*TaskKeys.model_fields} == task | group | of_files
    assert {*FewshotKeys.model_fields} == fewshot
    assert {*AggregateKeys.model_fields} == aggregate
