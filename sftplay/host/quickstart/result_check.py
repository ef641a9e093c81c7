"""Doubts about a training, judged by the loss on rows that it was not trained on."""

from __future__ import annotations

from sftplay.runs import Run
from sftplay.untrusted import read_json

BETTER_BY = 0.1  # of the base's val loss: less is no clear gain, even for a few steps
# nats per token on the sample's val rows, reached by the defaults on processors with and without
# bf16
SAMPLE_LOSS = 1.2


def check_result(target: Run, *, only_sample: bool) -> list[str]:
    """Return what speaks against the training, judged by the loss on rows that it was not trained
    on.

    Args:
        only_sample: the rows are the sample's, of which the loss is known that the defaults reach.
    """
    loss = read_json(target.eval("val") / "metrics.json")["metrics"]["loss"]
    base, tuned = float(loss["base"]), float(loss["tuned"])
    look = (
        f"check the loss curve (inv report {target.name}), at the arithmetic of this machine (inv check --numerics),"
        " and at what is trained (inv data.show); more steps: --set train.max_steps=100"
    )
    if not tuned <= (1 - BETTER_BY) * base:
        return [
            f"the tuned model is hardly better than the base: val loss {tuned:.2f} against {base:.2f}; {look}"
        ]
    if only_sample and tuned > SAMPLE_LOSS:
        said = f"val loss {tuned:.2f}; with the default settings the sample rows reach less than {SAMPLE_LOSS:g}"
        return [f"the tuned model learned less than it should: {said}; {look}"]
    return []
