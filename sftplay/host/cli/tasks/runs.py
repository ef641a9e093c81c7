"""Many runs: batches, reports, replays, TensorBoard, trackio; what runs now and how to stop it; `runs.*`."""

from __future__ import annotations

from invoke.context import Context

from sftplay.host.cli.task import only, port_number, task, whole_number


@task(
    help={
        "file": "the batch file (default: configs/batch.yaml); if it is missing, a template is written",
        "dry-run": "say what would run, and why",
        "stop-on-error": "stop at the first experiment that fails (otherwise the others continue)",
        "yes": "do not ask, however many experiments there are",
        "runner": "auto, docker, local or active",
        "device": "auto, cuda or cpu, for every experiment",
        "only": "this experiment and no other; its data is not made",
        "engine": "where experiments run: local, slurm (one array job) or ray",
        "submit": 'more words for sbatch, for example "--partition=gpu --time=8:00:00"',
        "address": "HOST:PORT of Ray's first agent",
    }
)
def batch(
    c: Context,
    file: str | None = None,
    dry_run: bool = False,
    stop_on_error: bool = False,
    yes: bool = False,
    runner: str = "auto",
    device: str | None = None,
    only: str | None = None,
    engine: str = "local",
    submit: str = "",
    address: str | None = None,
) -> int:
    """Run many datasets and experiments; run it again to continue."""
    from sftplay.host.batch import command as batches

    return batches.run(
        file,
        dry_run=dry_run,
        stop_on_error=stop_on_error,
        yes=yes,
        runner=runner,
        device=device,
        only=only,
        engine=engine,
        submit=submit,
        address=address,
    )


@task(
    words="run",
    help={
        "run": "name of the run (default: the one that trains now, else the newest)",
        "batch": "a batch file, instead of a run",
        "output": "the file to write (default: report.html in the folder of the run or batch)",
    },
)
def report(
    c: Context, run: list[str] | None = None, batch: str | None = None, output: str | None = None
) -> None:
    """Write one HTML file: curves, data, metrics, answers before and after, settings."""
    from sftplay.host.report import command as reports

    reports.write(only(run or []), batch=batch, output=output)


@task(
    help={
        "run": "name of the run",
        "first": "stop after so many logged losses (else the whole training)",
    }
)
def replay(c: Context, run: str, first: str | None = None) -> int:
    """The same training again, from the run folder alone: does it come out the same?"""
    from sftplay.host.runs import replay as replays

    return replays.run(run, first=whole_number("--first", first))


@task()
def status(c: Context) -> None:
    """Show what runs now: step, loss, tokens per second, time left."""
    from sftplay.host.runs import live

    live.status()


@task(
    words="run",
    help={
        "run": "name of the run (default: the one that trains now, else the newest)",
        "follow": "continue printing until the training ends",
        "rank": "output of this rank of a training in several processes (default: 0, the run's log)",
    },
    short=True,
)
def logs(
    c: Context, run: list[str] | None = None, follow: bool = False, rank: str | None = None
) -> int:
    """A run's log; -f follows it."""
    from sftplay.host.runs import logs as run_logs

    number = whole_number("--rank", rank) or 0
    if number:
        return run_logs.show_rank(only(run or []), number)
    return run_logs.show(only(run or []), follow=follow)


@task(
    help={
        "port": "port on 127.0.0.1 (default: the config's tensorboard.port, 6006)",
        "run": "only this run (default: all of outputs/)",
        "runner": "auto, docker, local or active",
    }
)
def tensorboard(
    c: Context, port: str | None = None, run: str | None = None, runner: str = "auto"
) -> None:
    """Show the training curves: TensorBoard in the background on 127.0.0.1."""
    from sftplay.host.runs import tensorboard as board

    board.start(port=port_number("--port", port), run=run, runner=runner)


@task()
def stop_tb(c: Context) -> None:
    """Stop the TensorBoard that sftplay started, and nothing else."""
    from sftplay.host.runs import tensorboard as board

    board.stop()


@task(
    help={
        "port": "port on 127.0.0.1 (default: 7860)",
        "run": "only this run, whatever its train.trackers (default: every run that names trackio)",
    }
)
def trackio(c: Context, port: str | None = None, run: str | None = None) -> None:
    """Show runs in trackio, from their records: a page in the background on 127.0.0.1, no container."""
    from sftplay.host.runs import trackio as page

    page.start(port=port_number("--port", port), run=run)


@task()
def stop_trackio(c: Context) -> None:
    """Stop the trackio that sftplay started, and nothing else."""
    from sftplay.host.runs import trackio as page

    page.stop()


@task(
    words="names",
    help={
        "names": "the run, and the repository: RUN OWNER/NAME",
        "merged": "the merged model instead of the adapter",
        "gguf": "the GGUF files instead of the adapter",
        "private": "a repository that only you and those you invite can see",
        "yes": "do not ask",
        "runner": "auto, docker or local",
    },
)
def push(
    c: Context,
    names: list[str] | None = None,
    merged: bool = False,
    gguf: bool = False,
    private: bool = False,
    yes: bool = False,
    runner: str = "auto",
) -> int:
    """Publish a run on the Hugging Face hub: `inv push RUN OWNER/NAME`; shows it and asks first."""
    from sftplay.host.runs import push as publishing

    return publishing.run(
        names or [], merged=merged, gguf=gguf, private=private, yes=yes, runner=runner
    )


@task(words="run", help={"run": "the run whose server is to stop (default: every server)"})
def stop_serve(c: Context, run: list[str] | None = None) -> int:
    """Stop what `inv serve` started; answers that are being written end first."""
    from sftplay.host.runs import ps as processes

    return processes.stop_servers(run or [])


@task()
def ps(c: Context) -> None:
    """List what runs, in containers and without, also trainings that no terminal watches."""
    from sftplay.host.runs import ps as processes

    processes.show()


@task(
    words="run",
    help={
        "run": "the run to stop (default: the one that runs)",
        "all": "everything, TensorBoard and trackio too",
    },
)
def stop(c: Context, run: list[str] | None = None, all: bool = False) -> int:
    """Stop a training, with a checkpoint: `inv stop RUN`."""
    from sftplay.host.runs import ps as processes

    return processes.stop(run or [], everything=all)


@task(name="list", help={"json": "as JSON, for programs"})
def runs_list(c: Context, json: bool = False) -> None:
    """Every run: state, backend, model, steps, losses, time, size."""
    from sftplay.host.runs import table as run_table

    run_table.show(as_json=json)


@task(name="show", help={"run": "name of the run"})
def runs_show(c: Context, run: str) -> None:
    """One run: what trained it, from what, how it went."""
    from sftplay.host.runs import detail

    detail.show(run)


@task(
    name="compare",
    words="run",
    help={
        "run": "two or more runs",
        "output": "the page with the curves (default: outputs/compare-A-B.html)",
    },
)
def runs_compare(c: Context, run: list[str] | None = None, output: str | None = None) -> None:
    """Runs side by side: what differs in config and stamp, metrics, curves in one picture."""
    from sftplay.host.runs import compare

    compare.compare(run or [], output)


@task(name="rm", words="run", help={"run": "one run or more", "yes": "do not ask"})
def runs_rm(c: Context, run: list[str] | None = None, yes: bool = False) -> int:
    """Remove runs; shows sizes and asks first."""
    from sftplay.host.runs import remove

    return remove.run(run or [], yes=yes)
