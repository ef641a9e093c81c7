"""`inv runs`, runs.show, runs.compare, runs.rm: through the menu, on run folders of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.host.runs import table as run_table
from tests.host.conftest import RunTask
from tests.host.runfolders import write_eval, write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_five_hundred_runs_are_listed_and_a_damaged_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = write_run("run-000", steps=1000)
    write_eval(first)
    for number in range(1, 500):
        shutil.copytree(first.folder, f"outputs/run-{number:03}")
    Path("outputs/run-250/events.jsonl").write_bytes(b"\x00" * 100)
    run_table.show()
    out, err = capsys.readouterr()
    assert out.count("smollm2-135m-instruct") == 500
    assert "12.5 → 40.0" in out
    assert "run-250: events.jsonl: 1 line not readable" in err


def test_tasks_of_lm_eval_have_a_column_where_a_run_has_some(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_run("a")
    write_run("b")
    run_table.show()
    assert "tasks" not in capsys.readouterr().out
    record = {
        "rows": {"arc": 40},
        "metrics": {
            "acc,none": {"base": 0.25, "tuned": 0.5, "difference_interval": [0.1, 0.4]},
            "bits,none": {"base": 1e9, "tuned": 2.0, "difference_interval": [-2e9, -1e8]},
        },
    }
    for name, kept in (("arc", "acc,none"), ("arc-limit-5", "acc,none"), ("wiki", "bits,none")):
        metrics = {kept: {**record["metrics"][kept], "lower_is_better": name == "wiki"}}
        record["settings"] = {"limit": 5 if name.endswith("5") else None}
        path = run.task(name) / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**record, "metrics": metrics}))
    run_table.show()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("tasks")
    assert "arc acc 0.25 → 0.50, wiki bits 1.00e+09 → 2.00" in lines[2]


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_eval(write_run("a", handed_over=True))
    write_run("b", finished=False)
    run_table.show(as_json=True)
    a, b = json.loads(capsys.readouterr().out)
    assert (a["run"], a["state"], a["requested_backend"], a["backend"]) == (
        "a",
        "finished",
        "unsloth",
        "bnb",
    )
    assert a["metrics"]["val"]["rouge_l"]["tuned"] == 40.0
    assert (b["state"], b["steps"], b["metrics"]) == ("cut off", 10, {})


def test_the_menu_takes_several_names_and_one(
    checkout: Path, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    for name, rate in (
        ("a", 0.001),
        ("b", 0.002),
        ("eval", 0.003),
    ):  # a run may be called like a task
        write_run(name, rate=rate)
    done = run_task("runs")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:5]] == [
        [n, "finished"] for n in ("a", "b", "eval")
    ]
    done = run_task("runs.compare", "a", "b", "eval", "--output", "c.html")
    assert done.returncode == 0, done.stderr
    assert (
        "0.001" in done.stdout and "0.002" in done.stdout and "train.learning_rate" in done.stdout
    )
    assert (checkout / "c.html").is_file()
    assert run_task("runs.show", "nobody").returncode == 66
    assert run_task("runs.show").returncode == 2
    assert run_task("runs.rm", "a").returncode == 2  # nobody to ask
    assert run_task("runs.rm", "a", "eval", "--yes").returncode == 0
    assert [path.name for path in (checkout / "outputs").iterdir()] == ["b"]
