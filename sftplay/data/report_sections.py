"""Sections of a dataset's report page: figures, findings, rows, lengths, template, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sftplay.console import share_text
from sftplay.data.near_duplicates.search import LIKE
from sftplay.page import charts, html
from sftplay.page.html import Kind, Markup
from sftplay.places import SPLITS

Report = Mapping[str, Any]


_KINDS: Mapping[str, tuple[Kind, str]] = {
    "fatal": ("bad", "error"),
    "reject": ("bad", "set aside"),
    "warning": ("warn", "warning"),
    "note": ("info", "note"),
}


def figures(done: Report, tokenized: Report | None) -> Iterator[tuple[object, object, object]]:
    """Yield the figures at the top: (name, value, remark)."""
    rows, near = done["rows"], done["near_duplicates"] or {}
    yield "rows read", f"{rows['in']:,}", ""
    yield "rows kept", f"{rows['out']:,}", ""
    yield "set aside", f"{rows['rejected']:,}", "rejects.jsonl" if rows["rejected"] else ""
    yield "exact duplicates", f"{rows['duplicates']:,}", "removed" if rows["duplicates"] else ""
    if near:
        said = "left out" if near["dropped"] else "kept" if near["found"] else ""
        sampled = near["looked_at"] < rows["out"]
        yield (
            "near duplicates",
            f"{near['found']:,}",
            f"in a sample of {near['looked_at']:,}" if sampled else said,
        )
    if tokenized is not None:
        yield "tokens", f"{sum(tokenized['tokens'].values()):,}", ""
        yield "trained tokens", f"{sum(tokenized['trained_tokens'].values()):,}", "the answers"
        limit = tokenized["max_length"]
        yield "too long", f"{limit['too_long']:,}", f"limit {limit['limit']:,} tokens"


def findings(reports: Mapping[str, Report]) -> Iterator[Markup]:
    """Yield the findings of all stages, the gravest first."""
    found = [
        (stage, finding) for stage, report in reports.items() for finding in report["findings"]
    ]
    if not any(finding["severity"] != "note" for _, finding in found):
        yield html.notice(
            "good", "No warnings." + (" The notes below are worth knowing." if found else "")
        )
    for severity, (kind, word) in _KINDS.items():
        for stage, finding in found:
            if finding["severity"] == severity:
                yield _finding(kind, word, stage, finding)


def _finding(kind: Kind, word: str, stage: str, finding: Report) -> Markup:
    times = f"{finding['count']:,} × " if finding["count"] else ""
    more = " …" if finding["count"] > len(finding["rows"]) else ""
    rows = (
        html.paragraph("rows: ", html.code(", ".join(finding["rows"])), more, soft=True)
        if finding["rows"]
        else ""
    )
    todo = html.paragraph("what to do: ", finding["todo"], soft=True) if finding["todo"] else ""
    said = html.paragraph(
        html.mark(kind, word), f" ({stage}) ", html.element("b", f"{times}{finding['what']}")
    )
    return html.notice(kind, said, rows, todo)


def rows(done: Report, rendered: Report | None, tokenized: Report | None) -> Iterator[Markup]:
    """Yield the table of rows and tokens by split, and what was set aside."""
    header = ["split", "processed", *(["rendered"] if rendered else [])]
    header += ["tokenized", "tokens", "trained tokens"] if tokenized else []
    table = []
    for split in SPLITS:
        line = [
            split,
            done["splits"][split],
            *([rendered["splits"].get(split, 0)] if rendered else []),
        ]
        line += (
            [tokenized[key][split] for key in ("rows", "tokens", "trained_tokens")]
            if tokenized
            else []
        )
        table.append([line[0], *(f"{count:,}" for count in line[1:])])
    yield html.table(
        header,
        table,
        caption="rows in each split; the split is decided by a hash of a row's content",
    )
    rows, near = done["rows"], done["near_duplicates"]
    checks: list[tuple[object, object]] = [
        (
            "adds up",
            f"{rows['in']:,} read = {rows['out']:,} kept + {rows['rejected']:,} set aside + {rows['duplicates']:,} exact duplicates"
            f" + {rows['near_duplicates']:,} near duplicates left out"
            + (f" + {rows['left_out']:,} left out by data.mix" if done.get("mix") else ""),
        ),
        ("equal rows in two splits", _leaks(rendered)),
    ]
    if near:
        found = f"{near['found']:,} rows share {LIKE:.0%} of their wording with an earlier one, {near['across_splits']:,} of them with one of another split"
        checks.append(("near duplicates", f"{found}; {near['why']}"))
    if tokenized is not None:
        checks += [
            (
                "answers without an end of turn",
                "0: every target ends with the end-of-turn token, else the stage fails",
            ),
            ("beginning of text twice", "0: else the stage fails"),
            ("rows that decode to other text", "0: else the stage fails"),
        ]
    yield html.facts(checks)
    if done.get("mix"):
        yield mix_table(done["mix"])
    if done["rejected"]:
        reasons = [[reason, f"{count:,}"] for reason, count in done["rejected"].items()]
        yield html.table(["set aside because", "rows"], reasons)


def mix_table(mix: Report) -> Markup:
    """Return rows and shares of each source of `data.mix`, asked and real."""
    table = [
        [
            one["source"],
            f"{one['weight']:.15g}",
            f"{one['usable']:,}",
            share_text(one["asked"]),
            *(
                f"{one['rows'][split]:,} ({share_text(one['shares'][split] or 0)})"
                for split in SPLITS
            ),
            ", ".join(one.get("exhausted_in", [])),
        ]
        for one in mix["sources"]
    ]
    header = ["source", "weight", "usable rows", "share asked", *SPLITS, "all rows used in"]
    ended = f"each split is filled until one source has no more rows ({mix['strategy']})"
    return html.table(header, table, caption=f"sources of data.mix: {ended}", wraps=True)


def _leaks(rendered: Report | None) -> str:
    if rendered is None:
        return "0 among the processed rows: a row's split follows from its content"
    leaked = rendered["rows"]["leaked"]
    return "0" if not leaked else f"0 left: {leaked:,} were set aside by render"


def lengths(done: Report, tokenized: Report | None) -> Iterator[Markup]:
    """Yield histograms and quantiles of lengths: in tokens once they are known, in characters before."""
    if tokenized is not None:
        limit, counts = tokenized["max_length"]["limit"], tokenized["length_counts"]
        marks = (
            [(limit, f"limit {limit:,}")]
            if counts["row"] and limit <= counts["row"][-1][0] * 1.2
            else []
        )
        yield html.side_by_side(
            _histogram("Tokens a row", counts["row"], "tokens", marks),
            _histogram("Trained tokens a row", counts["trained"], "tokens"),
        )
        yield _quantiles(
            "tokens",
            {"whole row": tokenized["lengths"]["row"], "trained": tokenized["lengths"]["trained"]},
        )
    yield html.side_by_side(
        _histogram("Characters of a row's prompt", done["character_counts"]["input"], "characters"),
        _histogram(
            "Characters of a row's answers", done["character_counts"]["answer"], "characters"
        ),
    )
    yield _quantiles(
        "characters",
        {"prompt": done["characters"]["input"], "answers": done["characters"]["answer"]},
    )


def _histogram(
    title: str, bars: list[list[int]], x: str, marks: list[tuple[float, str]] | None = None
) -> Markup:
    """Draw a histogram, its last bar as wide as the others, whatever it reaches to."""
    if not bars:
        return charts.histogram(title, [], x=x)
    width, (start, end, count) = bars[0][1] - bars[0][0], bars[-1]
    drawn = [*((one[0], one[1], one[2]) for one in bars[:-1]), (start, start + width, count)]
    note = f"the last bar holds all from {start:,} to {end - 1:,}" if end > start + width else ""
    return charts.histogram(title, drawn, x=x, marks=marks or (), note=note)


def _quantiles(unit: str, rows: Mapping[str, Mapping[str, int]]) -> Markup:
    names = [
        name
        for name in ("min", "p50", "p90", "p99", "max")
        if any(name in row for row in rows.values())
    ]
    table = [[what, *(f"{row.get(name, 0):,}" for name in names)] for what, row in rows.items()]
    return html.table([unit, *names], table, caption="p90: nine of ten rows are this long at most")


def template(rendered: Report) -> Markup:
    """Return the facts about the chat template."""
    facts = rendered["facts"]
    adds = dict(facts.get("template_adds", {}))
    if not facts.get(
        "rows_without_system", 1
    ):  # every row has a system prompt: the template's own is in none
        adds.pop("default_system", None)
    pairs = [
        ("end of turn", html.join((html.code(facts["eot"]), f" ({facts['eot_reason']})"))),
        (
            "system turns",
            "rendered"
            if facts["system_supported"]
            else "not supported: merged into the user turn, or refused",
        ),
        ("trained turns", f"{rendered['trained_turns']:,}"),
        *((name.replace("_", " ") + ", added", html.code(text)) for name, text in adds.items()),
        *([("date printed", facts["date"])] if facts.get("date") else []),
        ("hash", html.code(facts["template_hash"])),
    ]
    return html.facts(pairs)


def files(done: Report) -> Iterator[Markup]:
    """Yield the table of raw files, and how each was read."""
    header = ["file", "format", "rows", "set aside", "duplicates", "how it was read"]
    rows = [
        [
            file["file"],
            file["format"] or "–",
            *(f"{file[key]:,}" for key in ("rows", "rejected", "duplicates")),
            "; ".join(filter(None, (file["evidence"], *file["notes"], _read(file)))),
        ]
        for file in done["files"]
    ]
    yield html.table(header, rows)
    for file in done["files"]:
        if file["dropped_keys"]:
            keys = [[key, f"{count:,}"] for key, count in file["dropped_keys"].items()]
            yield html.details(
                f"{file['file']}: keys that are not kept", html.table(["key", "rows"], keys)
            )
    if done["skipped_files"]:
        yield html.paragraph("left out: ", "; ".join(done["skipped_files"]))


def _read(file: Report) -> str:
    packed = "" if file["compression"] in ("none", "") else f", {file['compression']}"
    return f"{file['kind']}{packed}, {file['encoding']}"
