"""Values of tables as JSON has them, and what JSON has no form for."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sftplay.data import exact_json
from sftplay.data.formats.json_value import json_value
from sftplay.data.rejects import BadRowError
from tests.data.project import Project, jsonl


@pytest.mark.parametrize(
    ("value", "written"),
    [({"a": [1, True, None, "x"]}, '{"a":[1,true,null,"x"]}'), (Decimal("10.50"), "10.50"), (Decimal("1E+3"), "1E+3"), (2**70, str(2**70)),
     ([("k", 1), ("l", None)], '{"k":1,"l":null}'), ([], "[]"), (0.1, "0.1")],
)  # fmt: skip
def test_written_as_json(value: Any, written: str) -> None:
    assert exact_json.dumps(json_value(value, "x")).decode() == written


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        b"x",
        date(2026, 1, 1),
        datetime(2026, 1, 1),
        {1: "x"},
        {"a": [float("nan")]},
    ],
)
def test_refused(value: Any) -> None:
    with pytest.raises(BadRowError, match="JSON does not have"):
        json_value(value, "x")


def talk(arguments: Any) -> dict[str, Any]:
    calls = [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": arguments}}]
    return {
        "messages": [
            {"role": "user", "content": "pay"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "done"},
            {"role": "assistant", "content": "Paid."},
        ]
    }


NUMBERS = '{"account":12345678901234567890123450,"amount":10.50,"rate":1e3,"note":"1.50"}'


@pytest.mark.parametrize("as_text", [True, False])
def test_numbers_of_a_call_stay_as_they_were_written(project: Project, as_text: bool) -> None:
    content = jsonl([talk("HERE")]).decode()
    project.put(
        "rows.jsonl", content.replace('"HERE"', json.dumps(NUMBERS) if as_text else NUMBERS)
    )
    done = project.run("process", "--set", "data.val_share=0", "--set", "data.test_share=0")
    assert done.code == 0, done.said
    assert f'"arguments":{NUMBERS}'.encode() in project.outputs()["train.jsonl"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Decimal("10.50"), b'{"amount":10.50}'),
        (2.5, b'{"amount":2.5}'),
        (float("nan"), None),
        (b"x", None),
    ],
    ids=["decimal", "float", "nan", "bytes"],
)
def test_values_of_a_table(project: Project, value: Any, kept: bytes | None) -> None:
    parquet.write_table(
        pa.Table.from_pylist([talk({"amount": value})]), project.put("rows.parquet", b"")
    )
    done = project.run("process", "--set", "data.val_share=0", "--set", "data.test_share=0")
    assert done.code == (0 if kept else 65), done.said
    if kept:
        assert kept in project.outputs()["train.jsonl"]
    else:
        assert "JSON does not have" in done.said
