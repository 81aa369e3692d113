"""How processes that torchrun started exchange the sums of the parts that they stitch.

Sums travel through the memory of the host by gloo, a few times per scan; that works the same with and without GPUs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, distributed

from ptychopinn.inference.stitching import Stitcher


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
