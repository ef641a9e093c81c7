"""Identity of the training that a command line asks for, compared across starts, resumes and
hand-overs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sftplay.call import StageCall
from sftplay.cli import parse_call
from sftplay.errors import UsageError

# Options that change how a training is started, not which one it is; the launcher itself adds the
# last two.
_OF_A_START = {"resume": False, "attempt": None, "handed_over_from": None}


def training_of(call: StageCall) -> StageCall:
    """Return the call without what belongs to one start of it."""
    return call.with_options(**_OF_A_START)


def same_training(argv: Sequence[str], call: StageCall) -> bool:
    """Compare a recorded command line with a call: begun, resumed or handed over, it is the same
    training.
    """
    try:
        return training_of(parse_call(argv)) == training_of(call)
    except UsageError:  # the record of another version, or of something else
        return False


def describe(argv: Sequence[str]) -> str:
    """Return a recorded command line as a person would type it, without the launcher's own words."""
    try:
        return " ".join(training_of(parse_call(argv)).argv)
    except UsageError:
        return " ".join(argv)
