"""`inv runs`, runs.show, runs.compare, runs.rm: through the menu, on run folders of every kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sftplay.host.runs import compare, detail, remove
from sftplay.host.runs import table as run_table
from sftplay.host.runs.view import require_run
from sftplay.locks import hold
from tests.browser import look_at, needs_browser
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


def test_one_run_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", handed_over=True)
    write_eval(run)
    run.events.write_text(run.events.read_text() + "garbage\n")
    (run.launch).mkdir()
    (run.launch / "start-001.json").write_text("{}")
    detail.show("a")
    out, err = capsys.readouterr()
    for words in (
        "a: finished",
        "unsloth → bnb",
        "from 01-unsloth: no_gpu",
        "learning_rate 0.001",
        "rouge_l",
        "garbage",
        "torch",
    ):
        assert words in out
    assert "1 line not readable" in err
    assert "last start" in out


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


def test_a_run_that_is_held_is_left_and_the_others_go(capsys: pytest.CaptureFixture[str]) -> None:
    busy, idle = write_run("busy"), write_run("idle")
    with hold(busy.run_lock, who="a trainer"):
        assert remove.run(["busy"], yes=True) == 75
        said = capsys.readouterr().err
        assert "left: outputs/busy" in said
        assert "next: inv stop busy" in said
        assert "✓" not in said
        assert remove.run(["busy", "idle"], yes=True) == 75
        assert "✓ removed" in capsys.readouterr().err
    assert busy.config.is_file()
    assert not idle.folder.exists()


def test_compared_runs_differ_where_they_differ_and_nowhere_else() -> None:
    views = [
        require_run(write_run(name, rate=rate).name) for name, rate in (("a", 0.001), ("b", 0.002))
    ]
    assert compare.differences(views) == [["train.learning_rate", "0.001", "0.002"]]
    views[1] = require_run(write_run("c", data_hash="sha256:other", versions={"torch": "9"}).name)
    assert compare.differences(views) == [
        ["versions.torch", "2.13.0", "9"],
        ["data_hash", "sha256:d", "sha256:other"],
    ] or compare.differences(views) == [
        ["data_hash", "sha256:d", "sha256:other"],
        ["versions.torch", "2.13.0", "9"],
    ]


def test_styles_that_the_data_has_are_compared_also_where_the_config_says_nothing() -> None:
    for name, prompt in (("a", "Speak like a pirate."), ("b", "Answer in rhyme.")):
        run = write_run(name)
        record = json.loads(run.record.read_text())
        run.record.write_text(
            json.dumps({**record, "style": {"prompt": prompt, "mode": "prepend"}})
        )
    views = [require_run(name) for name in ("a", "b")]
    assert compare.differences(views) == [
        ["style.prompt", "Speak like a pirate.", "Answer in rhyme."]
    ]


def test_an_optimizer_is_named_as_in_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a")
    record = json.loads(run.record.read_text())
    record["effective"] = {
        **record.get("effective", {}),
        "optimizer": "OptimizerNames.ADAMW_TORCH_FUSED",
    }
    run.record.write_text(json.dumps(record))
    detail.show("a")
    out = capsys.readouterr().out
    assert "adamw_torch_fused" in out
    assert "OptimizerNames" not in out


def test_a_broken_run_is_compared_as_far_as_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a")
    broken = write_run("b")
    broken.config.write_text("a: [")
    broken.stamp.write_text("{")
    shutil.rmtree(broken.folder / "attempts")
    compare.compare(["a", "b"])
    assert "b: backend.json: not valid JSON" in capsys.readouterr().err
    assert Path("outputs/compare-a-b.html").is_file()


@needs_browser
def test_the_comparison_fits_a_phone(tmp_path: Path) -> None:
    for number in range(5):
        write_eval(write_run(f"a-run-with-a-rather-long-name-{number}", rate=0.001 * (number + 1)))
    compare.compare([f"a-run-with-a-rather-long-name-{number}" for number in range(5)], "c.html")
    for look in look_at(Path("c.html"), tmp_path / "browser", (360, 1280)):
        assert (look.scroll <= look.width, look.wide, look.pictures) == (True, [], 2)


def test_removing_a_link_leaves_what_it_points_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = write_run("real")
    Path("outputs/real").rename(tmp_path / "kept")
    Path("outputs/real").symlink_to(tmp_path / "kept")
    assert remove.run(["real"], yes=True) == 0
    assert not elsewhere.folder.is_symlink()
    assert (tmp_path / "kept" / "run.json").is_file()
    assert "only the link goes" in capsys.readouterr().err


def test_links_inside_a_run_are_not_followed(tmp_path: Path) -> None:
    run = write_run("a")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (run.folder / "link").symlink_to(tmp_path / "precious")
    assert remove.run(["a"], yes=True) == 0
    assert not run.folder.exists()
    assert (tmp_path / "precious" / "file").exists()


def test_a_run_that_trains_is_not_removed(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("busy", finished=False)
    with hold(run.run_lock, who="a trainer"):
        assert remove.run(["busy"], yes=True) == 75
    assert run.stamp.is_file()
    assert "left" in capsys.readouterr().err
