"""`eval --tasks` in lm-eval's environment: against lm-eval's own command and against plain transformers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.box import ROOT

pytestmark = pytest.mark.long  # an environment of 620 MB, which takes 10 s to import

ROWS = [
    {
        "q": f"How many clips are {i} and {i * 7}?",
        "choices": [f"She sold {i * 8} clips.", f"{i * 7} clips in May", "the quick brown fox"],
        "gold": i % 3,
        "a": f"She sold {i * 8} clips.",
    }
    for i in range(200, 224)
]
CHOICE = {
    "task": "clips",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "data/rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{q}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
}
LIKELIHOOD = {
    **{key: CHOICE[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
    "task": "clips_likelihood",
    "output_type": "loglikelihood",
    "doc_to_text": "{{q}}",
    "doc_to_target": " {{a}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}
ANSWERS = {
    **{key: CHOICE[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
    "task": "clips_answers",
    "output_type": "generate_until",
    "num_fewshot": 2,
    "fewshot_split": "test",
    "doc_to_text": "{{q}}",
    "doc_to_target": "{{a}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 24},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
        {"metric": "chrf", "aggregation": "chrf", "higher_is_better": True},
    ],
}
TASKS = (CHOICE, LIKELIHOOD, ANSWERS)
WORDS = ",".join(f"{task['task']}.yaml" for task in TASKS)

RunTasks = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def python() -> Path:
    """Python of today's lm-eval environment."""
    from sftplay.host.local import environments

    if "lm-eval" not in environments.present():
        pytest.skip("the lm-eval environment is not made here: `inv eval --tasks` makes it")
    return environments.ensure("lm-eval").python


def _run(python: Path, *argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    return subprocess.run(
        [str(python), *argv],
        cwd=cwd,
        env={**kept, **offline, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, python: Path) -> Path:
    """The trained project with three tasks evaluated. Not to be changed."""
    import shutil

    folder = tmp_path_factory.mktemp("tasks") / "project"
    shutil.copytree(trained_project, folder)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "data/rows.jsonl").write_text(lines)
    for task in TASKS:
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    done = _run(python, "-m", "sftplay", "eval", "--run", "demo", f"--tasks={WORDS}", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "out.txt").write_text(done.stdout)
    return folder


def record(project: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (project / f"outputs/demo/eval/task-{task}/metrics.json").read_text()
    )
    return found


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_the_figures_are_those_of_lm_evals_own_command(
    measured: Path, python: Path, tiny_model: Path, tmp_path: Path, which: str
) -> None:
    adapter = ",peft=outputs/demo/adapter" if which == "tuned" else ""
    model = f"pretrained={tiny_model}{adapter},dtype=float32"
    out = ("--output_path", str(tmp_path))
    argv = ("--model", "hf", "--model_args", model, "--tasks", WORDS, "--device", "cpu", *out)
    done = _run(python, "-m", "lm_eval", "run", *argv, cwd=measured)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.rglob("results_*.json")
    expected = json.loads(written.read_text())["results"]
    compared = 0
    for task in TASKS:
        name = str(task["task"])
        for metric, values in record(measured, name)["metrics"].items():
            kind, _, filtered = metric.partition(",")
            assert values[which] == pytest.approx(expected[name][metric], rel=1e-4), metric
            if kind != "perplexity":  # its error is a bootstrap: of 1,000 rounds, theirs of 100,000
                error = expected[name][f"{kind}_stderr,{filtered}"]
                assert values[f"{which}_stderr"] == pytest.approx(error, rel=1e-4)
            compared += 1
    assert compared == 6


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_choices_and_likelihoods_are_those_of_plain_transformers(
    measured: Path, tiny_model: Path, which: str
) -> None:
    import math

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    if which == "tuned":
        model = PeftModel.from_pretrained(model, measured / "outputs/demo/adapter").eval()

    @torch.no_grad()
    def likelihood(prompt: str, answer: str) -> float:
        before = tokenizer(prompt)["input_ids"]
        ids = tokenizer(prompt + answer)["input_ids"]
        logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        places = range(len(before) - 1, len(ids) - 1)
        return sum(float(logits[place, ids[place + 1]]) for place in places)

    right = normed = 0
    for row in ROWS:
        prompt = f"Question: {row['q']}\nAnswer:"
        found = [likelihood(prompt, f" {choice}") for choice in row["choices"]]
        right += found.index(max(found)) == row["gold"]
        each = [one / len(choice) for one, choice in zip(found, row["choices"], strict=True)]
        normed += each.index(max(each)) == row["gold"]
    values = record(measured, "clips")["metrics"]
    assert values["acc,none"][which] == pytest.approx(right / len(ROWS))
    assert values["acc_norm,none"][which] == pytest.approx(normed / len(ROWS))

    mean = sum(likelihood(row["q"], f" {row['a']}") for row in ROWS) / len(ROWS)
    values = record(measured, "clips_likelihood")["metrics"]
    assert math.log(values["perplexity,none"][which]) == pytest.approx(-mean, rel=1e-4)


def test_what_is_written_and_printed(measured: Path) -> None:
    from sftplay.manifest import problem_with

    found = record(measured, "clips_answers")
    assert (found["rows"], found["num_fewshot"]) == ({"clips_answers": 24}, 2)
    assert found["settings"]["limit"] is None and found["versions"]["lm-eval"]
    assert set(found["files"]["data"]) == {"data/rows.jsonl"}
    chrf = found["metrics"]["chrf,none"]
    assert chrf["difference_interval"][0] < chrf["difference"] < chrf["difference_interval"][1]
    assert record(measured, "clips_likelihood")["metrics"]["perplexity,none"]["lower_is_better"]
    folder = measured / "outputs/demo/eval/task-clips_answers"
    assert problem_with(folder) is None
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 24 and samples[0]["reference"] == ROWS[0]["a"]
    assert samples[0]["prompt"].endswith(ROWS[0]["q"]) and samples[0]["prompt"].count("?") == 3
    printed = (measured / "out.txt").read_text()
    assert "exact_match,none" in printed and "bootstrapping" not in printed
    from huggingface_hub import ModelCard

    card = ModelCard.load(measured / "outputs/demo/adapter/README.md")
    listed = {(one.dataset_name, one.metric_type): one for one in card.data.eval_results}
    assert len(listed) == 6
    assert listed["clips_answers", "chrf,none"].metric_value == round(chrf["tuned"], 6)
    assert listed["clips", "acc,none"].dataset_args == {"rows": 24}
    assert "## Evaluation (lm-eval's task clips_answers, 24 rows)" in card.content
    left = {path.name for path in (measured / "outputs/demo/eval").iterdir()}
    assert left == {".lock", *(f"task-{task['task']}" for task in TASKS)}


def test_it_repeats_to_the_byte_and_a_limit_takes_the_first_rows(
    measured: Path, python: Path, tmp_path: Path
) -> None:
    import shutil

    project = tmp_path / "project"
    shutil.copytree(measured, project)
    argv = ("-m", "sftplay", "eval", "--run", "demo")
    done = _run(python, *argv, "--tasks=clips_answers.yaml", cwd=project)
    assert done.returncode == 0, done.stderr
    for name in ("metrics.json", "samples.jsonl", "report.md"):
        place = f"outputs/demo/eval/task-clips_answers/{name}"
        assert (project / place).read_bytes() == (measured / place).read_bytes()
    done = _run(python, *argv, "--tasks=clips.yaml", "--limit=5", "--chat-template", cwd=project)
    assert done.returncode == 0, done.stderr
    found = record(project, "clips-limit-5")
    assert record(project, "clips") == record(measured, "clips")
    assert found["rows"] == {"clips": 5} and found["settings"]["limit"] == 5
    lines = (
        (project / "outputs/demo/eval/task-clips-limit-5/samples.jsonl").read_text().splitlines()
    )
    assert [json.loads(line)["id"] for line in lines] == list("01234")
    prompt = (
        f"<|im_start|>user\nQuestion: {ROWS[0]['q']}\nAnswer:<|im_end|>\n<|im_start|>assistant\n"
    )
    assert json.loads(lines[0])["prompt"] == prompt


def test_the_task_file_of_the_documentation(measured: Path, python: Path) -> None:
    import re

    found = re.findall(r"```yaml\n(task: .*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
    (text,) = found
    rows = (
        {"question": row["q"], "choices": row["choices"], "answer": row["gold"]} for row in ROWS
    )
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (measured / "data/exam.jsonl").write_text(lines)
    (measured / "exam.yaml").write_text(text)
    argv = ("-m", "sftplay", "eval", "--run", "demo", "--tasks=exam.yaml", "--limit=4")
    done = _run(python, *argv, cwd=measured)
    assert done.returncode == 0, done.stderr
    assert record(measured, "exam-limit-4")["rows"] == {"exam": 4}


def test_trusted_python_runs(measured: Path, python: Path, tmp_path: Path) -> None:
    task = {**CHOICE, "task": "trusted", "process_docs": "MARK"}
    text = yaml.safe_dump(task).replace("MARK", "!function first.half")
    (measured / "trusted.yaml").write_text(text)
    (measured / "first.py").write_text("def half(rows):\n    return rows.select(range(12))\n")
    argv = ("-m", "sftplay", "eval", "--run", "demo", "--tasks=trusted.yaml", "--trust-tasks")
    done = _run(python, *argv, cwd=measured)
    assert done.returncode == 0, done.stderr
    assert record(measured, "trusted")["rows"] == {"trusted": 12}


def test_the_runs_own_rows_as_a_task_give_the_answers_of_eval(
    measured: Path, python: Path, tmp_path: Path
) -> None:
    """Greedy answers in the run's template, by lm-eval's decoding and by ours."""
    import shutil

    project = tmp_path / "project"
    shutil.copytree(measured, project)
    argv = ("-m", "sftplay", "eval", "--run", "demo")
    place = "outputs/demo/eval/for-lm-eval/demo_test.yaml"
    for more in (
        ("--split=test",),
        ("--split=test", "--write-task"),
        (f"--tasks={place}", "--chat-template"),
    ):
        done = _run(python, *argv, *more, cwd=project)
        assert done.returncode == 0, done.stderr
    folder = project / "outputs/demo/eval"
    ours, theirs = (
        [json.loads(line) for line in (folder / name / "samples.jsonl").read_text().splitlines()]
        for name in ("test", "task-demo_test")
    )
    assert len(ours) == len(theirs) > 3
    for one, other in zip(ours, theirs, strict=True):
        for key in ("prompt", "reference", "base", "tuned"):
            assert one[key] == other[key], key


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_the_written_task_gives_lm_evals_own_command_the_figures_of_eval(
    measured: Path, python: Path, tiny_model: Path, tmp_path: Path, which: str
) -> None:
    """Somebody else has the two files and the model, and nothing of sftplay."""
    import shutil

    project, out = tmp_path / "project", tmp_path / "out"
    shutil.copytree(measured, project)
    for more in (("--split=test",), ("--split=test", "--write-task")):
        done = _run(python, "-m", "sftplay", "eval", "--run", "demo", *more, cwd=project)
        assert done.returncode == 0, done.stderr
    written = project / "outputs/demo/eval/for-lm-eval/demo_test.yaml"
    said = written.read_text().splitlines()[1].removeprefix("# lm_eval ").split()
    adapter = f",peft={measured}/outputs/demo/adapter" if which == "tuned" else ""
    model = f"pretrained={tiny_model}{adapter},dtype=float32"
    argv = [word.replace("pretrained=MODEL", model) for word in said]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in written.parent.iterdir():
        place = elsewhere / path.relative_to(project)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    more = ("--device", "cpu", "--output_path", str(out))
    done = _run(python, "-m", "lm_eval", *argv, *more, cwd=elsewhere, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    (results,) = out.rglob("results_*.json")
    theirs = json.loads(results.read_text())["results"]["demo_test"]
    ours = json.loads((project / "outputs/demo/eval/test/metrics.json").read_text())["metrics"]
    assert ours["chrf"][which] > 1
    assert theirs["chrf,none"] == pytest.approx(ours["chrf"][which], rel=1e-6)
    assert theirs["exact_match,none"] * 100 == pytest.approx(ours["exact_match"][which])


def test_a_group_in_a_file_of_ones_own(measured: Path, python: Path) -> None:
    """Its members' figures are those of the same tasks alone, and the group's is their mean."""
    second = {**CHOICE, "task": "clips_again", "doc_to_text": "{{q}}"}
    entry = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
    group = {"group": "both", "task": [CHOICE, second], "aggregate_metric_list": [entry]}
    plain = json.loads(json.dumps(group))  # without anchors
    (measured / "both.yaml").write_text(yaml.safe_dump(plain))
    (measured / "again.yaml").write_text(yaml.safe_dump(second))
    argv = ("-m", "sftplay", "eval", "--run", "demo", "--tasks=both.yaml,again.yaml")
    done = _run(python, *argv, cwd=measured)
    assert done.returncode == 0, done.stderr
    found = [record(measured, name)["metrics"]["acc,none"] for name in ("clips", "clips_again")]
    members = [
        record(measured, f"both-{name}")["metrics"]["acc,none"] for name in ("clips", "clips_again")
    ]
    assert members == found
    for which in ("base", "tuned"):
        mean = sum(one[which] for one in found) / 2
        assert record(measured, "both")["metrics"]["acc,none"][which] == pytest.approx(mean)


def test_a_name_that_lm_eval_does_not_have(measured: Path, python: Path) -> None:
    done = _run(python, "-m", "sftplay", "fetch", "--run", "demo", "--tasks=helaswag", cwd=measured)
    assert done.returncode == 66 and "hellaswag" in done.stderr, done.stderr
