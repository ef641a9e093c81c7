"""A stage's variables: what passes, what is left out, and what is said of it."""

from __future__ import annotations

import pytest

from sftplay.environment import compose, drop_training_settings, left_out

PERSON = {
    "PATH": "/bin",
    "HOME": "/home/ada",
    "LC_ALL": "C.UTF-8",
    "CUDA_VISIBLE_DEVICES": "1",
    "OMP_NUM_THREADS": "3",
    "EDITOR": "vi",
    "HF_TOKEN": "hf_secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "https_proxy": "http://proxy",
    "HF_ENDPOINT": "https://hub",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "OMPI_COMM_WORLD_SIZE": "4",
    "TORCH_LOGS": "all",
    "PYTHONSTARTUP": "x.py",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def test_a_stage_gets_what_is_listed_and_no_secret() -> None:
    passed = {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"}
    assert compose(PERSON, network=False).keys() == passed
    assert compose(PERSON, network=True).keys() == passed | {"https_proxy", "HF_ENDPOINT"}


def test_only_what_could_have_mattered_is_named() -> None:
    named = left_out(PERSON, compose(PERSON, network=True))
    assert named == [
        "ACCELERATE_MIXED_PRECISION",
        "OMPI_COMM_WORLD_SIZE",
        "PYTHONSTARTUP",
        "TORCH_LOGS",
    ]


@pytest.mark.parametrize(("size", "kept"), [("", False), ("1", False), ("2", True)])
def test_a_stage_started_by_hand_drops_settings_of_a_training(size: str, kept: bool) -> None:
    environ = {"WORLD_SIZE": size, "MASTER_ADDR": "host", "FSDP_VERSION": "2", "PATH": "/bin"}
    drop_training_settings(environ)
    assert ("MASTER_ADDR" in environ, environ["PATH"]) == (kept, "/bin")


AGENT = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}


def test_a_rank_keeps_what_its_agent_set_and_nothing_else() -> None:
    environ = {**AGENT, "SFTPLAY_PLAN": "plan.json", "ACCELERATE_MIXED_PRECISION": "bf16"}
    drop_training_settings(environ)
    assert environ == {**AGENT, "SFTPLAY_PLAN": "plan.json"}


def test_variables_of_ranks_do_not_reach_a_stage() -> None:
    assert compose({**AGENT, "SFTPLAY_PLAN": "plan.json"}, network=True) == {}
