"""Files that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

from tests.box import Box
from tests.model.run_files import read_events

STEPS = 8  # of the project's demo.yaml


def test_a_run_leaves_what_the_design_promises(project: Path, box: Box) -> None:
    raw = (project / "data/raw/rows.jsonl").read_text().splitlines(keepends=True)
    (project / "data/raw/one.jsonl").write_text("".join(raw[:40]))
    (project / "data/raw/two.jsonl").write_text("".join(raw[40:]))
    mix = "data.mix={data/raw/one.jsonl: 1, data/raw/two.jsonl: 1}"
    sets = ("--set", "train.eval_steps=4", "--set", mix)
    ran = box.run("train", "--config", "demo.yaml", *sets, cwd=project)
    assert ran.code == 0, ran.err
    run = project / "outputs" / "demo"
    for name in (
        "config.yaml",
        "backend.json",
        "run.json",
        "events.jsonl",
        "chat_template.jinja",
        "adapter/adapter_model.safetensors",
        "adapter/tokenizer.json",
        "attempts/01-bnb/backend.json",
        "attempts/01-bnb/train.log",
        "attempts/01-bnb/checkpoints/checkpoint-8/manifest.json",
    ):
        assert (run / name).is_file(), name
    assert list((run / "tb" / "01-bnb").glob("events.out.tfevents.*.localhost.*"))
    record = json.loads((run / "run.json").read_text())
    assert record["state"] == "finished" and record["steps"] == STEPS
    assert record["last_loss"] < record["first_loss"]
    mixed = record["data"]["mix"]
    train = (project / "data/processed/train.jsonl").read_text()
    for name, rows in (("one", raw[:40]), ("two", raw[40:])):
        texts = [json.dumps(json.loads(row)["user"], ensure_ascii=False) for row in rows]
        found = sum(f'"content":{text}' in train for text in texts)
        assert mixed[f"data/raw/{name}.jsonl"]["train"] == found
    card = (run / "adapter/README.md").read_text()
    assert "| training rows by source | one.jsonl " in card and "data/raw" not in card
    effective = record["effective"]
    assert effective["trainable_dtype"] == ["torch.float32"] and not effective["packing"]
    assert effective["max_length"] == 256 and effective["effective_batch"] == 2
    assert [event["event"] for event in read_events(project)] == ["started", "finished"]
    assert not list(run.rglob("training_args.bin")) and not list(run.rglob(".tmp-*"))
    again = box.run("train", "--run", "demo", cwd=project)
    assert again.code == 76 and "--resume" in again.err and "--run demo-2" in again.err
