"""Tests, lint, benchmarks, comparison of two stacks; `config.*`."""

from __future__ import annotations

from invoke.context import Context

from sftplay.host.cli.task import task, whole_number


@task(
    developer=True,
    help={
        "long": "the long tests too (minutes each)",
        "docker": "the tests that start containers too (requires an engine and the cpu image)",
        "acceptance": "the first run with the real model too (about two minutes)",
        "faults": "only the tests of faults that docs/reliability.md lists",
        "python": "only the host part, on this Python (a version such as 3.13, or a path)",
        "args": "more for pytest, as one word: --args='-k process -x'",
    },
)
def test(
    c: Context,
    long: bool = False,
    docker: bool = False,
    acceptance: bool = False,
    faults: bool = False,
    python: str | None = None,
    args: str = "",
) -> int:
    """Run the tests (developers)."""
    from sftplay.host.dev import host_tests, tools

    if python is not None:
        return host_tests.run(python, args=args)
    return tools.test(long=long, docker=docker, acceptance=acceptance, faults=faults, args=args)


@task(
    developer=True,
    help={
        "only": "one check: style, format, types, layers, spelling or links; may be repeated (default: all)",
        "fix": "repair what can be repaired",
    },
    iterable=["only"],
)
def lint(c: Context, only: list[str] | None = None, fix: bool = False) -> int:
    """Check style, types, layers, spelling and links (developers)."""
    from sftplay.host.dev import lint as linting

    return linting.run(only or (), fix=fix)


@task(
    developer=True,
    iterable=["lock"],
    help={"lock": "one lock, by its name in image.lock; may be repeated (default: all)"},
)
def audit(c: Context, lock: list[str] | None = None) -> int:
    """Compare the locks with published vulnerabilities (developers)."""
    from sftplay.host.dev import audit as auditing
    from sftplay.host.dev.lockfiles import chosen

    return auditing.run([name for one in lock or () for name in chosen(one)])


@task(
    developer=True,
    help={
        "what": "data, train, step, ranks, eval, infer, serve, start, end-to-end, batch, memory, house (figures of the code), or all",
        "gpu": "train: with the stacks of a GPU machine",
        "write": "write the tables to docs/benchmarks.md",
        "args": "more for it, as one word: --args='--rounds 3'",
    },
)
def bench(c: Context, what: str, gpu: bool = False, write: bool = False, args: str = "") -> int:
    """Measure, compared with other tools (developers)."""
    from sftplay.host.dev import tools

    return tools.bench(
        what, args=" ".join([*(["--gpu"] if gpu else []), *(["--write"] if write else []), args])
    )


@task(
    help={
        "stacks": "two of bnb, unsloth, cpu; the same one twice measures its own variation",
        "runner": "local or docker for both, or one for each: local,docker",
        "steps": "optimizer steps that are compared",
        "config": "config file (default: configs/run_bnb.yaml)",
        "set": "change one config value; may be repeated",
    },
    iterable=["set_"],
)
def parity(
    c: Context,
    stacks: str = "bnb,unsloth",
    runner: str = "local",
    steps: str = "10",
    config: str | None = None,
    set_: list[str] | None = None,
) -> int:
    """Train the same steps in two stacks and compare loss, gradient norm and trained tokens."""
    from sftplay.host.runs import parity as twins

    count = whole_number("--steps", steps) or 0
    return twins.compare_stacks(
        stacks, steps=count, config=config, overrides=set_ or (), runners=runner
    )


@task(help={"output": "file to write (default: the screen)"})
def schema(c: Context, output: str | None = None) -> None:
    """The config's JSON schema, for editors."""
    from sftplay.host.dev import schema as schemas

    schemas.write(output)


@task(
    help={
        "config": "show this config's values (default: every key's default)",
        "set": "change one value",
    },
    iterable=["set_"],
)
def show(c: Context, config: str | None = None, set_: list[str] | None = None) -> None:
    """Every config key with its help and value, as YAML that can be run."""
    from sftplay.host.dev import schema as schemas

    schemas.show(config, set_ or ())
