"""Two ranks against one process: the same losses, gradients and weights; stops; failures. The ranks
are real trainings, forked by torch's real agent, that talk over gloo.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from sftplay.errors import BusyError
from sftplay.locks import share
from sftplay.model.training.several import refuse_while_ranks_save
from sftplay.runs import Run
from tests.box import Box, Ran, Started, wait_for

FORKED = "tests.faults:ranks_are_forked"
_BASE = ("train.batch_size=4", "lora.dropout=0", "train.max_steps=4", "train.save_steps=4")
# name: what differs from a LoRA training of 4 steps of 4 rows
TABLE: dict[str, tuple[str, ...]] = {
    "lora": (),
    "accumulation": ("train.batch_size=1", "train.gradient_accumulation_steps=4"),
    "accumulation of 4 × 4": ("train.gradient_accumulation_steps=4",),
    "full": ("train.method=full", "train.learning_rate=0.001"),
    "qlora": ("train.method=qlora", "train.learning_rate=0.001"),
    # 46 rows: the last step has 2, the second epoch begins anew; stopped by the val loss
    "last step, packing, early stopping": (
        "train.packing=true",
        "train.max_steps=null",
        "train.epochs=3",
        "train.learning_rate=0.05",
        "train.eval_steps=1",
        "train.early_stopping_patience=1",
    ),
    "full, packing": ("train.method=full", "train.learning_rate=0.001", "train.packing=true"),
    "qlora, accumulation": (
        "train.method=qlora",
        "train.learning_rate=0.001",
        "train.batch_size=1",
        "train.gradient_accumulation_steps=4",
    ),
}
EVERY_DAY = ("lora", "accumulation", "full", "qlora", "last step, packing, early stopping")


@dataclass(frozen=True)
class Trained:
    """What is compared of a run."""

    folder: Path

    @property
    def points(self) -> list[dict[str, Any]]:
        lines = (self.folder / "attempts/01-bnb/steps.jsonl").read_text().splitlines()
        return [point for line in lines if len(point := json.loads(line)) > 3]

    @property
    def weights(self) -> Any:
        (path,) = [
            *self.folder.glob("adapter/*.safetensors"),
            *self.folder.glob("model/*.safetensors"),
        ]
        return load_file(path)

    @property
    def record(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return value

    @property
    def trained_tokens(self) -> list[int]:
        log = (self.folder / "attempts/01-bnb/train.log").read_text()
        return [int(float(line.split()[0])) for line in log.split("trained_tokens=")[1:]]


def command(ranks: int, run: str, *sets: str) -> list[str]:
    values = (*_BASE, *sets, f"train.processes={ranks}")
    return [
        "train",
        "--config",
        "demo.yaml",
        "--run",
        run,
        *(w for v in values for w in ("--set", v)),
    ]


def train(box: Box, project: Path, ranks: int, run: str, *sets: str, **env: str) -> Ran:
    env = {"BOX_BREAK": FORKED, **env}
    return box.run(*command(ranks, run, *sets), cwd=project, **env)


def compare(one: Trained, other: Trained) -> None:
    assert len(one.points) == len(other.points) >= 3
    for left, right in zip(one.points, other.points, strict=True):
        assert left["step"] == right["step"]
        for key in ("loss", "grad_norm", "eval_loss", "learning_rate"):
            if key in left:
                assert right[key] == pytest.approx(left[key], rel=2e-6), (left["step"], key)
    assert one.trained_tokens == other.trained_tokens
    assert one.record["tokens"] == other.record["tokens"]
    assert one.record["steps"] == other.record["steps"]
    assert one.record["published"] == other.record["published"]
    left, right = one.weights, other.weights
    largest = max(float(weight.abs().max()) for weight in left.values())
    for name, weight in left.items():
        assert float((weight - right[name]).abs().max()) <= 1e-5 * max(largest, 1.0), name


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        *((name, 2) for name in EVERY_DAY),
        *(pytest.param(name, 2, marks=pytest.mark.long) for name in TABLE if name not in EVERY_DAY),
        *(pytest.param(name, 4, marks=pytest.mark.long) for name in TABLE),
    ],
)
def test_the_number_of_ranks_changes_no_number(
    project: Path, box: Box, name: str, ranks: int
) -> None:
    for count, run in ((1, "alone"), (ranks, "together")):
        ran = train(box, project, count, run, *TABLE[name])
        assert ran.code == 0, ran.err
    outputs = project / "outputs"
    compare(Trained(outputs / "alone"), Trained(outputs / "together"))
    if "early stopping" in name:
        assert Trained(outputs / "together").record["stopped_early"]
    stamp = json.loads((outputs / "together/backend.json").read_text())
    assert (stamp["world_size"], stamp["sharding"]) == (ranks, "none")
    assert stamp["engine"]["backend"] == "gloo"
    assert len(list((outputs / "together/tb/01-bnb").iterdir())) == 1
    assert not list((outputs / "together").glob("adapter/rng_state*"))


def stopped(box: Box, project: Path, run: str, whom: Callable[[Path, int], int]) -> Path:
    """Train until the third step, stop one process, and return the attempt's folder."""
    sets = ("train.max_steps=400", "train.save_steps=400", "train.logging_steps=1")
    started = box.start(*command(2, run, *sets), cwd=project, BOX_BREAK=FORKED)
    attempt = project / "outputs" / run / "attempts/01-bnb"
    wait_for_step(attempt / "steps.jsonl", 3)
    os.kill(whom(attempt, started.pid), signal.SIGTERM)
    ran = started.wait()
    assert ran.code == 85, ran.err
    return attempt


def wait_for_step(path: Path, step: int) -> None:
    wait_for(path, seconds=200)
    end = time.monotonic() + 200
    while len(path.read_text().splitlines()) < step:
        assert time.monotonic() < end
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Ranks of a front, in order of their start."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def of_front(attempt: Path, front: int) -> int:
    return front


def of_rank_one(attempt: Path, front: int) -> int:
    return children(front)[1]


@pytest.mark.parametrize("whom", [of_front, of_rank_one])
def test_a_stop_saves_one_step_and_a_resume_goes_on_to_the_byte(
    project: Path, box: Box, whom: Callable[[Path, int], int]
) -> None:
    attempt = stopped(box, project, "demo", whom)
    records = [json.loads(path.read_text()) for path in sorted(attempt.glob("ranks/00?.json"))]
    assert {record["code"] for record in records} == {85} and len(records) == 2
    (saved,) = (attempt / "checkpoints").glob("checkpoint-*")
    step = int(saved.name.removeprefix("checkpoint-"))
    assert {record["step"] for record in records} == {step}


def test_a_stop_that_comes_during_the_exchange_is_obeyed_by_all(project: Path, box: Box) -> None:
    ran = train(
        *(box, project, 2, "demo", "train.max_steps=40", "train.ddp_timeout=60"),
        BOX_BREAK="tests.faults:rank_one_is_stopped_while_it_tells_the_others",
    )
    assert ran.code == 85, ran.err
    # it was after step 3, and the others hear of it after the next one
    assert ends_of_ranks(project / "outputs/demo") == [(85, 4)] * 2


def test_a_stop_that_comes_after_the_last_step_ends_no_rank(project: Path, box: Box) -> None:
    ran = train(
        *(box, project, 2, "demo", *TABLE["last step, packing, early stopping"]),
        *("train.max_steps=40", "train.ddp_timeout=60"),
        BOX_BREAK="tests.faults:rank_one_is_stopped_when_the_val_loss_ends_the_training",
    )
    assert ran.code == 0, ran.err
    record = Trained(project / "outputs/demo").record
    assert record["stopped_early"] and record["steps"] < 40
    assert ends_of_ranks(project / "outputs/demo") == [(0, record["steps"])] * 2


def ends_of_ranks(run: Path) -> list[tuple[int, int]]:
    """Exit code and last step of each rank."""
    paths = sorted(run.glob("attempts/01-bnb/ranks/00?.json"))
    records = [json.loads(path.read_text()) for path in paths]
    return [(record["code"], record["step"]) for record in records]


def test_resume_is_byte_equal_and_resharding_goes_on(project: Path, box: Box) -> None:
    sets = ("train.save_steps=2", "lora.dropout=0.1")
    assert train(box, project, 2, "whole", *sets).code == 0
    assert train(box, project, 2, "demo", *sets).code == 0
    whole, demo = project / "outputs/whole", project / "outputs/demo"
    for part in ("adapter", "attempts/01-bnb/checkpoints/checkpoint-4"):
        shutil.rmtree(demo / part)
    shutil.copytree(demo, project / "outputs/other")
    resumed = box.run("train", "--run", "demo", "--resume", cwd=project, BOX_BREAK=FORKED)
    assert resumed.code == 0, resumed.err
    name = "adapter/adapter_model.safetensors"
    assert (whole / name).read_bytes() == (demo / name).read_bytes()
    for rank in (0, 1):
        state = f"attempts/01-bnb/checkpoints/checkpoint-4/rng_state_{rank}.pth"
        assert (whole / state).read_bytes() == (demo / state).read_bytes()
    again = ("train", "--run", "demo", "--resume", "--set", "train.processes=1")
    refused = box.run(*again, cwd=project)
    assert refused.code == 76 and "world_size: 2 → 1" in refused.err, refused.err
    other = ("train", "--run", "other", "--resume", "--set", "train.processes=1", "--reshard")
    resharded = box.run(*other, cwd=project)
    assert resharded.code == 0 and "no longer byte-identical" in resharded.err, resharded.err


def start_slow(box: Box, project: Path, run: str, **env: str) -> tuple[Started, Path]:
    sets = ("train.max_steps=4000", "train.save_steps=4000", "train.logging_steps=1")
    started = box.start(*command(2, run, *sets), cwd=project, **{"BOX_BREAK": FORKED, **env})
    attempt = project / "outputs" / run / "attempts/01-bnb"
    wait_for_step(attempt / "steps.jsonl", 2)
    return started, attempt


def assert_gone(pids: list[int], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_rank_ends_the_job(project: Path, box: Box) -> None:
    started, attempt = start_slow(box, project, "demo")
    ranks = children(started.pid)
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    ran = started.wait()
    # of forked ranks the agent reports only the first that ended: the killed one, or the one that
    # lost it; tests/model/ranks/test_front.py has real processes
    assert ran.code in (137, 69), ran.err
    assert time.monotonic() - began < 120  # not the ten minutes of a lost peer
    assert_gone(ranks)
    assert json.loads((attempt / "ranks/result.json").read_text())["code"] == ran.code


def test_ranks_save_and_leave_when_their_front_is_killed(project: Path, box: Box) -> None:
    started, attempt = start_slow(box, project, "demo")
    ranks = children(started.pid)
    os.kill(started.pid, signal.SIGKILL)
    assert_gone(ranks)
    assert started.wait().code == -9
    assert list((attempt / "checkpoints").glob("checkpoint-*/manifest.json"))
    records = [json.loads(path.read_text()) for path in attempt.glob("ranks/00?.json")]
    assert [record["code"] for record in records] == [85, 85]


def test_nobody_starts_while_ranks_still_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run("demo")
    refuse_while_ranks_save(run)
    with share(run.ranks_lock), share(run.ranks_lock), pytest.raises(BusyError, match="saving"):
        refuse_while_ranks_save(run)
    refuse_while_ranks_save(run)


def test_a_rank_that_fails_gives_its_code_and_message(project: Path, box: Box) -> None:
    ran = train(box, project, 2, "demo", BOX_BREAK="tests.faults:rank_one_runs_out_of_memory")
    assert ran.code == 81, ran.err
    assert "rank 1: out of GPU memory" in ran.err and "halve train.batch_size" in ran.err


@pytest.mark.long  # waits for two timeouts of ten seconds
def test_a_rank_that_is_slow_is_named(project: Path, box: Box) -> None:
    ran = train(
        *(box, project, 2, "demo", "train.ddp_timeout=10"),
        BOX_BREAK="tests.faults:rank_one_hangs",
    )
    assert ran.code == 69 and "rank 1 did not answer" in ran.err, ran.err


def test_a_backend_that_fails_in_a_rank_is_handed_over_once(project: Path, box: Box) -> None:
    ran = box.run(
        *("train", "--config", "demo.yaml", "--set", "backend=unsloth"),
        cwd=project,
        BOX_BREAK="tests.faults:unsloth_breaks_in_two_ranks",
        SFTPLAY_NONCE="abc",
    )
    assert ran.code == 79, ran.err
    attempt = project / "outputs/demo/attempts/01-unsloth"
    asked = json.loads((attempt / "handover.json").read_text())
    assert (asked["nonce"], asked["phase"], asked["reason"]) == ("abc", "train", "kernel")
    records = [json.loads(path.read_text()) for path in attempt.glob("ranks/00?.json")]
    assert 79 in {record["code"] for record in records}
    events = (project / "outputs/demo/events.jsonl").read_text()
    assert events.count("handed over") == 1


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (("train.processes=3",), "processes that would do: 1, 2, 4"),
        (("train.shard=full", "train.method=qlora"), "does not work with `method: qlora`"),
        (("train.processes=2", "backend=unsloth"), "Unsloth trains with one process"),
        (("train.processes=2", "train.shard=full"), "requires GPUs"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_written(
    project: Path, box: Box, sets: tuple[str, ...], said: str
) -> None:
    words = [word for value in ("train.batch_size=4", *sets) for word in ("--set", value)]
    ran = box.run("train", "--config", "demo.yaml", *words, cwd=project)
    assert ran.code == 78 and said in ran.err, ran.err
    assert not (project / "outputs/demo/config.yaml").exists()
