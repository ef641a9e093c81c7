"""Messages as JSON text and as structs of lists, and columns that hold no text."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sftplay.data.formats.message_lists import as_messages, form_of
from sftplay.data.rejects import BadRowError
from tests.data.project import Project

TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    "value",
    [
        TALK,
        json.dumps(TALK),
        json.dumps(TALK, indent=2),
        {"role": ["user", "assistant"], "content": ["q", "a"]},
    ],
)
def test_every_form(value: Any) -> None:
    assert form_of(value)
    assert as_messages(value) == TALK


@pytest.mark.parametrize(
    "value",
    [
        "[1] what is it?",
        "hello",
        {"role": "user", "content": "q"},
        {"a": [1]},
        {"from": [1], "value": []},
        7,
        None,
    ],
)
def test_other_values_are_left_alone(value: Any) -> None:
    assert not form_of(value)
    assert as_messages(value) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (str(TALK), "Python's quotes"),
        ('[{"role": "user"', "Expecting"),
        ('[{"role": 1, "role": 2}]', "twice"),
    ],
)
def test_text_that_is_broken(text: str, why: str) -> None:
    with pytest.raises(BadRowError) as caught:
        as_messages(text)
    assert why in f"{caught.value.reason} {caught.value.detail}"


ROWS = 40


def process(project: Project, name: str, rows: list[dict[str, Any]], schema: Any = None) -> Any:
    parquet.write_table(
        pa.Table.from_pylist(rows, schema=schema), project.put(f"{name}.parquet", b"")
    )
    return project.run("process")


def test_columns_of_a_table(project: Project) -> None:
    rows = [
        {"conversations": {"from": ["human", "gpt"], "value": [f"q{n}", "a"]}} for n in range(ROWS)
    ]
    assert process(project, "rows", rows).code == 0
    assert len(project.rows()) == ROWS


def test_prompts_as_json_text(project: Project) -> None:
    rows = [
        {
            "prompt": json.dumps([{"role": "user", "content": f"q{n}"}]),
            "completion": json.dumps([TALK[1]]),
        }
        for n in range(ROWS)
    ]
    assert process(project, "rows", rows).code == 0
    assert project.rows()[0]["messages"][1] == TALK[1]


@pytest.mark.parametrize(
    ("value", "kind", "what"),
    [(b"q", None, "bytes (a binary column)"), (date(2026, 1, 1), None, "dates"), (Decimal("1.5"), None, "numbers"),
     ([("k", "v")], pa.map_(pa.string(), pa.string()), "maps")],
    ids=["bytes", "date", "decimal", "map"],
)  # fmt: skip
def test_columns_that_hold_no_text_say_so(
    project: Project, value: Any, kind: Any, what: str
) -> None:
    schema = pa.schema([("user", kind), ("assistant", pa.string())]) if kind else None
    done = process(project, "rows", [{"user": value, "assistant": "a"}] * ROWS, schema)
    assert done.code == 65
    assert f"`user` holds {what}" in done.said
    assert "write" in done.said
