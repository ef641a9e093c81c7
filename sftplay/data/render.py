"""Stage `render`: the chat template applied to processed (or styled) rows, in pairs of `input` and
`target`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data import process, style
from sftplay.data.blocks import blocks
from sftplay.data.findings import todos
from sftplay.data.output import hash_of, lost_file, marks, new_files, require_rows, source_of
from sftplay.data.parallel import ordered_map, worker_count
from sftplay.data.progress import ProgressBar, progress
from sftplay.data.rendering.additions import count_additions
from sftplay.data.rendering.advice import traits_with_advice
from sftplay.data.rendering.leaks import Leaks
from sftplay.data.rendering.probe import TemplateTraits
from sftplay.data.rendering.report import Counts, facts_of, report_of
from sftplay.data.rendering.rows import RenderSettings, render_block
from sftplay.data.rendering.template import TEMPLATE_FILE, ChatTemplate
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.report_page import write_page
from sftplay.data.tokenizing.tokenizer import TokenizerFacts, read_tokenizer
from sftplay.errors import DataError
from sftplay.files import write_json, write_text
from sftplay.freshness import DataStamp, read_stamp, section_of, why_stale
from sftplay.kept_values import given_values, refreshed
from sftplay.places import SPLITS, data_folder, find_model
from sftplay.settings import Settings
from sftplay.stages import Job

FILES = tuple(f"{split}.jsonl" for split in SPLITS)
REJECTS, REPORT = "rejects.jsonl", "report.json"
SECTION = (
    "data.turns",
    "data.eot",
    "data.chat_template",
    "data.generation_prompt",
    "data.system_unsupported",
    "data.special_tokens_in_text",
)


def source_folder(job: Job) -> Path:
    """Return the folder whose rows are rendered: the styled one where it is there, unless
    --no-style.
    """
    styled = data_folder("processed_with_style", job.settings)
    wants_style = not job.options.get("no_style")
    return (
        styled
        if wants_style and (styled / FILES[0]).is_file()
        else data_folder("processed", job.settings)
    )


def freshness(job: Job) -> str | None:
    """Explain why rows have to be rendered again; None where data/rendered is current."""
    folder = data_folder("rendered", job.settings)
    stamp = read_stamp(folder)
    if stamp is None:
        return "not made yet"
    job = refreshed(job, "render", stamp)
    source = source_folder(job)
    tokenizer = read_tokenizer(find_model(job.settings))
    section = _section(job, choose_template(job.settings.data, tokenizer), tokenizer)
    if stamp.facts.get("from") != source.name:
        return f"its rows come from {source} now"
    return lost_file(folder, stamp) or why_stale(
        stamp, "render", source_of(source, FILES, read_stamp(source)), section
    )


def run(job: Job) -> None:
    """Render every split into data/rendered.

    Raises:
        DataError: rows that can't be rendered, with places and what to do; nothing is replaced then
            (65).
        NotFoundError: no processed rows, no model (66).
    """
    settings, source = job.settings, source_folder(job)
    require_rows(source, FILES, todo="process the raw rows first: inv process")
    _warn_if_stale(job, source)
    tokenizer = read_tokenizer(find_model(settings))
    template = choose_template(settings.data, tokenizer)
    section, read = _section(job, template, tokenizer), source_of(source, FILES, read_stamp(source))
    if template.uses_date:
        template = ChatTemplate(template.source, template.named, datetime.now().date().isoformat())
    traits = traits_with_advice(template, tokenizer, settings.data.eot)
    console.info(f"end of turn: {traits.eot.value!r} ({traits.eot.reason})")
    folder = data_folder("rendered", settings)
    with new_files(folder, "render") as tmp:
        recipe = render_settings(settings, template, traits, tokenizer)
        counts = _render_files(recipe, source, tmp, settings.data.workers)
        _judge(
            counts, settings.data.max_reject_share, keep_rejects=lambda: _keep_rejects(tmp, folder)
        )
        count_additions(template, traits, counts.without_system, counts.findings)
        if job.options.get("strict"):
            counts.findings.refuse_warnings()
        write_text(tmp / TEMPLATE_FILE, template.source)
        write_json(tmp / REPORT, report_of(counts))
        files = marks(tmp, (*FILES, TEMPLATE_FILE))
        DataStamp(
            stage="render",
            source=read,
            section=section,
            **given_values(job, SECTION, ["no_style"]),
            output=hash_of(files),
            facts={
                **facts_of(template, traits, tokenizer, counts, style.style_in(source)),
                "from": source.name,
                "files": files,
            },
        ).write(tmp)
    _report_counts(counts, source, folder)
    write_page(job)


def _warn_if_stale(job: Job, source: Path) -> None:
    """Warn about stale rows.

    Rows made by hand have no stamp and need none; others should be what their stage would make
    today.
    """
    stage = style if source == data_folder("processed_with_style", job.settings) else process
    reason = stage.freshness(job) if read_stamp(source) else None
    if reason:
        name = stage.__name__.rpartition(".")[2]
        what, todo = (
            f"{source} is not current ({reason})",
            f"`inv {name}` makes it again, then repeat this",
        )
        if job.options.get("strict"):
            raise DataError(f"--strict: {what}", todo=todo)
        console.warning(f"{what}: {todo}")


def _section(job: Job, template: ChatTemplate, tokenizer: TokenizerFacts) -> dict[str, Any]:
    return {
        **section_of(job.settings, *SECTION),
        "chat template": template.hash,
        "tokenizer": tokenizer.hash,
    }


def render_settings(
    settings: Settings, template: ChatTemplate, traits: TemplateTraits, tokenizer: TokenizerFacts
) -> RenderSettings:
    """Return what decides how the rows of a dataset are rendered."""
    merge = settings.data.system_unsupported == "merge_into_user"
    return RenderSettings(
        template=template,
        eot=traits.eot.value,
        turns=settings.data.turns,
        specials=tuple(tokenizer.special),
        spelled=settings.data.special_tokens_in_text,
        system="render" if traits.system_supported else "merge" if merge else "error",
        system_problem=traits.system_problem,
        form=traits.form,
        name=settings.data.chat_template or settings.model.name,
    )


def _render_files(
    recipe: RenderSettings, source: Path, target: Path, asked_workers: int | None
) -> Counts:
    counts = Counts()
    size = sum((source / name).stat().st_size for name in FILES)
    with ExitStack() as stack:
        bar: ProgressBar = stack.enter_context(progress(size, "B", "render"))
        rejects = stack.enter_context(open(target / REJECTS, "wb"))
        outs = {
            str(source / name): stack.enter_context(open(target / name, "wb")) for name in FILES
        }
        leaks, before = Leaks(), ""
        rendered = ordered_map(
            partial(render_block, recipe),
            chain.from_iterable(blocks(source / name) for name in FILES),
            worker_count(asked_workers, size),
        )
        for done in rendered:
            if done.file != before:
                leaks.next_split()
            before = done.file
            outs[done.file].write(leaks.without(done, rejects, counts.findings))
            rejects.write(done.rejects)
            counts.add(Path(done.file).stem, done, leaks.count)
            bar.advance(done.size)
    return counts


def _judge(counts: Counts, allowed: float, keep_rejects: Callable[[], Path]) -> None:
    """Raise where rows can't be trained on as they are; warn about those that were set aside."""
    fatal, rejected = counts.findings.of("fatal"), counts.findings.of("reject")
    if fatal:
        listing = "\n".join(f"  {counts.findings.line(finding)}" for finding in fatal)
        raise DataError(f"rows can't be rendered\n{listing}", todo=todos(fatal))
    if rejected:
        listing = "\n".join(f"  {counts.findings.line(finding)}" for finding in rejected)
        share = f"{counts.rejected:,} of {counts.read:,} rows can't be rendered"
        if counts.rejected > allowed * counts.read:
            allow = (
                f"rows are in {keep_rejects()}; correct them, or allow more: data.max_reject_share"
            )
            raise DataError(f"{share}\n{listing}", todo=f"{todos(rejected)}\n{allow}")
        console.warning(f"{share}, set aside in {REJECTS}\n{listing}")
    if not counts.rows.get(SPLITS[0]):
        raise DataError(
            "no rows to train on: the train split is empty",
            todo="give more rows, or smaller data.val_share",
        )


def _keep_rejects(tmp: Path, folder: Path) -> Path:
    os.replace(tmp / REJECTS, folder / REJECTS)
    return folder / REJECTS


def _report_counts(counts: Counts, source: Path, folder: Path) -> None:
    counts.findings.say()
    rows = ", ".join(f"{split} {counts.rows.get(split, 0):,}" for split in SPLITS)
    console.success(
        f"rendered {source} → {folder}: {rows} rows, {sum(counts.turns.values()):,} trained turns"
    )
