"""The report of a batch, read and looked at in a browser."""

from __future__ import annotations

from pathlib import Path

from sftplay.host.batch import work
from sftplay.host.batch.expand import Experiment
from tests.browser import look_at, needs_browser
from tests.host.experiments import begun
from tests.host.runfolders import write_data, write_eval


@needs_browser
def test_the_report_of_a_batch(three: dict[str, Experiment], tmp_path: Path) -> None:
    for name in ("a", "b"):
        run = begun(three[name])
        write_eval(run)
        write_data(run)
    path, page = work.folder_of(Path("configs/batch.yaml")) / "report.html", ""
    from sftplay.host.report.batch import of_batch

    path, page = of_batch(Path("configs/batch.yaml"))
    path.parent.mkdir(parents=True)
    path.write_text(page, encoding="utf-8")
    for words in (
        "3 experiments on 1 datasets",
        "ROUGE-L after training",
        "train.learning_rate",
        "Training loss",
        "not begun",
    ):
        assert words in page, words
    for look in look_at(path, tmp_path / "browser"):
        assert (look.scroll <= look.width, look.wide, look.scripts) == (True, [], 0)
