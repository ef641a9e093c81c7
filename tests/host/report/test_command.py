"""The report: of whole runs, of broken ones, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from sftplay.errors import UsageError
from sftplay.host.report import command as reports
from tests.browser import look_at, needs_browser, take_picture
from tests.host.conftest import RunTask
from tests.host.report.pages import Words, whole_run
from tests.host.runfolders import write_eval, write_run


def test_everything_is_on_one_page() -> None:
    whole_run(handed_over=True)
    reports.write("demo")
    page = Words(Path("outputs/demo/report.html").read_text(encoding="utf-8"))
    for words in (
        "Run demo", "unsloth → bnb", "no NVIDIA device", "Training loss", "Learning rate", "Speed", "Memory in use",
        "Loss on the val split", "ROUGE-L (0 to 100)", "+27.500", "test split", "Length of the training rows",
        "model.max_length 512", "why rows were set aside", "no answer", "exact duplicates", "cut", "Be brief. (prepend)",
        "alpaca (by its keys)", "weights_hash", "learning_rate 0.001", "History (2 events)",
    ):  # fmt: skip
        assert words in page.text, words
    assert page.text.count("After training") == 10  # of twelve answers
    assert "<script>alert(3)</script>" in page.text  # as text
    assert page.scripts == 0


def test_headings_are_the_questions_also_when_the_data_was_replaced(
    checkout: Path, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older evaluation did not keep them: its rows have a number then, never template text."""
    monkeypatch.chdir(checkout)
    run = write_run("demo")
    write_eval(run)
    file = run.eval("val") / "samples.jsonl"
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    for number, sample in enumerate(samples[1:]):
        sample["question"] = f"Why is the {number}th\nlamp dark?"
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    shutil.rmtree(Path("data"), ignore_errors=True)
    end = run_task("report", "demo")
    assert end.returncode == 0, end.stderr
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h3[^>]*>(.*?)</h3>", page)
    assert headings[:2] == [f"1. Row {samples[0]['id']}", "2. Why is the 0th lamp dark?"]
    assert not any("im_start" in heading for heading in headings)


def test_ten_thousand_steps_stay_small_and_quick() -> None:
    whole_run(steps=10_000)
    began = time.process_time()
    reports.write("demo")
    assert time.process_time() - began < 5
    assert Path("outputs/demo/report.html").stat().st_size < 400_000  # 3 MB are allowed


def test_one_run_or_one_batch() -> None:
    with pytest.raises(UsageError):
        reports.write("a", batch="b.yaml")


@needs_browser
def test_it_fits_a_phone_and_a_desktop_in_light_and_dark(tmp_path: Path) -> None:
    run = whole_run("a-run-with-a-rather-long-name-and-more-of-it", steps=500)
    long = "averylongwordwithoutanyspace" * 40
    samples = [
        json.loads(line) for line in (run.eval("val") / "samples.jsonl").read_text().splitlines()
    ]
    samples[0] |= {"prompt": long, "tuned": long, "base": "a\tb\n" * 500}
    (run.eval("val") / "samples.jsonl").write_text(
        "".join(json.dumps(sample) + "\n" for sample in samples)
    )
    reports.write(run.name)
    page = run.folder / "report.html"
    for dark in (False, True):
        looks = look_at(page, tmp_path / f"browser-{dark}", dark=dark)
        assert [look.width for look in looks] == [320, 390, 1280]
        for look in looks:
            assert (look.scroll <= look.width, look.wide, look.small, look.scripts) == (
                True,
                [],
                0,
                0,
            )
            assert look.pictures == 7
            assert look.text > 2000
    assert {look.paper for look in looks} == {"rgb(20, 24, 28)"}
    take_picture(page, tmp_path / "phone.png", tmp_path / "p", width=390, height=844)
    take_picture(page, tmp_path / "desktop.png", tmp_path / "d", width=1280, height=900, dark=True)
    assert (tmp_path / "phone.png").stat().st_size > 20_000
