"""Workflows as commands: docs/tasks.md shows them, a test runs them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A way to work.

    Attributes:
        commands: (what is typed, remark), in order.
    """

    name: str
    about: str
    commands: tuple[tuple[str, str], ...]

    @property
    def argv(self) -> list[list[str]]:
        """The commands as words."""
        return [shlex.split(command) for command, _ in self.commands]


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "Complete beginner",
        "Sample data, each step explained; ends with answers before and after training.",
        (("inv quickstart", "asks a few questions; --yes takes the defaults"),),
    ),
    Scenario(
        "Step by step",
        "Your files are in `data/raw`. One stage at a time, so that you can look at each result.",
        (
            ("inv setup-dirs", ""),
            ("inv data.preview", "the first rows as they would be trained; writes nothing"),
            ("inv process", "→ data/processed"),
            ('inv style --style "Answer like a friendly teacher."', "optional"),
            ("inv render", "train does this if you skip it"),
            ("inv tokenize", "this too"),
            ("inv data.show --count 2", "rows as the model sees them"),
            ("inv train", "→ outputs/run_bnb"),
            ("inv eval", "base against tuned"),
            ('inv infer --prompt "How do I begin?"', "or inv infer-interactive"),
            ("inv report run_bnb", "one HTML file to look at"),
            ("inv merge", "one model folder"),
        ),
    ),
    Scenario(
        "Custom config",
        "Your own settings in a file. `train` runs the stages that are missing.",
        (
            ("cp configs/run_bnb.yaml mine.yaml", "then edit it"),
            ("inv check --config mine.yaml", "memory and time"),
            ("inv process --config mine.yaml", ""),
            ("inv train --config mine.yaml --set train.learning_rate=1e-4", "→ outputs/mine"),
            ("inv eval-quick --config mine.yaml", ""),
        ),
    ),
    Scenario(
        "Several datasets",
        "Compare datasets, styles and settings. Run it again to continue with what is left.",
        (
            ("inv batch --file many.yaml", "writes a template: edit it"),
            ("inv batch --file many.yaml --dry-run", "what would run, and why"),
            ("inv batch --file many.yaml", "data, trainings, evaluations, one table"),
            ("inv report --batch many.yaml", "the comparison with its curves"),
        ),
    ),
    Scenario(
        "Clean restart",
        "Remove everything that was generated (raw files stay), then start again.",
        (
            ("inv clean --runs --yes", "without --yes it asks"),
            ('inv full-pipeline --style "Answer in one short sentence."', "process, style, render"),
            ("inv train", ""),
        ),
    ),
    Scenario(
        "Backend-specific",
        "The same training with each backend. If Unsloth cannot run, BitsAndBytes takes over and the run records why.",
        (
            ("inv train-bnb --run with-bnb", ""),
            ("inv train-unsloth --run with-unsloth", ""),
            ("inv runs.compare with-bnb with-unsloth", ""),
        ),
    ),
)


def as_markdown() -> str:
    """Return the workflows as Markdown."""
    parts = []
    for scenario in SCENARIOS:
        width = max((len(command) for command, remark in scenario.commands if remark), default=0)
        lines = [
            f"{command:{width}}   # {remark}" if remark else command
            for command, remark in scenario.commands
        ]
        parts.append(
            f"**{scenario.name}.** {scenario.about}\n\n```sh\n" + "\n".join(lines) + "\n```\n"
        )
    return "\n".join(parts)
