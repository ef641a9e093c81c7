"""The tasks `gpu.*`."""

from __future__ import annotations

from invoke.context import Context

from sftplay.host.cli.task import task, whole_number


@task(
    name="accept",
    help={
        "device": "cuda; cpu runs the same steps with small amounts, as a trial",
        "minutes": "stop after so many minutes; the least important steps come last (default: 10)",
        "out": "file for the result (default: outputs/.accept/result.json)",
        "model": "folder of a real model (default: random weights, made here)",
        "runner": "auto, docker, local or active",
        "config": "config file, for its backend (default: configs/run_bnb.yaml)",
        "set": "change one config value, as in --set backend=unsloth; may be repeated",
    },
    iterable=["set_"],
)
def gpu_accept(
    c: Context,
    device: str = "cuda",
    minutes: str | None = None,
    out: str | None = None,
    model: str | None = None,
    runner: str = "auto",
    config: str | None = None,
    set_: list[str] | None = None,
) -> int:
    """Prove a machine in ten minutes: numerics, both backends, memory, speed; nothing is fetched."""
    from sftplay.host.acceptance import command

    return command.run(
        device=device,
        minutes=whole_number("--minutes", minutes),
        out=out,
        model=model,
        runner=runner,
        config=config,
        overrides=set_ or (),
    )


@task(
    name="compare",
    words="file",
    help={
        "file": "the new result",
        "old": "the earlier one (default: the newest of the same GPU and stack in docs/gpu)",
    },
)
def gpu_compare(c: Context, file: list[str] | None = None, old: str | None = None) -> int:
    """Compare two results of gpu.accept: failed rows, and losses of tokens/s over 10 %."""
    from sftplay.errors import UsageError
    from sftplay.host.acceptance import command
    from sftplay.host.cli.task import only

    new = only(file or ())
    if new is None:
        raise UsageError("gpu.compare requires a result", todo="inv gpu.compare result.json")
    return command.compare(new, old)
