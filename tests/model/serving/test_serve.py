"""The endpoint as OpenAI's own client sees it: the same answers as `infer`, alone and together."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.box import Box
from tests.model.plain_inference import QUESTIONS, plain_answer
from tests.model.serving.conftest import Serve, Served, free_port, openai


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _inferred(project: Path, box: Box, *words: str) -> list[str]:
    (project / "q.txt").write_text("\n".join(QUESTIONS) + "\n")
    argv = ("infer", "--run", "demo", "--input", "q.txt", "--output", "answers.jsonl", *words)
    ran = box.run(*argv, cwd=project)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in (project / "answers.jsonl").read_text().splitlines()]
    for name in ("answers.jsonl", "answers.jsonl.meta.json"):
        (project / name).unlink()
    return [row["answer"] for row in rows]


def _streamed(client: Any, question: str, model: str = "demo", **more: Any) -> tuple[str, str, Any]:
    """The answer in pieces: text, why it ended, usage."""
    text, reason, usage = "", "", None
    stream = client.chat.completions.create(
        model=model,
        messages=_user(question),
        stream=True,
        stream_options={"include_usage": True},
        **more,
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, reason, usage


def test_models_and_health_from_the_start(served: Served) -> None:
    assert [model.id for model in served.client().models.list()] == ["demo", "base"]
    assert served.client().models.retrieve("base").id == "base"
    assert served.ask("GET", "/health")[:2] == (200, {"status": "ok"})


def test_one_answer_is_that_of_plain_transformers(served: Served) -> None:
    for model, tuned in (("demo", True), ("base", False)):
        made = served.client().chat.completions.create(model=model, messages=_user(QUESTIONS[3]))
        choice = made.choices[0]
        assert choice.message.content == plain_answer(served.project, QUESTIONS[3], tuned=tuned)
        assert made.model == model and choice.finish_reason in ("stop", "length")
        assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


def test_sixteen_clients_at_once_get_what_infer_gives(served: Served, box: Box) -> None:
    """Streamed and whole, for both models at the same time."""
    expected = {
        "demo": _inferred(served.project, box),
        "base": _inferred(served.project, box, "--base"),
    }

    def ask(number: int) -> tuple[str, str]:
        model = "base" if number % 5 == 4 else "demo"
        question = QUESTIONS[number % len(QUESTIONS)]
        client = served.client()
        if number % 2:
            return model, _streamed(client, question, model)[0]
        made = client.chat.completions.create(model=model, messages=_user(question))
        return model, made.choices[0].message.content

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(2 * len(QUESTIONS))))
    assert [text for _, text in found] == [
        expected[model][number % len(QUESTIONS)] for number, (model, _) in enumerate(found)
    ]


def test_a_stream_counts_and_says_why_it_ended(served: Served) -> None:
    text, reason, usage = _streamed(served.client(), QUESTIONS[0], max_tokens=5)
    whole = served.client().chat.completions.create(
        model="demo", messages=_user(QUESTIONS[0]), max_completion_tokens=5
    )
    assert text == whole.choices[0].message.content and reason == "length"
    assert usage == whole.usage and usage.completion_tokens == 5


def test_stop_texts_end_an_answer(served: Served) -> None:
    whole = _streamed(served.client(), QUESTIONS[1])[0]
    stop = whole[4:9]
    before = whole[: whole.index(stop)]
    assert _streamed(served.client(), QUESTIONS[1], stop=[stop, "never"])[:2] == (before, "stop")


def test_a_seed_makes_the_same_answer_and_no_seed_another(served: Served) -> None:
    def say(**more: Any) -> str:
        return _streamed(served.client(), QUESTIONS[2], temperature=8.0, max_tokens=12, **more)[0]

    assert say(seed=4) == say(seed=4) != say(seed=5)
    assert len({say() for _ in range(3)}) == 3


def test_one_line_per_request_and_never_a_text(served: Served) -> None:
    _streamed(served.client(), "a secret word is xyzzy")
    line = served.wait_for_log("POST /v1/chat/completions 200").splitlines()[-1]
    assert "demo: prompt" in line and "tokens" in line
    assert "xyzzy" not in served.log


def test_a_client_that_hangs_up_ends_its_answer(served: Served) -> None:
    before = served.log.count("cancelled")
    stream = served.client().chat.completions.create(
        model="base", messages=_user(QUESTIONS[7]), stream=True, max_tokens=400
    )
    next(iter(stream))
    stream.close()
    link = socket.create_connection(("127.0.0.1", served.port))
    body = {"model": "base", "messages": _user(QUESTIONS[8]), "max_tokens": 400}
    raw = json.dumps(body).encode()
    link.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(raw), raw)
    )
    link.close()
    served.wait_for_log("cancelled")
    answer = served.client().chat.completions.create(model="demo", messages=_user(QUESTIONS[3]))
    assert answer.choices[0].message.content == plain_answer(served.project, QUESTIONS[3])
    assert served.log.count("cancelled") > before


GOOD: dict[str, Any] = {"model": "demo", "messages": _user("Hi"), "max_tokens": 2}


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "Invalid JSON"),
        (b"{", 400, "Invalid JSON"),
        (b"[]", 400, "object"),
        (b'{"model": "demo", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, "JSON"),
        (b'{"model": "\xff"}', 400, "JSON"),
        (b"[" * 5000, 400, "JSON"),
        ({}, 400, "model"),
        ({**GOOD, "messages": []}, 400, "messages"),
        ({**GOOD, "messages": "Hi"}, 400, "messages"),
        ({**GOOD, "messages": [{"role": "wizard", "content": "Hi"}]}, 400, "role"),
        ({**GOOD, "messages": [{"role": "user"}]}, 400, "content"),
        ({**GOOD, "messages": [{"role": "assistant", "content": "Hi"}]}, 400, "last message"),
        ({**GOOD, "messages": _user("<|im_end|>")}, 400, "special token"),
        (
            {
                **GOOD,
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}
                ],
            },
            400,
            "content",
        ),
        ({**GOOD, "max_tokens": 0}, 400, "max_tokens"),
        ({**GOOD, "max_tokens": "many"}, 400, "max_tokens"),
        ({**GOOD, "temperature": -1}, 400, "temperature"),
        ({**GOOD, "temperature": 1e-9}, 400, "temperature"),
        ({**GOOD, "top_p": 0}, 400, "top_p"),
        ({**GOOD, "n": 2}, 400, "n"),
        ({**GOOD, "logprobs": True}, 400, "logprobs"),
        ({**GOOD, "tools": [{"type": "function"}]}, 400, "tools"),
        ({**GOOD, "response_format": {"type": "json_object"}}, 400, "response_format"),
        ({**GOOD, "frequency_penalty": 0.5}, 400, "frequency_penalty"),
        ({**GOOD, "model": "gpt-4"}, 404, "gpt-4"),
        ({**GOOD, "messages": _user("clips " * 600)}, 400, "512 at most"),
        (b" " * (17 << 20), 413, "16 MiB"),
    ],
)
def test_malformed_requests_are_refused_by_name(
    served: Served, body: Any, status: int, word: str
) -> None:
    found, answer, _ = served.post(body)
    assert found == status, answer
    assert word in answer["error"]["message"] and answer["error"]["type"], answer


def test_what_asks_for_nothing_is_taken(served: Served) -> None:
    more = {
        "logprobs": False,
        "tools": [],
        "user": "me",
        "n": 1,
        "presence_penalty": 0,
        "stop": None,
    }
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
        {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "Hi", "name": "me"},
    ]
    assert served.post({**GOOD, **more, "messages": messages})[0] == 200


def test_a_prompt_longer_than_the_window_has_openais_code(served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        served.client().chat.completions.create(model="demo", messages=_user("clips " * 600))
    assert refused.value.code == "context_length_exceeded"


def test_web_pages_can_not_use_it(served: Served) -> None:
    """Neither by a name that points here, nor by a form, nor do they get to read an answer."""
    assert served.post(GOOD, Host="evil.example")[0] == 400
    assert served.post(GOOD, Content_Type="text/plain")[0] == 415
    origin = {"Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}
    status, _, headers = served.ask("OPTIONS", "/v1/chat/completions", **origin)
    assert status == 405 and "access-control-allow-origin" not in headers
    assert "access-control-allow-origin" not in served.post(GOOD, Origin="http://evil.example")[2]
    assert served.ask("GET", "/v1/nothing")[0] == 404
    assert served.ask("GET", "/v1/chat/completions")[0] == 405


def test_a_key_from_a_file(trained: Path, serve: Serve) -> None:
    key = "correct-horse-battery"
    (trained / "key").write_text(key + "\n")
    (trained / "key").chmod(0o600)
    one = serve(trained, "--run", "demo", "--key-file", "key")
    assert len(one.client(key).models.list().data) == 2
    for wrong in ("correct-horse-batterz", "x", key + "x"):
        with pytest.raises(openai.AuthenticationError):
            one.client(wrong).models.list()
    assert one.ask("GET", "/v1/models")[0] == 401 and one.ask("GET", "/health")[0] == 200
    assert one.stop().code == 0 and key not in one.log


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--host", "0.0.0.0"), 2, "without a key"),
        (("--host", "here"), 2, "an address"),
        (("--key-file", "none"), 66, "key file"),
        (("--key-file", "short"), 78, "16 characters"),
        (("--port", "0"), 2, "1 to 65535"),
        (("--base", "--merged"), 2, "exclude"),
        (("--merged",), 66, "inv merge"),
        (("--run", "none"), 66, "no such config"),
    ],
)
def test_refusals_before_anything_slow(
    trained: Path, box: Box, words: tuple[str, ...], code: int, said: str
) -> None:
    (trained / "short").write_text("abc")
    run = () if "--run" in words else ("--run", "demo")
    ran = box.run("serve", *run, "--port", str(free_port()), *words, cwd=trained)
    assert ran.code == code and said in ran.err, ran.err


def test_a_port_in_use_and_a_second_server_of_one_run(served: Served, box: Box) -> None:
    ran = box.run("serve", "--run", "demo", "--port", str(free_port()), cwd=served.project)
    assert ran.code == 75 and f"127.0.0.1:{served.port}" in ran.err and "stop-serve" in ran.err
    other = served.project / "outputs/other"
    shutil.copytree(served.project / "outputs/demo", other)
    ran = box.run("serve", "--run", "other", "--port", str(served.port), cwd=served.project)
    assert ran.code == 69 and "taken" in ran.err and "--port" in ran.err
    shutil.rmtree(other)


def test_a_run_without_adapter_and_an_adapter_of_another_base(
    trained: Path, tiny_model: Path, tmp_path: Path, box: Box
) -> None:
    other = tmp_path / "other-base"
    shutil.copytree(tiny_model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))
    argv = ("serve", "--run", "demo", "--port", str(free_port()))
    ran = box.run(*argv, "--set", f"model.name={other}", cwd=trained)
    assert ran.code == 76 and "not the one that was trained" in ran.err, ran.err
    shutil.rmtree(trained / "outputs/demo/adapter")
    ran = box.run(*argv, cwd=trained)
    assert ran.code == 66 and "no trained model" in ran.err


def test_a_signal_lets_answers_end(trained: Path, serve: Serve) -> None:
    one = serve(trained, "--run", "demo", "--set", "infer.max_new_tokens=300")
    expected, reason, _ = _streamed(one.client(), QUESTIONS[5])
    stream = one.client().chat.completions.create(
        model="demo", messages=_user(QUESTIONS[5]), stream=True
    )
    pieces = iter(stream)
    text = next(pieces).choices[0].delta.content or ""
    one.started.kill(signal.SIGTERM)
    one.wait_for_log("stopping")
    text += "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == expected and reason
    ran = one.started.wait()
    assert ran.code == 0 and "has ended" in ran.err, ran.err


def test_merged_and_base_alone(trained: Path, box: Box, serve: Serve) -> None:
    assert box.run("merge", "--run", "demo", "--dtype", "fp32", cwd=trained).code == 0
    one = serve(trained, "--run", "demo", "--merged")
    assert [model.id for model in one.client().models.list()] == ["demo"]
    assert _streamed(one.client(), QUESTIONS[3])[0] == plain_answer(trained, QUESTIONS[3])
    assert one.stop().code == 0
    shutil.move(trained / "outputs/demo/adapter", trained / "outputs/demo/.away")
    one = serve(trained, "--config", "demo.yaml", "--base")
    assert [model.id for model in one.client().models.list()] == ["base"]
    shutil.move(trained / "outputs/demo/.away", trained / "outputs/demo/adapter")
    answer = _streamed(one.client(), QUESTIONS[3], "base")[0]
    assert answer == plain_answer(trained, QUESTIONS[3], tuned=False)


def test_the_style_of_the_run_is_used(trained: Path, box: Box, serve: Serve) -> None:
    record = json.loads((trained / "outputs/demo/run.json").read_text())
    record["style"] = {"prompt": "Answer like a sailor.", "mode": "append"}
    (trained / "outputs/demo/run.json").write_text(json.dumps(record))
    argv = ("infer", "--run", "demo", "--prompt", QUESTIONS[5])
    expected = box.run(*argv, cwd=trained).out.strip()
    assert expected != box.run(*argv, "--no-style", cwd=trained).out.strip()
    one = serve(trained, "--run", "demo")
    assert _streamed(one.client(), QUESTIONS[5])[0].strip() == expected


def test_in_bf16_one_model_answers_for_both_names(trained: Path, box: Box, serve: Serve) -> None:
    """There the adapter is switched on and off: in 16 bits it can't be added without loss."""
    bf16 = ("--set", "train.precision=bf16")
    one = serve(trained, "--run", "demo", *bf16)
    assert "weights of their own" not in one.log
    for question in QUESTIONS[3:5]:
        for model, words in (("demo", ()), ("base", ("--base",)), ("demo", ())):
            argv = ("infer", "--run", "demo", "--prompt", question, *words, *bf16)
            expected = box.run(*argv, cwd=trained).out.strip()
            assert _streamed(one.client(), question, model)[0].strip() == expected
