"""Processes, started by torchrun, that stitch one image together: their ranks, and how they exchange sums.

Sums travel through the memory of the host by gloo, a few times per scan; that works the same with and without GPUs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, Self

import torch
from torch import Tensor, distributed

from ptychopinn.inference.stitching import Stitcher

PATIENCE = timedelta(days=2)
"""How long a process waits for the others: one of them may have the work of all."""


class Team(NamedTuple):
    """Processes of consecutive ranks, and the rank of this one."""

    rank: int = 0
    members: range = range(1)

    @property
    def leads(self) -> bool:
        """Whether this process is the first of the team."""
        return self.rank == self.members.start

    def halves(self) -> tuple[Self, Self]:
        """Two teams of half the processes each."""
        middle = (len(self.members) + 1) // 2
        return self._replace(members=self.members[:middle]), self._replace(members=self.members[middle:])


ALONE = Team()


def started_together() -> int:
    """Number of processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def team() -> Iterator[Team]:
    """All processes that torchrun started, joined as long as the block lasts; this one where it did not."""
    size, rank = started_together(), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Team(rank, range(size))
    finally:
        distributed.destroy_process_group()


def send(part: Stitcher, to: int) -> None:
    """Send sums to another process."""
    distributed.send(torch.tensor([*part.origin, *part.shape]), to)
    for sums in _sums(part):
        distributed.send(sums.cpu().contiguous(), to)


def receive(weight: Tensor, source: int) -> Stitcher:
    """Receive the sums of another process, whose patches have the same weight."""
    box = torch.zeros(4, dtype=torch.int64)
    distributed.recv(box, source)
    row, col, height, width = box.tolist()
    part = Stitcher((height, width), weight, (row, col))
    for sums in _sums(part):
        taken = torch.empty(sums.shape)
        distributed.recv(taken, source)
        sums.copy_(taken)
    return part


def share(canvas: Stitcher) -> None:
    """Send the sums of the first process to all others."""
    for sums in _sums(canvas):
        taken = sums.cpu().contiguous()
        distributed.broadcast(taken, 0)
        sums.copy_(taken)


def _sums(part: Stitcher) -> Iterator[Tensor]:
    """The sums as real tensors, which are what gloo sends."""
    assert part.moments is not None
    yield torch.view_as_real(part.total)
    yield part.coverage
    yield torch.view_as_real(part.moments)
