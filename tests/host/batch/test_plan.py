"""Actions of a batch: each state of an experiment and of its data has one."""

from __future__ import annotations

from pathlib import Path

from sftplay.config import dump_config
from sftplay.files import write_json
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.plan import data_key, data_steps, decide
from sftplay.locks import hold
from sftplay.runs import Run
from tests.host.experiments import begun
from tests.host.runfolders import write_eval


def test_every_state_has_its_action(three: dict[str, Experiment]) -> None:
    a = three["a"]
    assert decide(a, ["val"]).action == "train"
    run = begun(a, finished=False)
    assert decide(a, ["val"]).action == "resume"
    assert "step 10/20" in decide(a, ["val"]).reason
    with hold(run.run_lock, who="a trainer"):
        assert decide(a, ["val"]).action == "watch"
    run = begun(three["b"])
    assert decide(three["b"], ["val"]).action == "evaluate"
    assert decide(three["b"], []).action == "skip"
    write_eval(run)
    assert decide(three["b"], ["val"]).action == "skip"
    assert decide(three["b"], ["val", "test"]).reason == "trained; not evaluated on test"


def test_a_run_that_is_something_else_is_left_alone(three: dict[str, Experiment]) -> None:
    run = begun(three["a"])
    run.config.write_text(dump_config(three["b"].settings))
    step = decide(three["a"], [])
    assert (step.action, "train.learning_rate" in step.reason) == ("refuse", True)
    run.config.unlink()
    assert decide(three["a"], []).action == "refuse"


def test_a_run_on_other_rows_is_left_alone(three: dict[str, Experiment]) -> None:
    begun(three["a"])
    write_json(
        Path("data/tokenized_rows/stamp.json"),
        {
            "stage": "tokenize",
            "source": "",
            "section": {},
            "facts": {"values_hash": {"train": "sha256:new"}},
        },
    )
    assert "other rows" in decide(three["a"], []).reason


def test_killed_before_its_first_step_it_begins_anew(three: dict[str, Experiment]) -> None:
    run = Run("a")
    (run.folder / "attempts/01-bnb").mkdir(parents=True)
    (run.folder / "attempts/01-bnb/train.log").touch()
    assert decide(three["a"], []).action == "train"


def test_data_is_made_again_when_files_or_settings_change(three: dict[str, Experiment]) -> None:
    experiments = list(three.values())
    (step,) = data_steps(experiments, {})
    assert step.reason == "data/processed_rows is not made yet"
    for kind in ("processed", "rendered", "tokenized"):
        write_json(Path(f"data/{kind}_rows/stamp.json"), {})
    known = {"rows": step.key}
    assert [one.reason for one in data_steps(experiments, known)] == [""]
    Path("data/raw/b.jsonl").write_text("{}")
    assert [one.reason for one in data_steps(experiments, known)] == [
        "its files or its settings changed"
    ]
    before = data_key(three["a"].settings)
    assert (
        data_key(three["b"].settings) == before
    )  # what shapes the training does not shape the rows
