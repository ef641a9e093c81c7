"""The guided first run: from an empty folder to a tuned model, each step with the command that does it alone.

Asks only where somebody can answer, and every question has a default. A step that fails ends it with that step's code;
started again, it looks at what is there: an interrupted run goes on, a finished one on the same data is shown again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sftplay import console
from sftplay.cli import make_job
from sftplay.errors import NotFoundError, StorageError
from sftplay.files import human_size, read_json
from sftplay.freshness import read_stamp
from sftplay.host.containers import available, folders
from sftplay.host.local import environments
from sftplay.host.quickstart import sample_data
from sftplay.host.quickstart.tour import Ended, Tour, command_for, head, run_stage
from sftplay.host.runs import samples
from sftplay.host.runs.history import Found, find_run
from sftplay.host.select import choose
from sftplay.host.system import machine
from sftplay.host.ui import prompt
from sftplay.host.ui.format import show_duration
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.settings import DataSettings
from sftplay.stages import BY_NAME

CONFIG = "configs/quickstart.yaml"
BETTER_BY = 0.1  # of the base's val loss: less is no clear gain, even for a few steps
SAMPLE_LOSS = (
    1.2  # nats per token on the sample's val rows, reached by the defaults on processors with and without bf16
)
NEEDED_DISK = 500_000_000  # bytes besides the environment: the model in the cache, the data, the run


@dataclass(frozen=True)
class Style:
    """The style prompt (empty: none), and render's options: `--no-style` where older styled data must not count."""

    prompt: str
    options: tuple[str, ...] = ()


def run(
    *, yes: bool = False, config: str | None = None, style: str | None = None, overrides: Sequence[str] = ()
) -> int:
    """Walk through all steps.

    Args:
        yes: ask nothing, take the defaults.
        style: style prompt; default: what the person says, else the one that the data has, else the config's.

    Returns:
        0, or the exit code of the step that failed.
    """
    began = time.monotonic()
    asking = not yes and prompt.somebody_is_there()
    try:
        tour = _folder(config or CONFIG, tuple(overrides), style, asking=asking)
        _environment(tour)
        _data(tour)
        run_stage(tour, 4, "process", "read the data, check it, split it into train, val and test")
        styled = _style(tour)
        _render(tour, styled)
        target = _train(tour)
        _evaluate(tour, target)
    except Ended as end:
        return end.code
    samples.show(target, tour.settings)
    for doubt in learned_too_little(target, only_sample=_only_sample(tour)):
        console.warning(doubt)
    console.success(f"done in {show_duration(time.monotonic() - began)}: the run is in {target.folder}")
    _next_steps(target, styled.prompt)
    return 0


def _folder(config: str, overrides: tuple[str, ...], style: str | None, *, asking: bool) -> Tour:
    """Step 1: config, machine, free space, folders."""
    head(1, "look at the folder", "inv setup-dirs")
    console.info("`inv NAME` is .venv/bin/inv; `python3 tasks.py NAME` does the same")
    settings = make_job(config, None, overrides, {}).settings
    facts = machine.look()
    machine.require_supported(facts)
    gpu = facts.nvidia[0] if facts.has_gpu else "no GPU"
    console.info(f"{facts.cores} cores, {human_size(facts.memory)} memory, {gpu}, {human_size(facts.free_disk)} free")
    if facts.free_disk < NEEDED_DISK:
        raise StorageError(
            f"the disk is nearly full: {human_size(facts.free_disk)} free, {human_size(NEEDED_DISK)} wanted",
            todo="free some space, then start quickstart again",
        )
    folders.setup()
    return Tour(config, overrides, settings, facts, asking, style)


def _environment(tour: Tour) -> None:
    """Step 2: the packages that the stages run with."""
    head(2, "the packages that the stages run with", "inv install")
    shelf = available.look()
    wanted = choose.choose_stack(BY_NAME["train"], tour.settings, tour.facts, shelf.present)
    runner = choose.choose_runner("auto", wanted.value, shelf)
    if runner.value != "local":
        console.success(f"stages run in containers: {runner.reason}")
        return
    stack = choose.choose_stack(BY_NAME["train"], tour.settings, tour.facts, environments.present())
    if stack.value not in environments.present() and tour.asking:
        console.info(
            f"the {stack.value} stack ({stack.reason}) is not installed: {environments.STACKS[stack.value].download}"
        )
        if not prompt.yes("Install it now?", default=True):
            console.info("nothing was installed; next: inv install, then quickstart again")
            raise Ended(0)
    console.success(f"the {stack.value} stack is there: {environments.ensure(stack.value).folder.name}")


def _data(tour: Tour) -> None:
    """Step 3: the person's files, or the sample."""
    head(3, "the data")
    if tour.settings.data.raw != DataSettings().raw:
        console.info(f"data.raw in the config: {tour.settings.data.raw}")
        return
    written = sample_data.write_if_empty()
    if written:
        console.success(
            f"data/raw was empty: {written} sample rows are in {sample_data.FILE} (a help desk with one voice)"
        )
        return
    own = sample_data.own_files()
    for path in own:
        console.info(f"{path}  {human_size(path.stat().st_size)}")
    if own and sample_data.FILE.exists():
        console.warning(f"the sample rows are used too; without them: rm {sample_data.FILE}")
    elif not own:
        console.info(f"the sample rows: {sample_data.FILE}")


def _style(tour: Tour) -> Style:
    """Step 5: a style prompt, where one is wanted."""
    stamp = read_stamp(data_folder("processed_with_style", tour.settings))
    there = str(stamp.options.get("style") or "") if stamp else ""
    default = there or tour.settings.style.prompt or ""
    head(5, "a style prompt that every conversation gets, if you want one", 'inv style --style "…"')
    wanted = default if tour.style is None else tour.style
    if tour.asking and tour.style is None:
        keep = f"Enter keeps “{default}”, a dash: none" if default else "Enter: none"
        wanted = prompt.text(f"Style prompt, for example: Answer in one short sentence. ({keep})", default)
    if wanted in ("", "-"):
        console.info("no style prompt")
        return Style("", ("--no-style",) if stamp else ())
    run_stage(tour, None, "style", "", [f"--style={wanted}"])
    return Style(wanted)


def _render(tour: Tour, style: Style) -> None:
    """Step 6: the chat template."""
    title = "apply the model's chat template: what is trained, and what is only read"
    if tour.asking and not style.options:
        head(6, title, command_for(tour, "render"))
        if not prompt.yes("Do it now? (else train does it itself)", default=True):
            return
        run_stage(tour, None, "render", "")
    else:
        run_stage(tour, 6, "render", title, style.options)


def _train(tour: Tour) -> Run:
    """Step 7: train, go on with an interrupted run, or find that this has been trained already."""
    found = _find(tour)
    title = f"train {tour.settings.model.name} with {tour.settings.train.method}"
    if found.state == "finished":
        head(7, title, command_for(tour, "train", found.run))
        console.success(
            f"the run {found.run.name} has been trained on just this data, with just this config: nothing to do"
        )
        return found.run
    if found.state == "new" and tour.settings.run.name != found.run.name:
        console.info(
            f"the run {tour.settings.run.name} is another one (other data or config): this one is {found.run.name}"
        )
    run_stage(tour, 7, "train", title, found.options, found.run)
    return found.run


def _find(tour: Tour) -> Found:
    """The run to work on. Only a name that is taken costs a look at the tokenized data."""
    assert tour.settings.run.name is not None  # load_config fills it in
    first = Run(tour.settings.run.name)
    if not first.has_begun():
        return Found(first, "new")
    run_stage(tour, None, "tokenize", "")
    stamp = read_stamp(data_folder("tokenized", tour.settings))
    return find_run(tour.settings, stamp.facts["values_hash"]["train"] if stamp else "")


def _evaluate(tour: Tour, target: Run) -> None:
    """Step 8: loss and answers, base against tuned."""
    title = "evaluate: the model before and after, on rows that it was not trained on"
    try:
        samples.read(target, tour.settings)
    except NotFoundError:
        run_stage(tour, 8, "eval", title, [], target)
        return
    head(8, title, command_for(tour, "eval", target))
    console.success(f"evaluated already: {target.eval('val')}")


def _only_sample(tour: Tour) -> bool:
    return tour.settings.data.raw == DataSettings().raw and sample_data.FILE.exists() and not sample_data.own_files()


def learned_too_little(target: Run, *, only_sample: bool) -> list[str]:
    """Return what speaks against the training, judged by the loss on rows that it was not trained on.

    Args:
        only_sample: the rows are the sample's, of which the loss is known that the defaults reach.
    """
    loss = read_json(target.eval("val") / "metrics.json")["metrics"]["loss"]
    base, tuned = float(loss["base"]), float(loss["tuned"])
    look = (
        f"look at the loss curve (inv report {target.name}), at the arithmetic of this machine (inv check --numerics),"
        " and at what is trained (inv data.show); more steps: --set train.max_steps=100"
    )
    if not tuned <= (1 - BETTER_BY) * base:
        return [f"the tuned model is hardly better than the base: val loss {tuned:.2f} against {base:.2f}; {look}"]
    if only_sample and tuned > SAMPLE_LOSS:
        said = f"val loss {tuned:.2f}; with the default settings the sample rows reach less than {SAMPLE_LOSS:g}"
        return [f"the tuned model learned less than it should: {said}; {look}"]
    return []


def _next_steps(target: Run, style: str) -> None:
    system = shlex.join(["--system", style]) if style else ""  # it answers in the style that it was trained with
    lines = {
        f"inv infer-interactive --run {target.name} {system}".rstrip(): "talk to it (--base: to the model before)",
        f"inv eval --run {target.name}": f"evaluate it again; report: {target.eval('val') / 'report.md'}",
        f"inv report {target.name}": "curves, data, metrics and answers on one page",
        f"inv merge --run {target.name}": "one model folder that transformers loads",
        "inv tensorboard": "the training curves",
        "inv check": "what a longer training would take, with configs/run_bnb.yaml",
        "inv train": "that training",
    }
    console.info("next steps:")
    for command, what in lines.items():
        console.info(f"  {command:{min(max(map(len, lines)), 40)}}  {what}")
    if sample_data.FILE.exists():
        console.info(f"your own data: put files into data/raw, rm {sample_data.FILE}, and start quickstart again")
