"""A chat in the terminal: history, streamed answers, a few commands.

Ctrl-C stops an answer, at the prompt it leaves.
"""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from sftplay import console
from sftplay.errors import DataError, StoppedError
from sftplay.model.answers.answerer import Answerer
from sftplay.model.answers.opening import open_answerer
from sftplay.model.answers.stream import Stream
from sftplay.stages import Job
from sftplay.terminal_text import harmless

HELP = """/reset         forget the conversation
/system TEXT   new system prompt, and a new conversation (without TEXT: show the one in use)
/exit          leave (Ctrl-D, and Ctrl-C at the prompt, do the same)
/help          this list
Ctrl-C         stop an answer that is being written
A line that is typed meanwhile is the next prompt."""
_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?$", re.DOTALL)


@dataclass
class Conversation:
    """One conversation: what was said, and the tokens that the model has read of it."""

    answerer: Answerer
    stream: Stream
    system: str | None
    history: list[dict[str, str]] = field(default_factory=list)

    def start_over(self, system: str | None) -> None:
        """Forget everything that was said."""
        self.system, self.history = system, []

    def ask(self, text: str) -> tuple[list[int], int]:
        """Add the user's turn: the tokens of the conversation, and how many old turns went because
        the window is full.

        Raises:
            DataError: the turn can't be asked; the conversation is as before (65).
        """
        turn = {"role": "user", "content": text}
        kept = [*self.history, turn]
        ids = self._ids(kept)
        window = self.answerer.prompter.window or sys.maxsize
        reserve = min(self.answerer.sampling.max_new_tokens, window // 4)
        if len(ids) + reserve > window:
            self.answerer.prompt_ids(
                self._with_system([turn])
            )  # refuses what does not fit even alone
        while len(ids) + reserve > window and len(kept) > 1:
            kept = kept[2:]
            ids = self._ids(kept)
        dropped = (len(self.history) + 1 - len(kept)) // 2
        self.history = kept
        return ids, dropped

    def answered(self, text: str, *, whole: bool) -> None:
        """Add the model's turn. A question that was stopped before its first word is taken back."""
        if text or whole:
            self.history.append({"role": "assistant", "content": text})
        else:
            self.history.pop()

    def _ids(self, turns: list[dict[str, str]]) -> list[int]:
        return self.answerer.prompter.ids(self._with_system(turns))

    def _with_system(self, turns: list[dict[str, str]]) -> list[dict[str, str]]:
        return (
            turns if self.system is None else [{"role": "system", "content": self.system}, *turns]
        )


class _Left(KeyboardInterrupt):
    """Ctrl-C as a way to leave. Raised by a signal handler: no `except Exception` may catch it."""


@dataclass
class _Interrupt:
    """Ctrl-C: stops an answer that is being written; at the prompt, or a second time, it leaves."""

    answering: bool = False
    stopped: bool = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if not self.answering or self.stopped:
            raise _Left
        self.stopped = True


def chat(job: Job) -> None:
    """Conversation until the person leaves.

    Raises:
        StoppedError: the terminal is gone (129).
    """
    answerer = open_answerer(job)
    conversation = Conversation(answerer, answerer.stream(), answerer.system)
    console.info(f"talking to {answerer.name}; /help lists what else you can type, Ctrl-D leaves")
    interrupt = _Interrupt()
    signal.signal(signal.SIGINT, interrupt.handle)
    try:
        while (line := _read_line()) is not None:
            command = _COMMAND.fullmatch(line.strip())
            if command and not _run_command(conversation, command[1], (command[2] or "").strip()):
                return
            if line.strip() and not command:
                with _lines_wait():
                    _reply(conversation, line, interrupt)
    except _Left:
        console.result("")
    except OSError as error:
        console.drop_stdout()
        raise StoppedError("the terminal is gone", signum=signal.SIGHUP) from error


@contextmanager
def _lines_wait() -> Iterator[None]:
    """Keep what is typed while an answer is written for the next prompt, which shows it: an echo
    would stand in the middle of the answer.
    """
    try:
        usual = termios.tcgetattr(sys.stdin.fileno())
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    unseen = [*usual]
    unseen[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, unseen)
        yield
    finally:
        with contextlib.suppress(termios.error, OSError):  # the terminal is gone
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, usual)


def _read_line() -> str | None:
    """Read a line from the user; None at the end of input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - input() edits its line with it
    try:
        line = input("> ")
    except (EOFError, OSError):
        console.result("")
        return None
    except UnicodeDecodeError:
        console.warning("that was not UTF-8: nothing was sent")
        return ""
    return line.encode("utf-8", "replace").decode("utf-8")


def _run_command(conversation: Conversation, command: str, text: str) -> bool:
    """Do what a /command says; False to leave."""
    if command in ("exit", "quit"):
        return False
    if command == "reset":
        conversation.start_over(conversation.system)
        console.info("the conversation starts over")
    elif command == "system" and text:
        conversation.start_over(text)
        console.info("new system prompt; the conversation starts over")
    elif command == "system":
        console.info(
            f"system prompt: {conversation.system or 'none of yours (the template may add its own)'}"
        )
    elif command == "help":
        console.result(HELP)
    else:
        console.warning(
            f"there is no /{command}; /help lists the commands; to send it as text, put a space in front"
        )
    return True


def _reply(conversation: Conversation, line: str, interrupt: _Interrupt) -> None:
    """Ask the model and print its answer as it is written."""
    try:
        ids, dropped = conversation.ask(line.strip())
    except DataError as problem:
        console.failure(problem)
        return
    if dropped:
        turns = "the oldest turn was" if dropped == 1 else f"the {dropped} oldest turns were"
        console.warning(
            f"{turns} forgotten: the model reads {conversation.answerer.prompter.window:,} tokens at most"
        )
    said = ""
    interrupt.answering, interrupt.stopped = True, False
    for piece in conversation.answerer.say(conversation.stream, ids):
        said += piece
        console.result(harmless(piece), end="")
        if interrupt.stopped:
            break
    interrupt.answering = False
    console.result("")
    if interrupt.stopped:
        console.info("stopped")
    elif not conversation.stream.ended:
        console.info("cut off here: --set infer.max_new_tokens=… allows longer answers")
    conversation.answered(said, whole=not interrupt.stopped)
