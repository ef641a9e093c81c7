"""Sample data for a first run: a help desk with one voice, so that a small model visibly changes
within forty steps.

Every row is a device with a trouble; the answer follows from both and always has the same shape and
closing. Made from the word lists below, the same rows every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sftplay.files import write_text

RAW = Path("data/raw")
FILE = RAW / "sample.jsonl"
# has no factor in common with the number of rows: a fixed order that mixes devices and troubles
_STRIDE = 89

_DEVICES = (  # the device, and the part of it that is looked at
    ("kettle", "the lid"),
    ("toaster", "the crumb tray"),
    ("vacuum cleaner", "the filter"),
    ("desk lamp", "the joint of the arm"),
    ("coffee machine", "the water tank"),
    ("electric fan", "the grille"),
    ("hair dryer", "the air inlet"),
    ("kitchen scale", "the battery cover"),
    ("radio", "the aerial"),
    ("alarm clock", "the buttons"),
    ("sewing machine", "the needle"),
    ("hand mixer", "the whisks"),
    ("steam iron", "the sole plate"),
    ("rice cooker", "the inner pot"),
    ("food processor", "the blade"),
    ("space heater", "the air slots"),
    ("printer", "the paper feed"),
    ("waffle iron", "the hinge"),
    ("bread maker", "the paddle"),
    ("air purifier", "the dust sensor"),
)

_TROUBLES = (  # what the person says, what is mostly behind it, the first thing to do
    ("won't switch on", "no power reaches it", "Try another wall socket"),
    ("switches off by itself", "it protects itself from heat", "Let it cool down for half an hour"),
    ("makes a loud noise", "a screw has come loose", "Tighten every screw that you can see"),
    ("smells strange", "dust is being heated", "Unplug it and wipe off the dust"),
    ("gets very hot", "too little air gets in", "Move it away from the wall"),
    ("works only sometimes", "a contact is worn", "Hold the cable still and test it again"),
    ("is slower than before", "it has not been cleaned for long", "Clean it with a dry brush"),
    ("shakes on the table", "it does not stand level", "Put a rubber mat under it"),
    ("stopped after a fall", "a plug inside has slipped", "Leave it unplugged for one day"),
    ("shows a red light", "it asks for a reset", "Press the reset button for ten seconds"),
    ("hums but does nothing", "the motor is blocked", "Turn the moving part by hand, unplugged"),
    ("has a loose cable", "the clamp has given way", "Fix the cable with a new clamp"),
)

_QUESTIONS = (
    "My {device} {trouble}. What can I do?",
    "Help, the {device} {trouble}!",
    "Why is it that my {device} {trouble}?",
    "I bought a {device} last year. Now it {trouble}.",
    "The {device} at work {trouble}. Any idea?",
)

_ANSWER = "Pip here! Mostly {cause}.\n1. {step}.\n2. Check {part} of the {device}.\nStill stuck? Write again. Yours, Pip"


def rows() -> Iterator[dict[str, str]]:
    """The sample rows, 240 of them: `{"user", "assistant"}`, every device with every trouble once."""
    count = len(_DEVICES) * len(_TROUBLES)
    for number in range(count):
        which_device, which_trouble = divmod(number * _STRIDE % count, len(_TROUBLES))
        device, part = _DEVICES[which_device]
        trouble, cause, step = _TROUBLES[which_trouble]
        question = _QUESTIONS[number % len(_QUESTIONS)]
        yield {
            "user": question.format(device=device, trouble=trouble),
            "assistant": _ANSWER.format(device=device, cause=cause, step=step, part=part),
        }


def own_files() -> list[Path]:
    """Return the files in data/raw except the sample and hidden files, by name."""
    return sorted(path for path in RAW.glob("*") if path != FILE and not path.name.startswith("."))


def write_if_empty() -> int:
    """Write the sample where data/raw holds nothing.

    Returns:
        The number of rows written; 0 where data is there already.
    """
    if FILE.exists() or own_files():
        return 0
    lines = [json.dumps(row, ensure_ascii=False) for row in rows()]
    write_text(FILE, "\n".join(lines) + "\n")
    return len(lines)
