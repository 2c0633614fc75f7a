"""Several processes that train one network: which of them this is, and what they tell each other.

torchrun starts them and says so in the environment; without it there is one process, and everything here does nothing.
All go through the same steps: what is said here has to be said by all, in the same order.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from hwnas.errors import UserError
from hwnas.heartbeat import heard

PATIENCE = timedelta(hours=2)  # the others wait while the first decodes images
POLL_S = 0.05
Item = TypeVar("Item")


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return rank() == 0


def started() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """The processes that torchrun started know each other meanwhile. NCCL between GPUs, gloo between CPUs."""
    if started() == 1:
        yield
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    store, own, count = next(rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    part = _unused_part(store, own, count)
    with heard(part.clone(), own, count):
        dist.init_process_group(backend, store=part, rank=own, world_size=count, timeout=PATIENCE)
        yield  # after an error nobody waits for the others: torchrun ends them
        dist.barrier()
    dist.destroy_process_group()


def _unused_part(store: Store, own: int, count: int) -> Store:
    """A part of the store that no process has written to before these.

    torchrun keeps the store when it starts processes again, and gloo and NCCL would take the addresses of those that
    died for those of the living. Each machine counts restarts by itself, so that the first process names the part.
    """
    name = _named_by_first(store, own) if own else _told_to_others(store, count)
    return PrefixStore(name, store)


def _named_by_first(store: Store, own: int) -> str:
    """Asks under a word of its own, so that no answer to a process that died is taken."""
    word = uuid.uuid4().hex
    store.set(f"asks/{own}", word)
    name: str = store.get(f"named/{word}").decode()
    store.set(f"knows/{name}/{own}", "")
    return name


def _told_to_others(store: Store, count: int) -> str:
    """Answers until all know: what some rank asked may be of a process that died, and is then asked anew."""
    name, until_s = uuid.uuid4().hex, time.monotonic() + PATIENCE.total_seconds()
    while lacking := [rank for rank in range(1, count) if not store.check([f"knows/{name}/{rank}"])]:
        if time.monotonic() > until_s:
            raise UserError(
                f"of {count} processes {len(lacking)} did not come within {PATIENCE}; start all of them again"
            )
        for rank in lacking:
            if store.check([f"asks/{rank}"]):
                store.set(f"named/{store.get(f'asks/{rank}').decode()}", name)
        time.sleep(POLL_S)
    return name


def _take_gpu(local_rank: int) -> None:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"process {local_rank} of this machine finds {count} GPUs; start --nproc-per-node {count}")
    torch.cuda.set_device(local_rank)


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what is inside while the others wait; then these do it, and find its files."""
    if size() > 1 and not is_first():
        dist.barrier()
    yield
    if size() > 1 and is_first():
        dist.barrier()


def average(tensors: Sequence[Tensor]) -> None:
    """Every tensor becomes its mean over the processes. All on one device, of one type, of the same shapes everywhere.

    One transfer for all of them: of the many small tensors of a mobile network the starts would cost most.
    """
    if size() == 1:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= size()
    with torch.no_grad():
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))


def of_all(number: float) -> list[float]:
    """What every process says, the first one's first."""
    return [found[0] for found in shared_out(lambda own: [(number,)], range(size()), 1)]


def total(number: float) -> float:
    """The sum over the processes."""
    return sum(of_all(number))


def from_first(number: float) -> float:
    """What the first process says."""
    return of_all(number)[0]


def shared_out(
    function: Callable[[list[Item]], Sequence[Sequence[float]]], items: Sequence[Item], numbers: int
) -> list[list[float]]:
    """So many numbers for each item, as `function` gives for those of this process, which takes every size-th item."""
    own = list(items[rank() :: size()])
    found = torch.zeros(len(items), numbers, dtype=torch.float64)
    if own:
        found[rank() :: size()] = torch.tensor(function(own), dtype=torch.float64)
    if size() > 1:
        dist.all_reduce(found)
    rows: list[list[float]] = found.tolist()
    return rows
