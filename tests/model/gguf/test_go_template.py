"""Chat templates for Ollama: found by rendering, and rendered by Go itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from sftplay.model.gguf.go_template import ChatFrame, find_frame
from sftplay.model.gguf.modelfile import OllamaModel
from tests.tiny import CHATML

Messages = list[dict[str, str]]
WITH_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    + CHATML
)
LLAMA3 = (
    "{{ '<|begin|>' }}{% for m in messages %}<|h|>{{ m['role'] }}<|e|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|h|>assistant<|e|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ 1/0 }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NUMBERED = (
    "{% for m in messages %}{{ loop.index }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}> {% endif %}"
)
TALK: Messages = [
    {"role": "user", "content": "a {{ b }} \n c"},
    {"role": "assistant", "content": 'Say "x".'},
    {"role": "user", "content": "Grüße 🦊"},
]
SYSTEM: Messages = [{"role": "system", "content": "Be brief."}, *TALK]


def renderer(source: str) -> Callable[[Messages], str]:
    template = Environment().from_string(source)
    return lambda messages: template.render(messages=messages, add_generation_prompt=True)


@pytest.mark.parametrize("source", [CHATML, WITH_DEFAULT, LLAMA3], ids=["chatml", "default", "l3"])
def test_a_frame_gives_the_prompts_of_its_template(source: str) -> None:
    frame = find_frame(renderer(source))
    assert frame is not None
    for messages in (TALK, SYSTEM, TALK[:1]):
        assert frame.prompt(messages) == renderer(source)(messages)
    assert frame.keeps_edges == (source != LLAMA3)


def test_a_template_without_a_system_turn() -> None:
    frame = find_frame(renderer(NO_SYSTEM))
    assert frame is not None and frame.system is None
    assert "takes no system turn" in _model(frame).notes[0]
    assert "SYSTEM" not in _model(frame, system="Be kind.").text()


@pytest.mark.parametrize("source", [NUMBERED, "{{ messages[-1]['content'] }}", "no message at all"])
def test_what_ollama_can_not_render_is_not_guessed(source: str) -> None:
    assert find_frame(renderer(source)) is None
    text = _model(None, system="Be kind.").text()
    assert "TEMPLATE" not in text.replace("no TEMPLATE is given", "")
    assert 'SYSTEM """Be kind."""' in text


def test_the_token_that_a_server_adds_is_left_out() -> None:
    frame = find_frame(renderer(LLAMA3))
    assert frame is not None
    bare = frame.without_start("<|begin|>")
    for messages in (TALK, SYSTEM):
        assert "<|begin|>" + bare.prompt(messages) == frame.prompt(messages)
    assert frame.without_start("<s>") == frame


def test_a_modelfile_says_everything() -> None:
    frame = find_frame(renderer(CHATML))
    text = _model(frame, system="Be kind.").text()
    assert text.startswith("# ollama create demo -f demo-Q8_0.Modelfile\nFROM ./demo-Q8_0.gguf\n")
    assert 'SYSTEM """Be kind."""\nPARAMETER stop "<|im_end|>"\nPARAMETER temperature 0\n' in text
    adapter = _model(frame, base="base-F16.gguf").text()
    assert "FROM ./base-F16.gguf\nADAPTER ./demo-Q8_0.gguf\n" in adapter


@pytest.mark.parametrize("quoted", ['say """x"""', 'end"'])
def test_a_system_prompt_that_a_modelfile_can_not_hold_is_reported(quoted: str) -> None:
    model = _model(find_frame(renderer(CHATML)), system=quoted)
    assert "SYSTEM" not in model.text().replace("SYSTEM is given", "")
    assert any("no SYSTEM is given" in note for note in model.notes)


GO = """package main

import (
	"encoding/json"
	"os"
	"text/template"
)

type message struct{ Role, Content string }

func main() {
	var in struct {
		Template, System string
		Messages         []message
	}
	if json.NewDecoder(os.Stdin).Decode(&in) != nil {
		os.Exit(2)
	}
	made := template.Must(template.New("").Parse(in.Template))
	if made.Execute(os.Stdout, in) != nil {
		os.Exit(3)
	}
}
"""


@pytest.mark.long  # compiles a Go program; reason: the oracle is Go's own text/template
@pytest.mark.parametrize("source", [CHATML, WITH_DEFAULT, LLAMA3, NO_SYSTEM])
def test_go_renders_what_jinja_renders(source: str, tmp_path: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/lib/go/bin:/usr/local/go/bin")
    if go is None:
        pytest.skip("no Go here (Debian: golang-go)")
    frame = find_frame(renderer(source))
    assert frame is not None
    (tmp_path / "main.go").write_text(GO)
    for messages in (TALK, SYSTEM, TALK[:1]):
        if frame.system is None and messages is SYSTEM:
            continue
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        asked: dict[str, Any] = {"Template": frame.go(), "System": system}
        asked["Messages"] = [{"Role": m["role"], "Content": m["content"]} for m in messages]
        done = subprocess.run(
            [go, "run", str(tmp_path / "main.go")],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == renderer(source)(messages)


def _model(frame: ChatFrame | None, system: str | None = None, base: str = "") -> OllamaModel:
    return OllamaModel(
        "demo", "demo-Q8_0.gguf", frame, system, ["<|im_end|>"], [("temperature", 0.0)], base
    )
