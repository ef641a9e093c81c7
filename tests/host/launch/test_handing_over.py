"""The hand-over as a launcher does it: what counts, what does not, what is started in which order,
and that nothing loops.
"""

from __future__ import annotations

import signal
import time
from random import Random

import pytest

from sftplay.errors import SftplayError
from sftplay.handover import REASONS
from tests.host.launch.launcher import BNB, UNSLOTH, launch
from tests.host.standin import Project, wait_until


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason != "no_gpu"])
def test_every_reason_is_handed_over_once(
    project: Project, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(project, f"ask:79:{reason}") == 0
    assert project.start_lines() == [UNSLOTH, BNB]
    assert [project.record(f"start-00{n}.json")["stack"] for n in (1, 2)] == ["unsloth", "cpu"]
    said = capfd.readouterr().err
    assert said.count("Unsloth can't train here") == 1
    assert REASONS[reason] in said
    assert "as attempt 02-bnb in the cpu stack" in said


@pytest.mark.parametrize("code", [1, 134, 139])
def test_the_file_decides_and_the_code_is_a_hint(project: Project, code: int) -> None:
    assert launch(project, f"ask:{code}") == 0
    assert project.start_lines() == [UNSLOTH, BNB]


@pytest.mark.parametrize("code", [65, 66, 69, 74, 77, 78, 80, 81, 85, 130, 137, 143])
def test_other_failures_keep_their_code_and_start_nothing(project: Project, code: int) -> None:
    assert launch(project, str(code)) == code
    assert project.start_lines() == [UNSLOTH]


@pytest.mark.parametrize("code", [0, 85, 130, 137, 143])
def test_a_valid_file_of_a_stopped_training_counts_for_nothing(project: Project, code: int) -> None:
    assert launch(project, f"ask:{code}") == code
    assert project.start_lines() == [UNSLOTH]


@pytest.mark.parametrize(
    "what",
    [
        "nothing",
        "nonce",
        "run",
        "attempt",
        "target",
        "symlink",
        "fifo",
        "folder",
        "large",
        "torn",
        "nonsense",
    ],
)
def test_79_without_a_valid_file_is_70(project: Project, what: str) -> None:
    assert launch(project, f"ask:79:{what}") == 70
    assert project.start_lines() == [UNSLOTH]


def test_a_forged_file_changes_no_other_code(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(project, "ask:65:nonce") == 65
    assert project.start_lines() == [UNSLOTH]
    assert "not a valid hand-over" in capfd.readouterr().err


def test_a_file_of_an_earlier_start_is_not_believed(project: Project) -> None:
    assert launch(project, "ask:85") == 85  # stopped: its file stays behind
    old = (project.run / "attempts" / "01-unsloth" / "handover.json").read_text()
    (project.run / "attempts" / "02-unsloth").mkdir()
    (project.run / "attempts" / "02-unsloth" / "handover.json").write_text(old)
    assert launch(project, "79", resume=True) == 70
    assert project.starts() == 2


def test_the_second_backend_fails_with_its_own_code(project: Project) -> None:
    assert launch(project, "ask:79", bnb="65") == 65
    assert project.start_lines() == [UNSLOTH, BNB]


def test_bnb_can_hand_over_to_nobody(project: Project) -> None:
    assert launch(project, "ask:79", bnb="79") == 70
    assert project.start_lines() == [UNSLOTH, BNB]


def test_switched_off_79_is_final(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(project, "ask:79", enabled=False) == 79
    assert project.start_lines() == [UNSLOTH]
    assert "inv train-bnb" in capfd.readouterr().err


def test_after_many_steps_a_person_chooses(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(project, "ask:79:step51") == 79
    assert project.start_lines() == [UNSLOTH]
    said = capfd.readouterr().err
    assert "inv train-unsloth --run demo --resume" in said
    assert "inv train-bnb --run demo-2" in said


def test_up_to_max_lost_steps_it_goes_over(project: Project) -> None:
    assert launch(project, "ask:79:step50") == 0
    assert project.starts() == 2


def stamp(project: Project, attempt: str) -> None:
    folder = project.run / "attempts" / attempt
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "backend.json").write_text("{}")


def test_a_handed_over_run_resumes_in_the_backend_that_it_ended_in(project: Project) -> None:
    assert launch(project, "ask:79", bnb="85") == 85
    stamp(project, "02-bnb")
    assert launch(project, "0", resume=True) == 0
    assert project.start_lines()[2:] == ["train --run demo --resume"]
    assert project.record("start-003.json")["stack"] == "cpu"


def test_resume_repeats_a_hand_over_whose_attempt_never_began(project: Project) -> None:
    stamp(project, "01-unsloth")
    assert launch(project, "ask:79", resume=True) == 0
    (project.run / "starts").unlink()
    assert launch(project, "0", resume=True) == 0
    assert project.start_lines() == [BNB]


def test_a_mistake_mended_after_the_hand_over_goes_on_with_it(project: Project) -> None:
    assert launch(project, "ask:79", bnb="65", no_gpu="no NVIDIA GPU here") == 65
    assert launch(project, "ask:79", no_gpu="no NVIDIA GPU here") == 0
    assert project.start_lines() == [BNB, BNB]


def test_unsloth_is_gone_on_with_after_a_late_failure(project: Project) -> None:
    assert launch(project, "ask:79:step51") == 79
    stamp(project, "01-unsloth")
    with pytest.raises(SftplayError, match="already exists"):
        launch(project, "0")
    assert launch(project, "0", resume=True) == 0
    assert project.start_lines()[1:] == ["train --run demo --resume"]
    assert project.record("start-002.json")["stack"] == "unsloth"


def test_killed_between_79_and_the_relaunch_the_next_launcher_does_exactly_that(
    project: Project,
) -> None:
    first = project.start(mode="ask:79", backend="unsloth", STAND_IN_PAUSE="1")
    project.sees(first, b"begins")
    first.kill()
    wait_until((project.run / "launch" / "exit-001.json").exists, "exit record")
    second = project.start(mode="ask:79", backend="unsloth")
    assert project.ends(second) == 0
    assert project.start_lines() == [UNSLOTH, BNB]
    assert b"asked to be handed over" in project.terminal(second)


def test_after_ctrl_c_nothing_is_handed_over(project: Project) -> None:
    launcher = project.start(mode="ask:79", backend="unsloth", STAND_IN_PAUSE="3")
    project.sees(launcher, b"begins")
    time.sleep(0.3)
    launcher.send_signal(signal.SIGINT)
    assert project.ends(launcher) == 85
    assert project.start_lines() == [UNSLOTH]


@pytest.mark.parametrize(
    ("stamped", "again"), [(True, ()), pytest.param(False, ("--resume",), marks=pytest.mark.long)]
)
def test_stopped_between_the_request_and_the_next_stamp_the_next_start_goes_on(
    project: Project, stamped: bool, again: tuple[str, ...]
) -> None:
    first = project.start(
        mode="ask:79", backend="unsloth", STAND_IN_PAUSE="20", STAND_IN_STOPPED="143"
    )
    wait_until((project.run / "attempts" / "01-unsloth" / "handover.json").exists, "request")
    if stamped:  # it failed in its first steps
        stamp(project, "01-unsloth")
    first.send_signal(signal.SIGTERM)
    assert project.ends(first) == 143
    assert project.start_lines() == [UNSLOTH]
    assert b"the same command does that" in project.terminal(first)
    second = project.start(*again, bnb="run", backend="unsloth", STAND_IN_STOPPED="143")
    project.sees(second, b"step 1")
    second.send_signal(signal.SIGTERM)  # BnB has no stamp yet either
    assert project.ends(second) == 143
    assert launch(project, "0", bnb="85", resume=bool(again)) == 85
    assert project.start_lines() == [UNSLOTH, BNB, BNB]
    stamp(project, "02-bnb")
    assert launch(project, "0", resume=True) == 0
    assert project.start_lines()[3:] == ["train --run demo --resume"]


def kill_and_converge(project: Project, kills: int, seed: int) -> int:
    """Kill launchers of one handed-over training at random moments, then let one end it.

    Returns how many were killed.
    """
    random, killed = Random(seed), 0
    for _ in range(kills):
        launcher = project.start(mode="ask:79", bnb="run", backend="unsloth", STAND_IN_PAUSE="0.3")
        time.sleep(random.uniform(0.2, 2.5))
        killed += launcher.poll() is None
        launcher.kill()
        launcher.wait()
    (project.run).mkdir(parents=True, exist_ok=True)
    last = project.start(mode="ask:79", bnb="run", backend="unsloth", STAND_IN_PAUSE="0.3")
    wait_until(
        lambda: BNB in project.start_lines() or last.poll() is not None, "the second attempt"
    )
    (project.run / "enough").touch()
    assert project.ends(last) == 0, project.terminal(last).decode()
    assert project.start_lines() == [UNSLOTH, BNB]
    return killed


def test_launchers_killed_at_random_moments_converge(project: Project) -> None:
    assert kill_and_converge(project, 5, seed=7) >= 4


@pytest.mark.long  # 50 kills in ten trainings, some minutes
@pytest.mark.parametrize("seed", range(10))
def test_fifty_kills_converge(project: Project, seed: int) -> None:
    assert kill_and_converge(project, 5, seed=seed)
