"""The way from `inv train` to the training loop, in frames of our own that are really on the
stacks.
"""

from __future__ import annotations

import pytest

from bench._hops import train_hops


@pytest.mark.long  # a training of two steps with its imports
def test_at_most_twelve_own_frames_lead_to_the_training_loop() -> None:
    found = train_hops()
    assert set(found) == {"task", "supervisor", "stage"}
    assert sum(len(frames) for frames in found.values()) <= 12, found
