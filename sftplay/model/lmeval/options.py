"""Options of an evaluation on tasks of lm-eval."""

from __future__ import annotations

from dataclasses import dataclass

from sftplay.errors import UsageError
from sftplay.lmeval import split_words
from sftplay.stages import Job


@dataclass(frozen=True)
class TaskRun:
    """The options of an evaluation on tasks.

    Attributes:
        words: of `--tasks`.
        limit: so many rows of each task, the first ones; None: all.
        chat: prompts in the run's chat template.
        trusted: Python that a task file names may run.
    """

    words: tuple[str, ...]
    limit: int | None
    chat: bool
    trusted: bool

    @classmethod
    def of(cls, job: Job) -> TaskRun:
        """Read the options.

        Raises:
            UsageError: they exclude each other (2).
        """
        options = job.options
        if options.get("samples") is not None:
            raise UsageError("--samples is for the run's own rows", todo="with --tasks: --limit")
        if (split := options.get("split") or "val") != "val":
            raise UsageError(f"--split {split} is for the run's own rows, not for --tasks")
        if options.get("write_task"):
            raise UsageError(
                "--write-task writes the run's own rows as a task, and --tasks evaluates tasks",
                todo="one after the other: inv eval --write-task, then inv eval --tasks FILE.yaml",
            )
        limit = options.get("limit")
        if limit is not None and limit < 1:
            raise UsageError(f"--limit requires a number of rows, 1 or more, not {limit}")
        words = split_words(str(options["tasks"]))
        chat, trusted = bool(options.get("chat_template")), bool(options.get("trust_tasks"))
        return cls(words, limit, chat, trusted)
