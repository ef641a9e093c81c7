"""Steps of the guided first run, each the task of its name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.files import human_size
from sftplay.freshness import read_stamp
from sftplay.host.containers import available
from sftplay.host.containers.available import AvailableImages
from sftplay.host.local import active, environments
from sftplay.host.quickstart import sample_data
from sftplay.host.quickstart.session import (
    GuidedSession,
    SessionEnded,
    command_for,
    print_heading,
    run_step,
)
from sftplay.host.runs import samples
from sftplay.host.runs.history import MatchingRun, find_run
from sftplay.host.select import choose
from sftplay.host.ui import prompt
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.settings import DataSettings
from sftplay.stages import BY_NAME
from sftplay.tuning_method import choose_method


@dataclass(frozen=True)
class StyleChoice:
    """The style prompt (empty: none), and render's options: `no_style` where older styled data must
    not count.
    """

    prompt: str
    options: Mapping[str, bool] = field(default_factory=dict)


def environment(session: GuidedSession) -> None:
    """Step 2: the packages that the stages run with."""
    print_heading(2, "the packages that the stages run with", "inv install")
    alone = choose.needs_no_engine("auto", active.named())
    shelf = AvailableImages() if alone else available.find()
    wanted = choose.choose_stack(BY_NAME["train"], session.settings, session.machine, shelf.present)
    runner = choose.choose_runner("auto", wanted.value, shelf, active.named())
    if runner.value == active.NAME:
        backend = session.settings.backend
        made = active.environment(backend, backend, wanted.value)
        console.success(f"stages run in your own Python: {made.python}")
        return
    if runner.value != "local":
        console.success(f"stages run in containers: {runner.reason}")
        return
    stack = choose.choose_stack(
        BY_NAME["train"], session.settings, session.machine, environments.present()
    )
    if stack.value not in environments.present() and session.asking:
        console.info(
            f"the {stack.value} stack ({stack.reason}) is not installed: {environments.STACKS[stack.value].download}"
        )
        if not prompt.ask_yes_no("Install it now?", default=True):
            console.info("nothing was installed; next: inv install, then quickstart again")
            raise SessionEnded(0)
    console.success(
        f"the {stack.value} stack is there: {environments.ensure(stack.value).folder.name}"
    )


def data(session: GuidedSession) -> None:
    """Step 3: the person's files, or the sample."""
    print_heading(3, "the data")
    if session.settings.data.sources != DataSettings().sources:
        console.info(f"data in the config: {', '.join(session.settings.data.sources)}")
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


def style(session: GuidedSession) -> StyleChoice:
    """Step 5: a style prompt, where one is wanted."""
    stamp = read_stamp(data_folder("processed_with_style", session.settings))
    there = str(stamp.options.get("style") or "") if stamp else ""
    default = there or session.settings.style.prompt or ""
    print_heading(5, "an optional style prompt for every conversation", 'inv style --style "…"')
    wanted = default if session.style is None else session.style
    if session.asking and session.style is None:
        keep = f"Enter keeps “{default}”, a dash: none" if default else "Enter: none"
        wanted = prompt.ask_text(
            f"Style prompt, for example: Answer in one short sentence. ({keep})", default
        )
    if wanted in ("", "-"):
        console.info("no style prompt")
        return StyleChoice("", {"no_style": True} if stamp else {})
    run_step(session.call("style", {"style": wanted}))
    return StyleChoice(wanted)


def render(session: GuidedSession, style: StyleChoice) -> None:
    """Step 6: the chat template."""
    title = "apply the model's chat template: what is trained, and what is only read"
    if session.asking and not style.options:
        print_heading(6, title, command_for(session.call("render")))
        if not prompt.ask_yes_no("Do it now? (else train does it itself)", default=True):
            return
        run_step(session.call("render"))
    else:
        run_step(session.call("render", style.options), 6, title)


def train(session: GuidedSession) -> Run:
    """Step 7: train, continue an interrupted run, or find that this has been trained already."""
    found = _find(session)
    device = choose.choose_device(session.settings, session.machine).value
    method = choose_method(session.settings, device)
    title = f"train {session.settings.model.name} with {method.value}"
    if found.state == "finished":
        print_heading(7, title, command_for(session.call("train", target=found.run)))
        console.success(
            f"the run {found.run.name} has been trained on just this data, with just this config: nothing to do"
        )
        return found.run
    if found.state == "new" and session.settings.run.name != found.run.name:
        console.info(
            f"the run {session.settings.run.name} is another one (other data or config): this one is {found.run.name}"
        )
    run_step(session.call("train", {"resume": found.resume}, found.run), 7, title)
    return found.run


def _find(session: GuidedSession) -> MatchingRun:
    """The run to work on. Only a name that is taken costs a look at the tokenized data."""
    assert session.settings.run.name is not None  # load_config fills it in
    first = Run(session.settings.run.name)
    if not first.has_begun():
        return MatchingRun(first, "new")
    run_step(session.call("tokenize"))
    stamp = read_stamp(data_folder("tokenized", session.settings))
    return find_run(session.settings, stamp.facts["values_hash"]["train"] if stamp else "")


def evaluate(session: GuidedSession, target: Run) -> None:
    """Step 8: loss and answers, base against tuned."""
    title = "evaluate: the model before and after, on rows that it was not trained on"
    try:
        samples.read(target, session.settings)
    except NotFoundError:
        run_step(session.call("eval", target=target), 8, title)
        return
    print_heading(8, title, command_for(session.call("eval", target=target)))
    console.success(f"evaluated already: {target.eval('val')}")


def only_sample(session: GuidedSession) -> bool:
    """True if the rows are those of the sample, trained with the default settings."""
    return (
        session.settings.data.sources == DataSettings().sources
        and sample_data.FILE.exists()
        and not sample_data.own_files()
    )


def next_steps(target: Run, style: str) -> None:
    """Print the commands that come next."""
    system = (
        shlex.join(["--system", style]) if style else ""
    )  # it answers in the style that it was trained with
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
        console.info(
            f"your own data: put files into data/raw, rm {sample_data.FILE}, and start quickstart again"
        )
