"""What an HDF5 dataset declares, against what its file holds and what fits in memory.

A file of a few kilobytes can declare any shape: chunks that were never written take no room, and read as zeros.
"""

from typing import Any

import h5py

from ptychopinn.errors import PtychoError
from ptychopinn.memory import check_memory, in_gib

LARGE = 2**28
"""Bytes from which a dataset is compared with what its file holds."""

PACKED = 1100
"""Bytes that deflate unpacks from one, at most."""

COPIES = 2
"""Arrays of a dataset's size while it is read and converted."""


def hollow(dataset: h5py.Dataset) -> str:
    """Why a dataset declares far more than was written; empty where it does not."""
    needed = int(dataset.size or 0) * dataset.dtype.itemsize
    if needed < LARGE or dataset.external:
        return ""
    stored = _mapped(dataset) if dataset.is_virtual else dataset.id.get_storage_size()
    if stored is None or needed <= PACKED * stored:
        return ""
    return (
        f"{dataset.name}: declares shape {dataset.shape}, {in_gib(needed)}, and the file holds {stored} bytes of it; a "
        "file whose writer has finished is needed."
    )


def _mapped(dataset: h5py.Dataset) -> int | None:
    """Bytes of a virtual dataset that have a source; None where sources may grow."""
    try:
        points = sum(source.vspace.get_select_npoints() for source in dataset.virtual_sources())
    except (RuntimeError, ValueError, OverflowError):
        return None
    return int(points) * dataset.dtype.itemsize


def check_whole(dataset: h5py.Dataset) -> None:
    """Refuse to read all of a dataset that was hardly written, or does not fit in memory.

    Raises:
        PtychoError: naming it, what it needs and what is there.
    """
    if why := hollow(dataset):
        raise PtychoError(why)
    check_memory(COPIES * int(dataset.size or 0) * dataset.dtype.itemsize, f"{dataset.name}: shape {dataset.shape}")


def is_whole(args: Any) -> bool:
    """Whether an index of a dataset means all of it."""
    return args is Ellipsis or args == () or (isinstance(args, slice) and args == slice(None))
