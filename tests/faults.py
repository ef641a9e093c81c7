"""Faults that a test builds into a stage's own process (Box, BOX_BREAK): what a wrong version of
the code would do.
"""

from __future__ import annotations

from typing import Any


def wrong_accumulation_scale() -> None:
    """Each pass of a step divides by its own trained tokens instead of the whole step's: the old
    bug of gradient accumulation.
    """
    from sftplay.model.training.trainer import Trainer

    right = Trainer.compute_loss

    def wrong(
        self: Any,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        return right(self, model, inputs, return_outputs)

    Trainer.compute_loss = wrong  # type: ignore[method-assign]


def unsloth_breaks_in_step_three() -> None:
    """A failure inside a module of Unsloth's name, in the third step of a training."""
    import types

    from sftplay.model.training import trainer

    right = trainer.loss_and_hits
    fake = types.ModuleType("unsloth.kernels.fast_lora")
    exec("def work():\n    raise NotImplementedError('no kernel for this shape')", fake.__dict__)
    passes = 0

    def wrong(model: Any, inputs: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        if passes > 3:
            fake.__dict__["work"]()
        return right(model, inputs, **more)

    trainer.loss_and_hits = wrong
    pretend_unsloth()


def gradient_overflows_in_step_three() -> None:
    """A finite loss whose gradient is not, in the third step."""
    from sftplay.model.training import trainer

    right = trainer.loss_and_hits
    passes = 0

    def wrong(model: Any, inputs: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        total, count, hits = right(model, inputs, **more)
        if passes == 3:
            total.register_hook(lambda gradient: gradient * float("inf"))
        return total, count, hits

    trainer.loss_and_hits = wrong


def pretend_unsloth() -> None:
    """The BnB backend under Unsloth's name, and a probe that is content: the way of a training
    without the library itself.
    """
    import os

    from sftplay.model import backends, train
    from sftplay.model.unsloth.probe import Verdict

    os.environ["SFTPLAY_STACK"] = "unsloth"
    backends.BACKENDS["unsloth"] = backends.BACKENDS["bnb"]  # type: ignore[index]
    train.probe = lambda precision, log: Verdict(None, attention="sdpa/flash")  # type: ignore[assignment, misc]


def bitsandbytes_packs() -> None:
    """bitsandbytes believes that the processor has AVX512-BF16."""
    import bitsandbytes.nn.modules

    bitsandbytes.nn.modules.has_avx512bf16 = lambda: True


def bitsandbytes_never_packs() -> None:
    """bitsandbytes believes that the processor has no AVX512-BF16."""
    import bitsandbytes.nn.modules

    bitsandbytes.nn.modules.has_avx512bf16 = lambda: False


def packed_layout_is_back() -> None:
    """4-bit weights take the layout whose product has no derivative, as they did on processors with
    AVX512-BF16.
    """
    from sftplay.model.weights import load

    bitsandbytes_packs()
    load.keep_layout = lambda model: None  # type: ignore[assignment]


def optimizer_moves_nothing() -> None:
    """An optimizer whose steps change no weight."""
    import torch

    torch.optim.AdamW.step = lambda self, closure=None: None  # type: ignore[assignment, method-assign]


def stale_adapter_weights() -> None:
    """Products with copies of A and B that are made once and never again."""
    from typing import Any

    import torch

    from sftplay.model.lean import lowrank

    right, copies = lowrank._forward, dict[int, tuple[Any, Any]]()

    def wrong(layer: Any, plain: Any, wide: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        (name,) = layer.active_adapters
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        if b.any() and torch.is_grad_enabled():  # as they were in the first pass that trains them
            old = copies.setdefault(id(layer), (a.detach().clone(), b.detach().clone()))
            a, b = a - (a - old[0]).detach(), b - (b - old[1]).detach()
        return lowrank._LowRank.apply(
            x, None, layer.get_base_layer(), wide, a, b, layer.scaling[name]
        )

    wrong.__module__ = lowrank.__name__
    assert right is not wrong
    lowrank._forward = wrong


def variables_reach_the_stage() -> None:
    """A variable that sets a training and that no list of sftplay's knows."""
    from sftplay import cli

    cli.drop_training_settings = lambda environ: None


def ranks_are_forked() -> None:
    """The agent forks the ranks instead of starting them: no second import of torch and TRL."""
    from sftplay.model.ranks import agent

    agent._start_method = lambda: {"start_method": "fork"}
    agent._entrypoint = lambda command: (_run_rank, list(command[3:]))


def _run_rank(*argv: str) -> None:
    import ctypes
    import os

    from sftplay.cli import main

    # torch lets forked ranks have a SIGINT when their parent dies; real ones get nothing
    ctypes.CDLL(None).prctl(1, 0)
    code = main(argv)
    if code:
        os._exit(code)


def rank_one_runs_out_of_memory() -> None:
    """Rank 1 has no memory left in the third step."""
    import torch

    def break_down() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    _in_step_three_of_rank_one(break_down)


def rank_one_hangs() -> None:
    """Rank 1 does not come back from the third step for a while."""
    import time

    _in_step_three_of_rank_one(lambda: time.sleep(40))


def rank_one_is_stopped_while_it_tells_the_others() -> None:
    """A stop that reaches rank 1 when it has just told the others that there is none."""
    import os
    import signal

    from sftplay.model.training.trainer import Trainer

    ranks_are_forked()
    right = Trainer.share_step

    def interrupted(self: Any, signum: int) -> Any:
        if os.environ.get("RANK") == "1" and self.state.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return right(self, signum)

    Trainer.share_step = interrupted  # type: ignore[method-assign]


def rank_one_is_stopped_when_the_val_loss_ends_the_training() -> None:
    """A stop that reaches rank 1 when all have decided, with no word, that there is no next step."""
    import os
    import signal

    from sftplay.model.training.trainer import Trainer

    ranks_are_forked()
    right = Trainer.evaluate

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = right(self, *args, **kwargs)
        if os.environ.get("RANK") == "1" and self.control.should_training_stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    Trainer.evaluate = interrupted  # type: ignore[method-assign]


def _in_step_three_of_rank_one(act: Any) -> None:
    import os

    from sftplay.model.training.trainer import Trainer

    ranks_are_forked()
    right = Trainer.compute_loss

    def wrong(self: Any, *args: Any, **kwargs: Any) -> Any:
        if os.environ.get("RANK") == "1" and self.state.global_step == 2:
            act()
        return right(self, *args, **kwargs)

    Trainer.compute_loss = wrong  # type: ignore[method-assign]


def unsloth_breaks_in_two_ranks() -> None:
    """Unsloth's failure in a training of two ranks, which settings refuse today."""
    from sftplay.decision import Decision
    from sftplay.model import train
    from sftplay.ranks import World

    ranks_are_forked()
    unsloth_breaks_in_step_three()
    train.choose_world = lambda *args, **kwargs: Decision(World(2), "a test")


def slow_disk() -> None:
    """A disk that takes a quarter of a second for each file that is to be safe."""
    import os
    import time

    right = os.fsync

    def slow(fd: int) -> None:
        time.sleep(0.25)
        right(fd)

    os.fsync = slow


def breaks_in_its_first_step() -> None:
    """A failure before anything is counted."""
    from sftplay.model.training.trainer import Trainer

    def breaks(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError("in the first step")

    Trainer.training_step = breaks  # type: ignore[method-assign]


def a_library_swallows_a_stop() -> None:
    """SIGTERM comes while a stage's libraries are imported, inside a bare `except:` of one of them."""
    import os
    import signal

    from sftplay import cli

    right = cli.importlib.import_module

    def imports(name: str, package: str | None = None) -> Any:
        cli.importlib.import_module = right  # type: ignore[assignment]
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
        except:  # noqa: E722 - as libraries do it
            pass
        return right(name, package)

    cli.importlib.import_module = imports  # type: ignore[assignment]
