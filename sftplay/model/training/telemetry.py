"""Telemetry of a running training: the progress bar, progress.json for other terminals,
steps.jsonl, train.log, and stops by signal.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from sftplay import console
from sftplay.data.progress import progress
from sftplay.errors import SftplayError
from sftplay.files import append_line, explain_os_error, write_json
from sftplay.model.runtime.memory import memory_in_use
from sftplay.model.training.interrupt import Interrupt
from sftplay.model.training.several import require_same_weights


def event_writer(folder: Path) -> Any:
    """TensorBoard's writer, without this machine's name in its file name: run folders are shared."""
    from tensorboard.summary.writer import event_file_writer
    from torch.utils.tensorboard import SummaryWriter

    true_name = event_file_writer.socket.gethostname
    event_file_writer.socket.gethostname = lambda: "localhost"
    threading.excepthook = _in_a_thread
    try:
        return SummaryWriter(str(folder))
    finally:
        event_file_writer.socket.gethostname = true_name


def _in_a_thread(failed: threading.ExceptHookArgs) -> None:
    """Say in a line that TensorBoard's writer, which is a thread, can't write: its curves are a view,
    and what counts fails by itself.
    """
    if isinstance(failed.exc_value, OSError):
        problem = explain_os_error(failed.exc_value, "TensorBoard's file")
        console.warning(f"no more points for TensorBoard: {problem}")
    else:
        threading.__excepthook__(failed)


_KEPT = ("loss", "learning_rate", "grad_norm", "mean_token_accuracy", "epoch", "eval_loss")
# in the bar, the most important first: what a narrow terminal has no room for is at the end
_SHOWN = ("loss", "acc", "val", "tok/s", "norm")
WINDOW = 20  # steps over which the speed is averaged


class Telemetry(TrainerCallback, ExportableState):
    """Progress of one training. Checkpoints keep how many tokens it has seen.

    Args:
        path: progress.json, replaced at most once a second.
        steps: steps.jsonl, one line for each logged point. A resumed run repeats steps: the last
            line of a step counts.
        interrupt: asked after each step whether to save and leave.
        writes: False on a rank other than 0, which shows and writes nothing.
    """

    def __init__(
        self, path: Path, steps: Path, interrupt: Interrupt, *, writes: bool = True
    ) -> None:
        self.path, self.steps, self.interrupt, self.writes = path, steps, interrupt, writes
        self.trainer: Any = None
        self.tokens = self._earlier = 0  # of the whole run; of the processes before this one
        self.seconds = self.step_seconds = 0.0  # of the loop; of its steps alone
        self.losses: list[tuple[int, float]] = []
        self.val_loss: float | None = None
        # ends of steps: the time, that of the steps alone, tokens
        self._recent: deque[tuple[float, float, int]] = deque(maxlen=WINDOW)
        self._stack = ExitStack()
        self._bar: Any = None
        self._open = False
        self._shown: dict[str, Any] = {}
        self._ranks: list[float] = []  # seconds that each rank computed in the last step
        self._written = self._began = self._steps_began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar; a resumed run starts where it was."""
        require_same_weights(self.trainer.model, sharded=self.trainer.is_fsdp_enabled)
        self._began, self._open = time.monotonic(), True
        self._steps_began = self.trainer.step_clock.now()
        self.load_history(state)
        self._recent.append((self._began, self._steps_began, self.tokens))
        if self.writes:
            self._bar = self._stack.enter_context(
                progress(state.max_steps, "step", "train", done=state.global_step)
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """After each optimizer step: the bar, and what a signal asked for."""
        shares = self.trainer.share_step(self.interrupt.signum)
        self.interrupt.heard_of([signum for signum, _ in shares])
        now = time.monotonic()
        self.tokens = self._earlier + self.trainer.tokens_seen
        self._recent.append((now, self.trainer.step_clock.now(), self.tokens))
        (_, start, first), (_, end, last) = self._recent[0], self._recent[-1]
        self._shown["tok/s"] = f"{(last - first) / max(end - start, 1e-9):.0f}"
        self._ranks = [microseconds / 1e6 for _, microseconds in shares]
        if self._bar is not None:
            named = {name: self._shown[name] for name in _SHOWN if name in self._shown}
            self._bar.advance(1, **named)
        if now - self._written > 1:
            self._written = now
            self._write(state)
        if self.interrupt.agreed and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
        if state.global_step >= state.max_steps:
            control.should_log = True  # a curve ends with the run, whatever logging_steps is
            control.should_evaluate = (
                control.should_evaluate or self.trainer.eval_dataset is not None
            )
        return control

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """A logged point: loss, learning rate, gradient norm, token accuracy."""
        logs = logs or {}
        self._point(state.global_step, logs)
        if "loss" in logs:
            self.losses.append((state.global_step, float(logs["loss"])))
            self._shown["loss"] = f"{logs['loss']:.3f}"
            for key, name in (("mean_token_accuracy", "acc"), ("grad_norm", "norm")):
                if key in logs:
                    self._shown[name] = f"{float(logs[key]):.2f}"
            peak = (
                f" gpu_gb={torch.cuda.max_memory_allocated() / 1e9:.2f}"
                if torch.cuda.is_available()
                else ""
            )
            facts = " ".join(f"{key}={value:.6g}" for key, value in logs.items())
            console.log(
                f"step {state.global_step}/{state.max_steps} {facts} tok/s={self._shown.get('tok/s', '?')}{peak}"
            )
        if "eval_loss" in logs:
            self.val_loss = float(logs["eval_loss"])
            self._shown["val"] = f"{self.val_loss:.3f}"
            console.log(
                f"step {state.global_step}/{state.max_steps} eval_loss={logs['eval_loss']:.6g}"
            )

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint keeps (transformers' interface)."""
        return {"args": {}, "attributes": {"tokens": self.tokens}}

    def load_history(self, state: Any) -> None:
        """Take over losses and tokens of the processes before this one from the trainer's state."""
        kept = (state.stateful_callbacks or {}).get(type(self).__name__) or {}
        self.tokens = self._earlier = int(kept.get("attributes", {}).get("tokens", 0))
        history = state.log_history
        self.losses = [
            (int(point["step"]), float(point["loss"])) for point in history if "loss" in point
        ]
        eval_losses = [float(point["eval_loss"]) for point in history if "eval_loss" in point]
        self.val_loss = eval_losses[-1] if eval_losses else None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Every look at the val loss is saved, so that the best one can be kept."""
        control.should_save = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close(state)

    @property
    def tokens_per_second(self) -> float:
        """Speed of this process in its steps: evaluations, sample answers and checkpoints left out."""
        return (self.tokens - self._earlier) / max(self.step_seconds, 1e-9)

    def close(self, state: Any = None) -> None:
        """Close the bar; safe to call twice."""
        if self._open:
            self._open = False
            self.seconds = time.monotonic() - self._began
            self.step_seconds = self.trainer.step_clock.now() - self._steps_began
            self._bar = None
            self._stack.close()
            if state is not None:
                self._write(state)

    def _seconds_per_step(self) -> float | None:
        """Seconds a step, over the last ones, with what happens between them: for the time left."""
        if len(self._recent) < 2:
            return None
        return (self._recent[-1][0] - self._recent[0][0]) / (len(self._recent) - 1)

    def _point(self, step: int, logs: dict[str, float]) -> None:
        """The logged point as a line of steps.jsonl, with speed and memory at that moment."""
        kept = {key: float(logs[key]) for key in _KEPT if key in logs}
        if not kept or not self.writes:
            return
        speed = self._shown.get("tok/s")
        point = {
            **kept,
            "tokens_per_second": float(speed) if speed else None,
            "memory_bytes": memory_in_use(),
        }
        finite = {
            key: value for key, value in point.items() if value is None or math.isfinite(value)
        }
        try:
            append_line(
                self.steps, json.dumps({"step": step, "time": round(time.time(), 3), **finite})
            )
        except SftplayError:
            pass  # as in _write: a view

    def _write(self, state: Any) -> None:
        if not self.writes:
            return
        value: dict[str, Any] = {
            "step": state.global_step,
            "steps": state.max_steps,
            "tokens": self.tokens,
            "time": time.time(),
            "seconds_per_step": self._seconds_per_step(),
            **{
                key: float(value)
                for key, value in self._shown.items()
                if math.isfinite(float(value))
            },
        }
        if len(self._ranks) > 1:
            value["rank_seconds"] = [round(seconds, 6) for seconds in self._ranks]
        try:
            write_json(self.path, value)
        except SftplayError:
            # only a view for other terminals; a full disk shows where it matters, at the next
            # checkpoint
            pass
