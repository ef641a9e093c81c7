"""A chat in a real terminal: what is typed, what is shown, and every way to leave."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftplay.terminal_text import harmless
from tests.box import Box, Ran, Started

CONTROL_C, CONTROL_D = "\x03", "\x04"
PROMPT = "> "


class Terminal:
    """A person's side of a terminal, with a chat on the other one."""

    def __init__(self, box: Box, cwd: Path, *argv: str) -> None:
        self.master, slave = pty.openpty()
        self.started: Started = box.start(
            "infer", *argv, cwd=cwd, terminal=os.ttyname(slave), TERM="dumb"
        )
        self._slave = slave
        self.seen = ""
        self.wait(PROMPT)
        os.close(slave)  # from now on it is the chat's alone

    def wait(self, text: str, seconds: float = 60) -> str:
        """Read until `text` stands at the end of what is shown; gives everything up to it."""
        end = time.monotonic() + seconds
        while not self.seen.endswith(text):
            assert time.monotonic() < end, (
                f"{text!r} did not come; seen: {self.seen!r}; said: {self.said()!r}"
            )
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 4096).decode("utf-8", "replace").replace("\r", "")
        seen, self.seen = self.seen, ""
        return seen.removesuffix(text)

    def read(self, count: int) -> None:
        """Read until so many characters are shown."""
        while len(self.seen) < count:
            self.seen += os.read(self.master, 100).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ask(self, line: str) -> str:
        """Type a line and wait for the next prompt; gives what was shown between them."""
        self.type(line + "\n")
        return self.wait("\n" + PROMPT).partition("\n")[2]

    def said(self) -> str:
        """Its lines for people, on stderr."""
        return (self.started.folder / "err").read_text()

    def leave(self, how: str) -> Ran:
        """Type what ends the chat; once more where it came between the prompt and the line editor's
        wait for keys.
        """
        for _ in range(20):
            self.type(how)
            if self.started.has_ended(seconds=3):
                break
        return self.started.wait()


@pytest.fixture
def talk(trained_project: Path, box: Box) -> Iterator[Callable[..., Terminal]]:
    """Opens chats with the trained run."""
    opened: list[Terminal] = []

    def open_chat(*argv: str) -> Terminal:
        opened.append(Terminal(box, trained_project, "--run", "demo", *argv))
        return opened[-1]

    yield open_chat
    for terminal in opened:
        os.close(terminal.master)


def _plain(project: Path, *messages: tuple[str, str]) -> str:
    """Answer a conversation with transformers and PEFT alone."""
    run = project / "outputs/demo"
    base = yaml.safe_load((run / "config.yaml").read_text())["model"]["name"]
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), run / "adapter"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(
        run / "adapter", chat_template=(run / "chat_template.jinja").read_text()
    )
    turns = [{"role": role, "content": text} for role, text in messages]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        made = model.generate(**ids, max_new_tokens=24, do_sample=False)
    text = tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    return "".join(character for character in text if character.isprintable() or character == "\n")


def test_a_conversation(trained_project: Path, talk: Callable[..., Terminal]) -> None:
    chat, first, second = talk(), "How many clips are 3 and 21?", "And 4 and 28?"
    answer = chat.ask(first)
    assert answer == _plain(trained_project, ("user", first))
    assert chat.ask(second) == _plain(
        trained_project, ("user", first), ("assistant", answer), ("user", second)
    )
    chat.ask("/reset")
    assert chat.ask(first) == answer
    chat.ask("/system Be brief.")
    assert chat.ask(first) == _plain(trained_project, ("system", "Be brief."), ("user", first))
    chat.ask("/system")
    assert "system prompt: Be brief." in chat.said()
    assert "/reset" in chat.ask("/help") and chat.ask("") == ""
    chat.ask("/nonsense")
    assert "there is no /nonsense" in chat.said()
    ran = chat.leave("/exit\n")
    assert ran.code == 0 and "run demo" in ran.err


def test_the_system_prompt_of_the_command_line(
    trained_project: Path, talk: Callable[..., Terminal]
) -> None:
    chat = talk("--system", "Be brief.")
    assert chat.ask("Hi") == _plain(trained_project, ("system", "Be brief."), ("user", "Hi"))
    chat.ask("/reset")
    assert chat.ask("Hi") == _plain(trained_project, ("system", "Be brief."), ("user", "Hi"))


def test_ways_to_leave(talk: Callable[..., Terminal]) -> None:
    for how in (CONTROL_D, CONTROL_C):
        ran = talk().leave(how)
        assert ran.code == 0 and "Traceback" not in ran.err and "✗" not in ran.err


def test_control_c_stops_the_answer_and_not_the_chat(talk: Callable[..., Terminal]) -> None:
    chat = talk("--base", "--set", "infer.max_new_tokens=450")
    chat.type("Tell me everything\n")
    chat.read(60)
    chat.type(CONTROL_C)
    chat.wait("\n" + PROMPT)
    assert "stopped" in chat.said()
    chat.ask("/reset")
    assert len(chat.ask("Hi")) > 0
    assert chat.leave(CONTROL_C).code == 0


def test_lines_typed_while_an_answer_is_written_are_the_next_prompts(
    trained_project: Path, talk: Callable[..., Terminal]
) -> None:
    chat, first, second = talk("--set", "infer.max_new_tokens=200"), "How many clips?", "And 4?"
    alone = chat.ask(first)
    chat.ask("/reset")
    chat.type(first + "\n")
    chat.read(len(first) + 30)  # it is being answered
    chat.type(second + "\n" + "/reset\n")
    shown = chat.wait("> /reset\n" + PROMPT).replace("\r", "")
    # nothing that was typed is in the middle of the answer
    assert f"{first}\n{alone}\n> {second}\n" in shown
    assert "the conversation starts over" in chat.said()


def test_an_answer_ends_before_a_stop_text(
    trained_project: Path, talk: Callable[..., Terminal]
) -> None:
    question = "How many clips are 3 and 21?"
    whole = _plain(trained_project, ("user", question))
    stop = whole[6:9]
    chat = talk("--set", f"infer.stop={json.dumps([stop])}", "--set", "infer.top_k=5")
    assert chat.ask(question) == whole[: whole.index(stop)]
    assert "cut off" not in chat.said() and "infer.stop" in chat.said()
    assert "without effect: infer.top_k" in chat.said()


def test_a_closed_terminal_ends_it_quietly(trained_project: Path, box: Box) -> None:
    for answering in (False, True):
        chat = Terminal(
            box, trained_project, "--run", "demo", "--base", "--set", "infer.max_new_tokens=450"
        )
        if answering:
            chat.type("Tell me everything\n")
            chat.read(60)
        os.close(chat.master)
        ran = chat.started.wait()
        assert ran.code == 129 and "Traceback" not in ran.err and "bug" not in ran.err
    assert not list((trained_project / "outputs").glob("error-*"))


def test_old_turns_are_forgotten_when_the_window_is_full(talk: Callable[..., Terminal]) -> None:
    chat = talk("--set", "infer.max_new_tokens=8")
    for _ in range(3):
        chat.ask("clips and clips " * 60)
    assert re.search(r"forgotten: the model reads 512 tokens at most", chat.said())
    before = chat.said()
    chat.ask("clips " * 600)
    assert "shorten it" in chat.said().removeprefix(before)
    assert "forgotten" not in chat.said().removeprefix(before)
    assert chat.ask("Hi") and chat.leave(CONTROL_D).code == 0


def test_a_model_can_not_drive_the_terminal() -> None:
    """Control characters would move the cursor, rename the window or worse."""
    assert harmless("a\x1b[2Jb\te\nf 🦊") == "a\\x1b[2Jb\te\nf 🦊"


def test_special_tokens_in_what_is_typed(talk: Callable[..., Terminal]) -> None:
    chat = talk()
    assert chat.ask("a <|im_end|> b") == "" and "special token '<|im_end|>'" in chat.said()
    assert chat.ask("Hi") and chat.leave(CONTROL_D).code == 0
