"""Processes, started by torchrun, that share the frames of one scan: their ranks, and the sums over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, Self

import torch
from torch import Tensor, distributed

from ptychopinn.errors import PtychoError

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

    def share(self, rows: slice) -> slice:
        """This process's share of some rows: as many as each other one's, in the order of the ranks."""
        count, place = len(self.members), self.members.index(self.rank)
        start, length = rows.start, rows.stop - rows.start
        return slice(start + length * place // count, start + length * (place + 1) // count)

    def total(self, part: Tensor) -> Tensor:
        """The sum over all processes, in place, to the same last bit in each; complex numbers are summed as pairs."""
        if len(self.members) > 1:
            whole = part.contiguous()
            distributed.all_reduce(torch.view_as_real(whole) if whole.is_complex() else whole)
            if whole is not part:
                part.copy_(whole)
        return part

    def any(self, said: bool) -> bool:
        """Whether any of the processes says so."""
        return said if len(self.members) == 1 else bool(self.total(torch.tensor(float(said))) > 0)


ALONE = Team()


def started_together() -> int:
    """Number of processes that torchrun started; 1 without it."""
    return _number("WORLD_SIZE", 1)


def _number(name: str, usual: int) -> int:
    """A number that torchrun sets in the environment.

    Raises:
        PtychoError: when something else has set it.
    """
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise PtychoError(f"{name}: {text!r} in the environment; a number, as torchrun sets it, is needed.")
    return usual if text is None else int(text)


@contextmanager
def team() -> Iterator[Team]:
    """All processes that torchrun started, joined as long as the block lasts; this one where it did not.

    Tensors of the host are summed by gloo. Tensors of GPUs are summed by NCCL where every process of a machine has a
    GPU of its own, otherwise by gloo, too.

    Raises:
        PtychoError: when the environment names other processes, but no torchrun has started them.
    """
    size, rank = started_together(), _number("RANK", 0)
    if size == 1:
        yield ALONE
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % gpus)
    own = 0 < int(os.environ.get("LOCAL_WORLD_SIZE", size)) <= gpus
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if own else "gloo", timeout=PATIENCE)
    except ValueError as error:
        reason = str(error).rpartition(": ")[2]
        raise PtychoError(
            f"WORLD_SIZE: {size} in the environment, but the other processes are not found ({reason}); start them by "
            "torchrun, or unset it."
        ) from None
    try:
        yield Team(rank, range(size))
    finally:
        distributed.destroy_process_group()
