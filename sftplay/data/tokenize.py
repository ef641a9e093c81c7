"""Stage `tokenize`: ids and labels, once for every backend; the rows that are too long are dealt
with here.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from sftplay.data.blocks import blocks
from sftplay.data.findings import Findings, todos
from sftplay.data.output import hash_of, lost_file, marks, new_files, require_rows, source_of
from sftplay.data.progress import progress
from sftplay.data.render import FILES as RENDERED
from sftplay.data.report_page import write_page
from sftplay.data.tokenizing.artifact import Writer, writing
from sftplay.data.tokenizing.byte_decode import token_bytes_of
from sftplay.data.tokenizing.joint import JointEncoder, encodes_pieces_alone
from sftplay.data.tokenizing.length_limit import LengthLimit
from sftplay.data.tokenizing.report import count_lengths, facts_of, report_of, say
from sftplay.data.tokenizing.rows import RowTokenizer, TokenizedBlock
from sftplay.data.tokenizing.tokenizer import TokenizerFacts, load_backend, read_tokenizer
from sftplay.data.tokenizing.word_cache import WordCache, split_rule_of
from sftplay.errors import DataError, NotFoundError, RefusedError
from sftplay.files import hash_json, write_json
from sftplay.freshness import (
    DataStamp,
    behind,
    read_stamp,
    section_of,
    warn_if_behind,
    why_stale,
)
from sftplay.kept_values import given_values, refreshed
from sftplay.places import SPLITS, data_folder, find_model
from sftplay.stages import Job

FILES = tuple(f"{split}.arrow" for split in SPLITS)
REPORT = "report.json"
SECTION = ("model.max_length", "data.on_too_long")
# Facts of the rendering that the artifact hands on: a run is stamped with them.
_HANDED_ON = (
    "template_hash",
    "tokenizer_hash",
    "eot",
    "eot_id",
    "eot_reason",
    "date",
    "style",
    "template_adds",
    "from",
)


def freshness(job: Job) -> str | None:
    """Explain why rows have to be tokenized again; None where data/tokenized is current."""
    folder, source = data_folder("tokenized", job.settings), data_folder("rendered", job.settings)
    stamp, rendered = read_stamp(folder), read_stamp(source)
    if stamp is None or rendered is None:
        return "not made yet"
    job = refreshed(job, "tokenize", stamp)
    tokenizer = read_tokenizer(find_model(job.settings))
    return lost_file(folder, stamp) or why_stale(
        stamp, "tokenize", _source(source, rendered), _section(job, tokenizer)
    )


def run(job: Job) -> None:
    """Tokenize every split of data/rendered into data/tokenized.

    Raises:
        DataError: a piece that does not survive the tokenizer, rows too long, nothing to train on
            (65).
        NotFoundError: no rendered rows, no model (66). RefusedError: rendered for another tokenizer
            (76).
    """
    settings, source = job.settings, data_folder("rendered", job.settings)
    require_rows(source, RENDERED, todo="render the rows first: inv render")
    rendered = read_stamp(source)
    if rendered is None:
        raise NotFoundError(
            "the rendered rows have no stamp", where=str(source), todo="render again: inv render"
        )
    _warn_if_behind(job)
    model = find_model(settings)
    tokenizer = read_tokenizer(model)
    if rendered.facts["tokenizer_hash"] != tokenizer.hash:
        raise RefusedError(
            f"the rows were rendered for another tokenizer than that of {settings.model.name}",
            where=str(source),
            todo="render them again: inv render",
        )
    read, section = _source(source, rendered), _section(job, tokenizer)
    folder = data_folder("tokenized", settings)
    lengths = LengthLimit(settings.model.max_length, settings.data.on_too_long)
    with new_files(folder, "tokenize") as tmp:
        splits, findings = _tokenize(
            row_tokenizer(tokenizer, rendered.facts["eot_id"]),
            source,
            tmp,
            lengths,
            settings.data.workers,
        )
        _judge(splits, findings, lengths, model)
        count_lengths(lengths, findings)
        if job.options.get("strict"):
            findings.refuse_warnings()
        write_json(tmp / REPORT, report_of(splits, findings, lengths))
        files = marks(tmp, FILES)
        DataStamp(
            stage="tokenize",
            source=read,
            section=section,
            **given_values(job, SECTION),
            output=hash_of(files),
            facts={
                **{key: rendered.facts[key] for key in _HANDED_ON if key in rendered.facts},
                **facts_of(splits, findings, lengths),
                "files": files,
                "rendered": rendered.output,
            },
        ).write(tmp)
    say(splits, findings, lengths, folder)
    write_page(job)


def _warn_if_behind(job: Job) -> None:
    found = behind(job.settings, until="render")
    if found and job.options.get("strict"):
        raise DataError(f"--strict: {found[0]}", todo=f"{found[1]}, then repeat this")
    warn_if_behind(job.settings, until="render")


def _source(folder: Path, stamp: DataStamp) -> str:
    handed_on = {key: stamp.facts.get(key) for key in _HANDED_ON}
    return hash_json([source_of(folder, RENDERED, stamp), handed_on])


def _section(job: Job, tokenizer: TokenizerFacts) -> dict[str, Any]:
    return {**section_of(job.settings, *SECTION), "tokenizer": tokenizer.hash}


def row_tokenizer(tokenizer: TokenizerFacts, eot_id: int) -> RowTokenizer:
    """Return what turns rendered rows into ids; `eot_id` ends every target."""
    bos, backend = tokenizer.named.get("bos_token"), load_backend(tokenizer.folder)
    bos_id = tokenizer.special.get(bos) if bos else None
    token_bytes, rule = token_bytes_of(backend), split_rule_of(backend)
    words = WordCache(backend, rule, token_bytes) if rule and token_bytes else None
    joint = None if encodes_pieces_alone(backend) else JointEncoder(backend)
    return RowTokenizer(backend, eot_id, bos_id, token_bytes, words, joint)


def _tokenize(
    reader: RowTokenizer, source: Path, target: Path, lengths: LengthLimit, workers: int | None
) -> tuple[dict[str, Writer], Findings]:
    splits, findings = {}, Findings()
    if workers is not None:
        os.environ["RAYON_NUM_THREADS"] = str(workers)
    size = sum((source / name).stat().st_size for name in RENDERED)
    with progress(size, "B", "tokenize") as bar:
        for split, rendered, name in zip(SPLITS, RENDERED, FILES, strict=True):
            with (
                writing(target / name) as out,
                closing(_read_ahead(reader, source / rendered)) as pieces,
            ):
                for done in pieces:
                    out.write(lengths.apply(done.batch))
                    findings.merge(done.findings)
                    bar.advance(done.size)
            splits[split] = out
    return splits, findings


def _read_ahead(reader: RowTokenizer, path: Path) -> Generator[TokenizedBlock, None, None]:
    """Yield blocks of a file, the next two being tokenized while one is written.

    The tokenizer spreads a block over all processors and leaves them idle while its ids are
    gathered and checked: with two blocks at work, one is encoded meanwhile.
    """
    waiting: deque[Future[TokenizedBlock]] = deque()
    with ThreadPoolExecutor(2) as pool:
        for block in blocks(path):
            waiting.append(pool.submit(reader.read, block))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _judge(
    splits: Mapping[str, Writer], findings: Findings, lengths: LengthLimit, model: Path
) -> None:
    """Raise where the rows can't be trained on as they are."""
    if fatal := findings.of("fatal"):
        listing = "\n".join(f"  {findings.line(finding)}" for finding in fatal)
        raise DataError(f"rows can't be tokenized\n{listing}", todo=todos(fatal))
    if lengths.too_long and lengths.policy == "error":
        raise lengths.refuse(_readable(model))
    train = splits[SPLITS[0]]
    if not train.trained_tokens:
        why = f"\n  {lengths.line()}" if lengths.too_long else ""
        raise DataError(
            f"nothing to train on: no row of the train split is left{why}",
            todo="a larger model.max_length, or more rows",
        )


def _readable(model: Path) -> int | None:
    """Return the most tokens that the model's config says it can read."""
    found = json.loads((model / "config.json").read_bytes()).get("max_position_embeddings")
    return found if isinstance(found, int) else None
