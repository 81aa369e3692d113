"""Links between HDF5 files: what a file holds behind them, and what is said of a broken one."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any, NamedTuple

import h5py

from ptychopinn.errors import PtychoError
from ptychopinn.files.conventions.own_folder import DAMAGED, MAX_DEPTH, candidates

NOT_THERE = "not there"


class Entry(NamedTuple):
    """A dataset under one of its names; ``shape`` is None for a link that leads nowhere."""

    name: str
    shape: tuple[int, ...] | None
    size: int
    origin: str

    def __str__(self) -> str:
        shape = "" if self.shape is None else f" {self.shape}"
        return f"{self.name}{shape}{self.origin}"


def contents(file: h5py.Group) -> list[str]:
    """Name and shape of every dataset, also behind links; broken links first, then the largest.

    Datasets that differ in the number at the end of their name only, as the parts of a detector, share an entry.
    """
    found = sorted(_walk(file, "", frozenset(), 0), key=lambda entry: (entry.shape is not None, -entry.size))
    return [_together(list(alike)) for _, alike in groupby(found, key=_kind)]


def stacks(file: h5py.Group) -> list[str]:
    """Name and shape of every dataset that may be frames and holds some, the largest first."""
    found = [entry for entry in _walk(file, "", frozenset(), 0) if len(entry.shape or ()) > 2 and entry.size]
    return [str(entry) for entry in sorted(found, key=lambda entry: -entry.size)]


def _kind(entry: Entry) -> tuple[Any, ...]:
    return re.sub(r"\d+$", "", entry.name), entry.shape, bool(entry.origin)


def _together(alike: list[Entry]) -> str:
    if len(alike) < 3:
        return ", ".join(map(str, alike))
    names = sorted((entry.name for entry in alike), key=natural)
    last, each = names[-1].rsplit("/", 1)[-1], str(alike[0]).removeprefix(alike[0].name)
    return f"{names[0]} ... {last} ({len(alike)} of them, the first{each})"


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Key that sorts ``data_2`` before ``data_10``."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part]


def expand(file: h5py.Group, pattern: str) -> list[str]:
    """Names that a pattern with ``*``, ``?`` or ``[...]`` matches, numbers in order; a plain name stays.

    Raises:
        PtychoError: when it matches nothing.
    """
    if pattern in file or not set(pattern) & set("*?["):
        return [pattern]
    found = [""]
    for part in filter(None, pattern.split("/")):
        found = [f"{above}/{key}" for above in found for key in _keys(file, above) if fnmatchcase(key, part)]
    if not found:
        raise PtychoError(f"{pattern}: no name in the file fits this pattern; names of datasets are needed.")
    return found


def _keys(file: h5py.Group, name: str) -> list[str]:
    group = file.get(name) if name else file
    return sorted(group, key=natural) if isinstance(group, h5py.Group) else []


def _walk(group: h5py.Group, prefix: str, above: frozenset[tuple[str, int]], depth: int) -> Iterator[Entry]:
    """All datasets below a group; a group inside itself is not entered again."""
    here = (str(group.file.filename), int(h5py.h5o.get_info(group.id).addr))
    if here in above or depth > MAX_DEPTH:
        return
    for key in group:
        name, link = f"{prefix}/{key}", group.get(key, getlink=True)
        try:
            item = group.get(key)
        except PtychoError:
            yield Entry(name, None, 0, f" in {getattr(link, 'filename', link)}")  # outside the folder of the file
            continue
        except DAMAGED:
            item = None
        if isinstance(item, h5py.Group):
            yield from _walk(item, name, above | {here}, depth + 1)
        elif isinstance(item, h5py.Dataset):
            linked = isinstance(link, h5py.ExternalLink)
            yield Entry(name, item.shape or (), int(item.size or 0), f" in {link.filename}" if linked else "")
        elif item is None:
            yield Entry(name, None, 0, f" ({broken(group, key)})")


def broken(group: h5py.Group, name: str) -> str:
    """Why there is nothing under a name: ``not there``, or where its link, or one on its way, leads."""
    parts = [part for part in name.split("/") if part]
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        try:
            link = group.get(path, getlink=True)
        except DAMAGED:
            return NOT_THERE
        if isinstance(link, h5py.SoftLink) and _leads_nowhere(group, path):
            return f"{NOT_THERE}: it is a link to {link.path}, which is not there"
        if isinstance(link, h5py.ExternalLink) and _leads_nowhere(group, path):
            there = any(place.is_file() for place in candidates(group, link.filename))
            what = f"{link.path} in {link.filename}" if there else link.filename
            why = "which is not there or cannot be read" if there else "and that file is not there"
            return f"{NOT_THERE}: it is a link to {what}, {why}"
    return NOT_THERE


def _leads_nowhere(group: h5py.Group, path: str) -> bool:
    try:
        return group.get(path) is None
    except DAMAGED:
        return True
