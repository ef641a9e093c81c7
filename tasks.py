"""The menu. `python3 tasks.py NAME` works with Python alone; `inv NAME` afterwards, with .venv/bin on the PATH.

One task per thing a person does: its signature, one line, one call into sftplay/host. It is long because the menu is. Tasks of a stage take their options from
the stage table.
"""

import sys

if __name__ == "__main__":
    from sftplay.host import bootstrap

    code = bootstrap.enter(sys.argv[1:])
    if code is None:
        from sftplay.host import menu

        code = menu.main(sys.argv)
    sys.exit(code)

from invoke.collection import Collection
from invoke.context import Context

from sftplay.host.menu import adopt, only, task, whole_number
from sftplay.host.stagetask import stage_task

adopt()  # where `inv` reads this: wrong command lines end as they do here


@task(name="help")
def help_(c: Context) -> None:
    """What there is, in the order in which a person needs it."""
    from sftplay.host import guide

    guide.show(MENU)


@task(help={"dev": "the developer tools too (for test, lint and bench)"})
def install(c: Context, dev: bool = False) -> None:
    """Make the environments that stages run in (their first start would make them too)."""
    from sftplay.host import envs

    envs.install(dev=dev)


@task()
def setup_dirs(c: Context) -> None:
    """Make data/ and outputs/ with their folders."""
    from sftplay.host import folders

    folders.setup()


@task(help={"runner": "the runner you want to use: auto, docker or local", "json": "for programs"})
def doctor(c: Context, runner: str = "auto", json: bool = False) -> int:
    """Look at the machine: GPU, engine, disk, folders; what lacks, and what would run where."""
    from sftplay.host.doctor import report

    return report.run(runner=runner, as_json=json)


@task(
    help={"runs": "outputs/ too: every run with its weights", "envs": "the environments in .envs/", "yes": "do not ask"}
)
def clean(c: Context, runs: bool = False, envs: bool = False, yes: bool = False) -> int:
    """Remove generated data; shows sizes and asks first. Never data/raw."""
    from sftplay.host import clean as cleaning

    return cleaning.run(runs=runs, envs=envs, yes=yes)


@task(
    help={
        "config": "config file (default: configs/run_bnb.yaml)",
        "run": "name of the run (default: the config's)",
        "set": "change one value for this look, as in --set train.batch_size=8; may be repeated",
        "resume": "look at going on with a run that was stopped",
        "numerics": "instead: train each method and precision next to plain PyTorch on this machine (seconds)",
        "runner": "where --numerics runs: auto, docker or local",
    },
    iterable=["set_"],
)
def check(
    c: Context,
    config: str | None = None,
    run: str | None = None,
    set_: list[str] | None = None,
    resume: bool = False,
    numerics: bool = False,
    runner: str = "auto",
) -> int:
    """Look at config, data and machine before training: will it fit, and how long?"""
    from sftplay.host import estimate, stage

    if numerics:
        return stage.start("numerics", config=config, run=run, overrides=set_ or (), runner=runner)

    return estimate.check(config=config, run=run, overrides=set_ or (), resume=resume)


process = stage_task("process", "Read data/raw in any known format, check it, split it.")
style = stage_task("style", "Put a style prompt into every conversation's system turn.")
render = stage_task("render", "Apply the chat template: pairs of input and target.")
tokenize = stage_task("tokenize", "Turn rendered rows into ids and labels (train does it where needed).")
data_show = stage_task("show", "Print rows as the model sees them, trained text in colour.")
fetch = stage_task("fetch", "Bring the model and hub datasets into the cache (stages that need them do so themselves).")


@task(
    help={
        "style": "the style prompt (default: the config's style.prompt; none: the step is skipped)",
        "config": "config file (default: configs/run_bnb.yaml)",
        "set": "change one config value; may be repeated",
        "runner": "auto, docker or local",
    },
    iterable=["set_"],
)
def full_pipeline(
    c: Context,
    style: str | None = None,
    config: str | None = None,
    set_: list[str] | None = None,
    runner: str = "auto",
) -> int:
    """Do process, style and render in one go."""
    from sftplay.host import stage

    return stage.start_pipeline(style=style, config=config, overrides=set_ or (), runner=runner)


train = stage_task("train", "Fine-tune; brings missing or stale data stages up to date first.")
train_bnb = stage_task("train", "Fine-tune with BitsAndBytes.", name="train-bnb", overrides=["backend=bnb"])
train_bnb_tb = stage_task(
    "train",
    "Start TensorBoard, leave it running, and fine-tune with BitsAndBytes.",
    name="train-bnb-tb",
    overrides=["backend=bnb"],
    tensorboard=True,
)
train_unsloth = stage_task(
    "train",
    "Fine-tune with Unsloth; where it cannot run, BnB goes on.",
    name="train-unsloth",
    overrides=["backend=unsloth"],
)
train_unsloth_tb = stage_task(
    "train",
    "Start TensorBoard and fine-tune with Unsloth; where it cannot run, BnB goes on.",
    name="train-unsloth-tb",
    overrides=["backend=unsloth"],
    tensorboard=True,
)

evaluate = stage_task("eval", "Loss, perplexity and text metrics on the val split, base against tuned.")
eval_test = stage_task("eval", "Evaluate on the test split.", name="eval-test", fixed=["--split=test"])
eval_quick = stage_task(
    "eval", "Evaluate on 200 rows of the val split.", name="eval-quick", fixed=["--split=val", "--samples=200"]
)
eval_full = stage_task("eval", "Evaluate on val and test, every row.", name="eval-full", fixed=["--split=all"])

infer = stage_task("infer", "Chat with the tuned model; --prompt for one answer, --base for the model before training.")
infer_interactive = stage_task(
    "infer",
    "Chat: history, streamed tokens, /reset, /system, /exit.",
    name="infer-interactive",
    without=["prompt", "input", "output"],
)
infer_batch = stage_task(
    "infer",
    "Answer a file of prompts (txt or jsonl) into a jsonl file; goes on where it was stopped.",
    name="infer-batch",
    without=["prompt"],
    required="input",
)
merge = stage_task("merge", "Make one model folder out of base and adapter, with a proof that they agree.")


@task(
    help={
        "port": "port on 127.0.0.1 (default: the config's tensorboard.port, 6006)",
        "run": "only this run (default: all of outputs/)",
        "runner": "auto, docker or local",
    }
)
def tensorboard(c: Context, port: str | None = None, run: str | None = None, runner: str = "auto") -> None:
    """Show the training curves: TensorBoard in the background on 127.0.0.1."""
    from sftplay.host import tensorboard as board

    board.start(port=whole_number("--port", port), run=run, runner=runner)


@task()
def stop_tb(c: Context) -> None:
    """Stop the TensorBoard that sftplay started, and nothing else."""
    from sftplay.host import tensorboard as board

    board.stop()


@task()
def ps(c: Context) -> None:
    """What runs here, in containers and without: trainings that nobody watches too."""
    from sftplay.host import ps as processes

    processes.show()


@task(words="runs", help={"runs": "the run to stop (default: the one that runs)", "all": "everything, TensorBoard too"})
def stop(c: Context, runs: list[str], all: bool = False) -> int:
    """Stop a training, with a checkpoint: `inv stop RUN`."""
    from sftplay.host import ps as processes

    return processes.stop(runs, everything=all)


@task(
    help={
        "yes": "ask nothing, take the defaults",
        "config": "config file (default: configs/quickstart.yaml)",
        "style": "a style prompt for every answer",
        "set": "change one config value; may be repeated",
    },
    iterable=["set_"],
)
def quickstart(
    c: Context,
    yes: bool = False,
    config: str | None = None,
    style: str | None = None,
    set_: list[str] | None = None,
) -> int:
    """From nothing to a tuned model: guided, every step explained."""
    from sftplay.host import quickstart as guided

    return guided.run(yes=yes, config=config, style=style, overrides=set_ or ())


@task(
    help={
        "long": "the long tests too (minutes each)",
        "docker": "the tests that start containers too (an engine and the cpu image are needed)",
        "python": "only the host part, on this Python (a version such as 3.13, or a path)",
        "args": "more for pytest, as one word: --args='-k process -x'",
    }
)
def test(c: Context, long: bool = False, docker: bool = False, python: str | None = None, args: str = "") -> int:
    """Run the tests (developers)."""
    from sftplay.host import develop
    from sftplay.host.dev import host_tests

    if python is not None:
        return host_tests.run(python, args=args)
    return develop.test(long=long, docker=docker, args=args)


@task(
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


@task(help={"build-only": "build into site/ and stop", "port": "port on 127.0.0.1 (default: 8000)"})
def docs(c: Context, build_only: bool = False, port: str | None = None) -> int:
    """Build the documentation and serve it on 127.0.0.1 (developers)."""
    from sftplay.host.dev import docs as documentation

    return documentation.run(build_only=build_only, port=whole_number("--port", port))


@task(
    help={
        "stacks": "two of bnb, unsloth, cpu; the same one twice shows how far it is from itself",
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
    from sftplay.host import parity as twins

    count = whole_number("--steps", steps) or 0
    return twins.compare_stacks(stacks, steps=count, config=config, overrides=set_ or (), runners=runner)


@task(
    help={
        "what": "data, train, step, eval, infer, start, end-to-end, or all",
        "gpu": "train: with the stacks of a GPU machine",
        "write": "put the tables into docs/benchmarks.md",
        "args": "more for it, as one word: --args='--rounds 3'",
    }
)
def bench(c: Context, what: str, gpu: bool = False, write: bool = False, args: str = "") -> int:
    """Measure, beside what one would use otherwise (developers)."""
    from sftplay.host import develop

    return develop.bench(what, args=" ".join([*(["--gpu"] if gpu else []), *(["--write"] if write else []), args]))


@task(help={"output": "file to write (default: the screen)"})
def schema(c: Context, output: str | None = None) -> None:
    """The config's JSON schema, for editors."""
    from sftplay.host import schema as schemas

    schemas.write(output)


@task(
    help={"config": "show this config's values (default: every key's default)", "set": "change one value"},
    iterable=["set_"],
)
def show(c: Context, config: str | None = None, set_: list[str] | None = None) -> None:
    """Every config key with its help and value, as YAML that can be run."""
    from sftplay.host import schema as schemas

    schemas.show(config, set_ or ())


@task(
    help={
        "name": "uv, build, host, host-test, cpu, bnb, unsloth, dev, llamafactory, or all",
        "upgrade": "take the newest versions",
    }
)
def lock(c: Context, name: str, upgrade: bool = False) -> None:
    """Make an environment's lock from its list of wanted packages (developers)."""
    from sftplay.host import locks

    locks.make(name, upgrade=upgrade)


@task(
    help={
        "file": "the batch file (default: configs/batch.yaml); where it is missing, a template is written",
        "dry-run": "say what would run, and why",
        "stop-on-error": "end at the first experiment that fails (else the rest goes on)",
        "yes": "do not ask, however many experiments there are",
        "runner": "auto, docker or local",
        "device": "auto, cuda or cpu, for every experiment",
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
) -> int:
    """Many datasets and experiments with one command; started again, it goes on."""
    from sftplay.host import batch as batches

    return batches.run(file, dry_run=dry_run, stop_on_error=stop_on_error, yes=yes, runner=runner, device=device)


@task(
    words="runs",
    help={
        "runs": "name of the run",
        "batch": "a batch file, instead of a run",
        "output": "the file to write (default: report.html in the folder of the run or batch)",
    },
)
def report(c: Context, runs: list[str], batch: str | None = None, output: str | None = None) -> None:
    """One HTML file to look at: curves, data, metrics, answers before and after, settings."""
    from sftplay.host import report as reports

    reports.write(only(runs), batch=batch, output=output)


@task(help={"run": "name of the run", "first": "stop after so many logged losses (else the whole training)"})
def replay(c: Context, run: str, first: str | None = None) -> int:
    """The same training again, from the run folder alone: does it come out the same?"""
    from sftplay.host import replay as replays

    return replays.run(run, first=whole_number("--first", first))


@task()
def status(c: Context) -> None:
    """What runs now: step, loss, tokens per second, time left."""
    from sftplay.host import live

    live.status()


@task(help={"run": "name of the run", "follow": "go on printing until the training ends"}, short=True)
def logs(c: Context, run: str, follow: bool = False) -> int:
    """A run's log; -f follows it."""
    from sftplay.host import live

    return live.logs(run, follow=follow)


@task(name="list", help={"json": "as JSON, for programs"})
def runs_list(c: Context, json: bool = False) -> None:
    """Every run: state, backend, model, steps, losses, time, size."""
    from sftplay.host import runlist

    runlist.show(as_json=json)


@task(name="show", help={"run": "name of the run"})
def runs_show(c: Context, run: str) -> None:
    """One run: what trained it, from what, how it went."""
    from sftplay.host import rundetail

    rundetail.show(run)


@task(
    name="compare",
    words="runs",
    help={"runs": "two or more runs", "output": "the page with the curves (default: outputs/compare-A-B.html)"},
)
def runs_compare(c: Context, runs: list[str], output: str | None = None) -> None:
    """Runs side by side: what differs in config and stamp, metrics, curves in one picture."""
    from sftplay.host import runcompare

    runcompare.compare(runs, output)


@task(name="rm", words="runs", help={"runs": "one run or more", "yes": "do not ask"})
def runs_rm(c: Context, runs: list[str], yes: bool = False) -> int:
    """Remove runs; shows sizes and asks first."""
    from sftplay.host import runremove

    return runremove.run(runs, yes=yes)


STACKS = "any of cpu, bnb, unsloth (default: all)"


@task(
    name="build",
    words="names",
    help={
        "names": STACKS,
        "base": "an image that is here, instead of the pinned base",
        "again": "also where today's image is here already",
        "no-verify": "do not run it: it stays without its tag",
    },
)
def image_build(
    c: Context, names: list[str], base: str | None = None, again: bool = False, no_verify: bool = False
) -> int:
    """Build a stack's image, run it, and give it its tag."""
    from sftplay.host.images import build

    return build.run(names, base=base, again=again, verify=not no_verify)


@task(name="check", words="names", help={"names": STACKS})
def image_check(c: Context, names: list[str]) -> int:
    """Say whether the images here are fresh, and if not, what has changed since."""
    from sftplay.host.images import state

    return state.check(names)


@task(name="verify", help={"name": "cpu, bnb or unsloth"})
def image_verify(c: Context, name: str) -> int:
    """Run an image: libraries, two training steps, resume, merge, an answer."""
    from sftplay.host.images import verification

    return verification.run(name)


@task(
    name="push",
    words="names",
    help={
        "names": STACKS,
        "registry": "host (and path) to push to (default: SFTPLAY_REGISTRY, else as before)",
        "unpinned": "also an image on another base than the pinned one",
    },
)
def image_push(c: Context, names: list[str], registry: str | None = None, unpinned: bool = False) -> int:
    """Publish today's verified images; their digests go into images/published.lock."""
    from sftplay.host.images import registry as registries

    return registries.push(names, registry=registry, unpinned=unpinned)


@task(name="pull", words="names", help={"names": "any of cpu, bnb, unsloth (default: all that are published)"})
def image_pull(c: Context, names: list[str]) -> int:
    """Bring published images by digest, verify them, and give them their tags."""
    from sftplay.host.images import registry as registries

    return registries.pull(names)


@task(name="sbom", help={"name": "cpu, bnb or unsloth", "output": "file to write (default: the screen)"})
def image_sbom(c: Context, name: str, output: str | None = None) -> None:
    """Write a stack's bill of materials (CycloneDX, JSON), from its lock."""
    from sftplay.host.images import sbom

    sbom.write(name, output)


@task(name="ls")
def image_ls(c: Context) -> None:
    """List the images of sftplay that are here."""
    from sftplay.host.images import state

    state.show()


@task(name="prune", help={"everything": "today's images too", "yes": "do not ask"})
def image_prune(c: Context, everything: bool = False, yes: bool = False) -> int:
    """Remove images that today's checkout does not use; asks first."""
    from sftplay.host.images import state

    return state.prune(everything=everything, yes=yes)


MENU = {
    "Start here": (help_, quickstart, doctor, install, setup_dirs, check),
    "Data": (process, style, render, full_pipeline, tokenize),
    "Model": (
        *(fetch, train, train_bnb, train_bnb_tb, train_unsloth, train_unsloth_tb),
        *(evaluate, eval_test, eval_quick, eval_full, infer, infer_interactive, infer_batch, merge),
    ),
    "Many runs": (batch, report, replay, status, logs),
    "Around it": (tensorboard, stop_tb, ps, stop, clean),
    "Developers": (test, lint, docs, bench, parity),
}
namespace = Collection(*(entry for group in MENU.values() for entry in group))
namespace.default = "help"  # no task named
namespace.add_collection(Collection("config", schema, show))
namespace.add_collection(Collection("data", data_show))
namespace.add_collection(
    Collection(
        "image",
        *(image_build, image_check, image_verify, image_push, image_pull),
        *(image_ls, image_prune, image_sbom, lock),
    )
)
runs = Collection("runs", runs_show, runs_compare, runs_rm)
runs.add_task(runs_list, default=True)  # `inv runs`
namespace.add_collection(runs)
