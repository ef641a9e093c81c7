"""Exchange between ranks while they train: plain numbers and bytes, never pickled objects.

Without a process group each function returns what one rank alone knows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

from sftplay.errors import MachineError
from sftplay.ranks import World

# gloo and NCCL raise plain RuntimeErrors; what they say is all that tells them apart
_PEER = re.compile(r"gloo/|Connection closed by peer|Connection reset by peer|NCCL|ProcessGroup")
_SOURCE = re.compile(r"^\[[^\]]*\.cc:\d+\] ")
_WAITED = re.compile(r"[Tt]imed out|[Tt]imeout")
_UNREADY = re.compile(r"Expected to have finished reduction in the prior iteration")


def join(world: World, device: str, timeout: int) -> None:
    """Connect this rank with the others.

    Args:
        timeout: seconds that one exchange may take before the training ends.

    Raises:
        MachineError: the group has another size than the plan (69).
    """
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    if dist.get_world_size() != world.size:
        raise MachineError(
            f"{dist.get_world_size()} ranks have met, and the plan is for {world.size}",
            todo="look for variables of another launcher: env | grep WORLD_SIZE",
        )


def leave() -> None:
    """Give up the connections, where there are some."""
    if dist.is_initialized():
        dist.destroy_process_group()


def this_rank() -> int:
    """Number of this rank; 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def rank_count() -> int:
    """Number of ranks; 1 where this process is alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(numbers: Sequence[int]) -> list[list[int]]:
    """Return the numbers of every rank, by rank."""
    if not dist.is_initialized():
        return [list(numbers)]
    mine = torch.tensor(numbers, dtype=torch.int64)
    found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(found, mine)
    return [one.tolist() for one in found]


def summed(numbers: Sequence[float]) -> list[float]:
    """Return the sums over all ranks, in double precision, the same on each."""
    if not dist.is_initialized():
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(total)
    return [float(one) for one in total]


def least(numbers: Sequence[int]) -> list[int]:
    """Return the smallest of each number over all ranks."""
    return [min(column) for column in zip(*gathered(numbers), strict=True)]


def said_by_first(flag: bool) -> bool:
    """Return what rank 0 says: it looks at files that it also writes."""
    return bool(gathered([int(flag)])[0][0])


def bytes_of_all(content: bytes) -> list[bytes]:
    """Return the bytes of every rank, by rank, on each of them."""
    if not dist.is_initialized():
        return [content]
    sizes = [size for (size,) in gathered([len(content)])]
    padded = content.ljust(max(sizes), b"\0")
    mine = torch.frombuffer(bytearray(padded), dtype=torch.uint8)
    found = [torch.empty_like(mine) for _ in sizes]
    dist.all_gather(found, mine)
    return [bytes(one.numpy())[:size] for one, size in zip(found, sizes, strict=True)]


def wait_for_all() -> None:
    """Return when every rank has come here."""
    gathered([0])


def is_lost_peer(error: BaseException) -> bool:
    """True if a failure says that another rank is gone or did not answer."""
    return any(
        isinstance(one, dist.DistError)
        or (isinstance(one, RuntimeError) and bool(_PEER.search(str(one))))
        for one in _chain(error)
    )


def essence(error: BaseException) -> str:
    """Return what a failure says of the peer, without the place in a library's source and advice."""
    return _SOURCE.sub("", str(error)).split(". This is typically")[0][:300]


def has_waited(error: BaseException) -> bool:
    """True if a failure says that nobody answered in time."""
    return any(bool(_WAITED.search(str(one))) for one in _chain(error))


def is_unready(error: BaseException) -> bool:
    """True if a trained parameter took no part in a pass on this rank: DDP waits for all."""
    return any(bool(_UNREADY.search(str(one))) for one in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def local_rank() -> int:
    """Number of this rank on its node, from the agent's variables."""
    return int(os.environ.get("LOCAL_RANK") or 0)
