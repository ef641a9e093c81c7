"""Tokens and prompts: llama.cpp's next to the run's own."""

from __future__ import annotations

from typing import Any

from sftplay import console
from sftplay.errors import DataError, RefusedError
from sftplay.model.answers.prompts import Prompter
from sftplay.model.gguf.proof import require_same_tokens
from sftplay.model.gguf.runtime import Runtime
from sftplay.model.gguf.texts import RARE, TEXTS
from sftplay.model.merging.proof import PROMPTS
from sftplay.model.weights.trained_run import RunFacts

_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "What is 3 times 21?"}],
    [
        {"role": "user", "content": "What is 3 times 21?"},
        {"role": "assistant", "content": "It is 63."},
        {"role": "user", "content": "And 4 times?"},
    ],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 3 times 21?"},
    ],
)


def check_tokens(facts: RunFacts, runtime: Runtime) -> dict[str, Any]:
    """Return how many texts have the same tokens, and those of rare characters that have not.

    Raises:
        RefusedError: a text of common characters has others (76).
    """
    common = (*PROMPTS, *TEXTS)
    ours = [_tokens(facts, text) for text in common]
    require_same_tokens(common, ours, [runtime.tokenize(text) for text in common])
    other = [text for text in RARE if _tokens(facts, text) != runtime.tokenize(text)]
    if other:
        shown = ", ".join(map(repr, other))
        console.warning(f"rare characters that llama.cpp cuts into other tokens: {shown}")
    return {"same": len(common) + len(RARE) - len(other), "other": other}


def _tokens(facts: RunFacts, text: str) -> list[int]:
    found: list[int] = facts.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def check_prompts(facts: RunFacts, prompter: Prompter, runtime: Runtime) -> str:
    """Compare conversations as a server of llama.cpp renders them, with the template in the file.

    Returns:
        `the same`, or in words what differs and is known to.

    Raises:
        RefusedError: a prompt has other tokens, and no date in the template explains it (76).
    """
    for messages in _CONVERSATIONS:
        ours = _ids(prompter, messages)
        if ours is None:
            continue
        theirs = runtime.tokenize(runtime.render(messages), whole=True)
        if theirs == ours:
            continue
        if facts.template.date:
            note = f"today's date where the run was trained with {facts.template.date}"
            console.warning(f"the file's chat template prints {note}")
            return note
        text = facts.tokenizer.decode(theirs)
        raise RefusedError(
            f"llama.cpp renders a prompt otherwise than the run's template: {text[:200]!r}",
            todo="nothing was written; its template engine can't run this chat template",
        )
    return "the same"


def check_ends(facts: RunFacts, runtime: Runtime, *, adapter: bool = False) -> dict[str, int]:
    """Return the run's end tokens at which a server of llama.cpp would go on, with their ids; they
    are reported.

    Args:
        adapter: the file is its base's, which knows nothing of the run.

    Raises:
        RefusedError: its end-of-turn token is among them, and the file is the run's own (76).
    """
    names: Any = facts.tokenizer.convert_ids_to_tokens(facts.eot_ids)
    unknown = {
        name: token
        for name, token in zip(names, facts.eot_ids, strict=True)
        if not runtime.ends_at(token)
    }
    if facts.eot in unknown and not adapter:
        raise RefusedError(
            f"llama.cpp does not end an answer at {facts.eot}, the run's end-of-turn token",
            todo="nothing was written; please report this",
        )
    if unknown:
        more = f": start it with {end_option(unknown[facts.eot])}" if facts.eot in unknown else ""
        console.warning(f"llama-server goes on after {', '.join(unknown)}{more}")
    return unknown


def end_option(token: int) -> str:
    """Return the option by which llama.cpp's programs end an answer at a token."""
    return f"--override-kv tokenizer.ggml.eot_token_id=int:{token}"


def _ids(prompter: Prompter, messages: list[dict[str, str]]) -> list[int] | None:
    """Return the run's own tokens; None where its template does not take this conversation."""
    if prompter.system != "render" and messages[0]["role"] == "system":
        return None
    try:
        return prompter.ids(messages)
    except DataError:
        return None


def start_token(facts: RunFacts, runtime: Runtime) -> str:
    """Return the token that the file has a server put in front of every prompt; empty for none."""
    plain, whole = runtime.tokenize("a"), runtime.tokenize("a", whole=True)
    added = whole[: len(whole) - len(plain)] if whole[-len(plain) :] == plain else []
    tokens: Any = facts.tokenizer.convert_ids_to_tokens(added)
    return "".join(tokens)
