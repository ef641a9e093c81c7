"""Tables in a JSON document, as pandas writes them."""

import io
import json

import pytest

from sftplay.data.readers import document
from sftplay.data.readers.stream import Source
from tests.data.readers.documents import TABLE, read


@pytest.mark.parametrize("orient", ["split", "columns", "index", "records", "table"])
def test_tables_of_pandas(orient: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(TABLE)[["assistant", "user"]]
    rows, note = read(frame.to_json(orient=orient).encode())
    assert [{key: row[key] for key in ("user", "assistant")} for _, row in rows] == TABLE
    assert orient in ("records", "table") or f"orient={orient}" in note


def test_a_header_row_above_lists() -> None:
    table = [["question", "answer"], ["q", "a"], ["r", "b"]]
    assert [row for _, row in read(json.dumps(table).encode())[0]] == [
        {"question": "q", "answer": "a"},
        {"question": "r", "answer": "b"},
    ]
    assert [row for _, row in read(json.dumps(table[1:]).encode())[0]] == table[1:]


def test_numbers_of_a_table_keep_their_digits() -> None:
    content = b'{"columns":["user","n"],"data":[["q",12345678901234567890123450]]}'
    stream = io.BytesIO(content)
    (piece,) = document.read(Source("x", stream, stream, stream.read(9), "none", "UTF-8", 0))
    assert piece.texts[0][1] == b'{"user":"q","n":12345678901234567890123450}'


def test_the_numbered_rows_of_a_table_need_no_known_columns() -> None:
    import pandas as pd

    frame = pd.DataFrame([{"Frage": f"q{n}", "Antwort": n} for n in range(12)])
    for orient in ("columns", "index"):
        rows, note = read(frame.to_json(orient=orient).encode())
        assert [row for _, row in rows] == frame.to_dict("records")
        assert f"orient={orient}" in note
