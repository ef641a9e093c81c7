"""A run's model, template and style in inference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.box import Box
from tests.model.plain_inference import QUESTIONS


def test_another_template_than_the_runs_is_refused(trained: Path, box: Box) -> None:
    template = trained / "outputs/demo/chat_template.jinja"
    template.write_text(template.read_text() + " ")
    ran = box.run("infer", "--run", "demo", "--prompt", "Hi", cwd=trained)
    assert ran.code == 76 and "template was changed" in ran.err


def test_a_run_trained_with_a_style_answers_with_it(trained_project: Path, box: Box) -> None:
    prompt = "Answer like a sailor."
    demo, styled = trained_project / "outputs/demo", trained_project / "outputs/styled"
    shutil.copytree(demo, styled, dirs_exist_ok=True)
    record = json.loads((styled / "run.json").read_text())
    (styled / "run.json").write_text(
        json.dumps({**record, "style": {"prompt": prompt, "mode": "append"}})
    )

    def answer(run: str, *more: str) -> tuple[str, str]:
        ran = box.run("infer", "--run", run, "--prompt", QUESTIONS[5], *more, cwd=trained_project)
        assert ran.code == 0, ran.err
        return ran.out, ran.err

    with_style, said = answer("styled")
    assert with_style == answer("demo", "--system", prompt)[0]
    assert prompt in said and "--no-style" in said
    assert answer("styled", "--no-style")[0] == answer("demo")[0] != with_style
