import json
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError
from sftplay.host.runs import samples
from sftplay.runs import Run
from sftplay.settings import Settings


@pytest.fixture(autouse=True)
def _evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Run("demo").eval("val")
    folder.mkdir(parents=True)
    rows = [
        {
            "id": f"row{n}",
            "prompt": f"<|user|>Q{n}",
            "base": f"base {n}",
            "tuned": f"tuned {n}",
            "reference": f"ref {n}",
        }
        for n in range(5)
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("data/processed").mkdir(parents=True)
    messages = [
        {"role": "user", "content": "earlier"},
        {"role": "assistant", "content": "…"},
        {"role": "user", "content": "What\u2028now?"},
        {"role": "assistant", "content": "ref 1"},
    ]
    row = json.dumps({"id": "row1", "messages": messages}, ensure_ascii=False)
    Path("data/processed/val.jsonl").write_text(row + "\n", encoding="utf-8")


def test_the_users_words_stand_for_the_prompt_where_the_data_has_them() -> None:
    shown = samples.read(Run("demo"), Settings())
    assert [one.prompt for one in shown] == ["<|user|>Q0", "What\u2028now?", "<|user|>Q2"]
    assert (shown[1].base, shown[1].tuned, shown[1].reference) == ("base 1", "tuned 1", "ref 1")


def test_a_run_without_evaluation_says_what_to_type() -> None:
    with pytest.raises(NotFoundError) as caught:
        samples.read(Run("other"), Settings())
    assert caught.value.todo == "inv eval --run other"


def test_before_and_after_stand_under_each_other_without_colour_codes_in_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    samples.show(Run("demo"), Settings())
    lines = capsys.readouterr().out.splitlines()
    assert "before   base 0" in lines and "after    tuned 0" in lines
    assert "\x1b" not in "".join(lines)


def test_long_answers_are_wrapped_and_cut() -> None:
    block = samples.block("after", "one two three " * 100, 40)
    assert all(len(line) <= 40 for line in block.splitlines())
    assert block.endswith(" …") and len(block) < 700


def test_an_empty_answer_is_shown_as_such() -> None:
    assert samples.block("after", "", 80).strip() == "after"
