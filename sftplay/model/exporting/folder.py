"""outputs/<run>/gguf/: sealed with the proofs of all its files; those of the same weights are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.files import write_json, write_text
from sftplay.manifest import MANIFEST, problem_with, sealed_folder
from sftplay.model.exporting.describe import gguf_card
from sftplay.model.weights.trained_run import RunFacts
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.untrusted import read_json


@dataclass
class Draft:
    """A folder that is being made: files by name with their proofs."""

    folder: Path
    files: dict[str, Any] = field(default_factory=dict)


@contextmanager
def open_draft(job: Job, facts: RunFacts, weights: str) -> Iterator[Draft]:
    """Yield the new folder with the files of the same weights that are there already; sealed at the
    end with all proofs and a card.
    """
    run = facts.run
    with sealed_folder(run.gguf, {"run": run.name}) as folder:
        draft = Draft(folder, _carry_over(run, folder, weights))
        yield draft
        proof = {"schema": 1, "run": run.name, "tuned_weights": weights, "files": draft.files}
        write_json(folder / "proof.json", proof)
        write_text(folder / "README.md", gguf_card(job, facts, draft.files))
        # for an adapter: a server takes the template in its base's file otherwise
        write_text(folder / "chat_template.jinja", facts.template.source)


def _carry_over(run: Run, folder: Path, weights: str) -> dict[str, Any]:
    """Link what an earlier export made of these weights."""
    if not (run.gguf / MANIFEST).is_file():
        return {}
    try:
        proof = read_json(run.gguf / "proof.json")
        if problem_with(run.gguf) or proof["tuned_weights"] != weights:
            console.info("earlier GGUF files are of other weights, or were changed: not kept")
            return {}
        found: dict[str, Any] = proof["files"]
    except (SftplayError, KeyError) as error:
        console.info(f"earlier GGUF files have no usable proof ({error}): not kept")
        return {}
    for name in found:
        for each in (name, f"{name.removesuffix('.gguf')}.Modelfile"):
            try:
                os.link(run.gguf / each, folder / each)
            except OSError:  # a file system without hard links
                shutil.copyfile(run.gguf / each, folder / each)
    return dict(found)
