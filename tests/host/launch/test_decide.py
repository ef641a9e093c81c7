"""Decisions after a training's end: every kind of end, with and without a request to hand over, as
a table.
"""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.cli import parse_call
from sftplay.errors import ProtocolError
from sftplay.handover import HandOver
from sftplay.host.launch.decide import Begin, Finish, LaunchState, decide
from sftplay.host.protocol.records import Exit, Start

ARGV = ("train", "--run", "demo")
RESUME = (*ARGV, "--resume")
HANDED = (*ARGV, "--handed-over-from=01-unsloth")
ASKED = HandOver(run="demo", attempt="01-unsloth", nonce="n", phase="train", reason="kernel")
LATE = HandOver(
    run="demo", attempt="01-unsloth", nonce="n", phase="train", reason="kernel", step=51
)
FORGED = ProtocolError("not a valid hand-over")


def move(
    code: int | None,
    request: Any = None,
    *,
    again: tuple[str, ...] = ARGV,
    unsloth: bool = True,
    **more: Any,
) -> str:
    """Return the answer of `decide` after a start that ended with `code`, in a word or two."""
    start = Start(
        1,
        "n",
        (*ARGV, "--attempt=1"),
        "unsloth",
        "local",
        "",
        "",
        attempt="01-unsloth" if unsloth else "",
    )
    end = Exit(1, "n", code, more.pop("asked", ""), "", more.pop("oom", False))
    backend = more.pop("backend", "unsloth")
    facts = LaunchState(
        call=parse_call(again),
        enabled=True,
        max_lost_steps=50,
        newest=start,
        end=end,
        request=request,
    )
    found = decide(LaunchState(**{**vars(facts), **more}), backend)
    if isinstance(found, Finish):
        words = [name for name in ("late", "final", "waiting") if getattr(found, name)]
        return " ".join([str(found.code), *words, *(["bad"] if found.bad else [])])
    assert isinstance(found, Begin)
    assert (tuple(found.call.argv) == HANDED) == bool(found.handed_from)
    return (
        "hand over"
        if found.handed_from
        else f"{found.backend}{' resume' if found.call.options.get('resume') else ''}"
    )


@pytest.mark.parametrize(
    ("code", "facts", "watched", "next_start"),
    [  # how it ended, the launcher that watched it, and the next one
        (79, {}, "hand over", "hand over"),
        (1, {}, "hand over", "hand over"),
        (139, {}, "hand over", "hand over"),
        (None, {}, "hand over", "hand over"),  # the supervisor was killed
        (79, {"asked": "stop"}, "143 waiting", "hand over"),
        (143, {"asked": "stop"}, "143 waiting", "hand over"),
        (137, {"asked": "kill"}, "137 waiting", "hand over"),
        (143, {}, "143 waiting", "hand over"),
        (130, {}, "130 waiting", "hand over"),
        (137, {}, "137 waiting", "hand over"),
        (137, {"oom": True}, "137", "unsloth"),
        (79, {"oom": True}, "137", "unsloth"),
        (85, {"asked": "stop"}, "85", "unsloth"),
        (0, {}, "0", "unsloth"),
        (79, {"enabled": False}, "79 final", "unsloth"),
        (79, {"request": LATE}, "79 late", "unsloth"),
        (143, {"request": LATE}, "143 waiting", "unsloth"),
        (79, {"request": FORGED}, "70 bad", "unsloth"),
        (65, {"request": FORGED}, "65 bad", "unsloth"),
        (None, {"request": FORGED}, "70 bad", "unsloth"),
        (143, {"request": FORGED}, "143", "unsloth"),
        (79, {"request": None}, "70 bad", "unsloth"),
        (79, {"request": None, "asked": "stop"}, "70 bad", "unsloth"),
        (65, {"request": None}, "65", "unsloth"),
    ],
)
def test_after_an_unsloth_attempt(
    code: int | None, facts: dict[str, Any], watched: str, next_start: str
) -> None:
    given = {"request": ASKED, **facts}
    assert move(code, ours=True, **given) == watched
    assert move(code, reported=True, **given) == next_start
    resumed = move(code, reported=True, again=RESUME, begun="unsloth", **given)
    assert resumed == (next_start if next_start == "hand over" else "unsloth resume")


@pytest.mark.parametrize("again", [ARGV, RESUME])
@pytest.mark.parametrize("begun", ["", "unsloth"])
@pytest.mark.parametrize("code", [65, 143, 85, None])
def test_a_hand_over_is_done_again_until_its_attempt_is_stamped(
    again: tuple[str, ...], begun: str, code: int
) -> None:
    facts: dict[str, Any] = {"again": again, "reported": True, "unsloth": False}
    assert move(code, handed_from="01-unsloth", begun=begun, **facts) == "hand over"
    assert move(code, begun="bnb", **facts) == ("bnb resume" if again is RESUME else "unsloth")


def test_who_asks_for_bnb_is_not_handed_over() -> None:
    assert move(65, unsloth=False, reported=True, handed_from="01-unsloth", backend="bnb") == "bnb"


def test_another_command_does_not_act_on_the_request() -> None:
    assert move(79, ASKED, again=(*ARGV, "--set", "train.seed=2")) == "unsloth"


def test_bnb_hands_over_to_nobody() -> None:
    assert move(79, unsloth=False, ours=True) == "70 bad"
