"""The open logging window: losses since the last logged point, kept in every checkpoint.

The library starts a new window when it resumes. The first logged loss would then be the mean of
fewer steps than in the uninterrupted run: a false point in the curve.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class LoggingWindow(TrainerCallback, ExportableState):
    """Save the trainer's open window in trainer_state.json, and take it over on resume."""

    trainer: Any = None

    def state(self) -> dict[str, Any]:
        """Return the window, in the form that the library stores callbacks in."""
        if self.trainer is None or not hasattr(self.trainer, "_tr_loss"):
            return {"args": {}, "attributes": {}}  # before the loop
        window = {
            "summed_loss": float(self.trainer._tr_loss),  # fp32: exact in JSON
            "last_logged": int(self.trainer._globalstep_last_logged),
            "trained_tokens": int(self.trainer.trained_tokens),
            "hits": None if self.trainer.hits is None else int(self.trainer.hits),
        }
        return {"args": {}, "attributes": window}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on with the checkpoint's window; a checkpoint of an older version has none."""
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes")
        if saved:
            device = self.trainer._tr_loss.device
            self.trainer._tr_loss = torch.tensor(saved["summed_loss"], device=device)
            self.trainer._globalstep_last_logged = saved["last_logged"]
            self.trainer.trained_tokens = saved["trained_tokens"]
            self.trainer.hits = saved.get("hits")  # an older version did not count them
