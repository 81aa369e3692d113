"""Links between HDF5 files, and the files that virtual datasets are made of.

HDF5 reads a virtual dataset whose source is gone as its fill value, in silence: frames become zeros. So each source is
looked for, where HDF5 looks for it, before a dataset is read.
"""

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from ptychopinn.errors import PtychoError

DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""Exceptions of h5py for a damaged file."""

NOT_THERE = "not there"

MAX_DEPTH = 16
"""Levels of groups that are listed, and of virtual datasets made of others."""


def opened_file(path: Path, **options: Any) -> h5py.File:
    """Open a file to read, also one to which a detector appends in SWMR mode."""
    try:
        return h5py.File(path, "r", **options)
    except OSError as error:
        try:
            return h5py.File(path, "r", swmr=True, **options)
        except OSError:
            raise error from None


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
            there = _search(group, link.filename) is not None
            what = f"{link.path} in {link.filename}" if there else link.filename
            why = "which is not there or cannot be read" if there else "and that file is not there"
            return f"{NOT_THERE}: it is a link to {what}, {why}"
    return NOT_THERE


def _leads_nowhere(group: h5py.Group, path: str) -> bool:
    try:
        return group.get(path) is None
    except DAMAGED:
        return True


def check_sources(dataset: h5py.Dataset, depth: int = 0) -> None:
    """Refuse a virtual dataset of which a source is missing, unreadable or too small.

    Raises:
        PtychoError: naming the dataset and the source.
    """
    if not dataset.is_virtual:
        return
    if depth > MAX_DEPTH:
        raise PtychoError(f"{dataset.name}: is made of virtual datasets, more than {MAX_DEPTH} deep; fewer are read.")
    needed: dict[tuple[str, str], tuple[int, ...]] = {}
    for source in dataset.virtual_sources():
        key, reach = (source.file_name, source.dset_name), _reach(source)
        before = needed.get(key, ())
        needed[key] = tuple(map(max, before, reach)) if len(before) == len(reach) else reach
    for (file_name, name), reach in needed.items():
        numbered = [text.replace("%b", "0").replace("%%", "%") if "%" in text else text for text in (file_name, name)]
        _check_source(dataset, numbered[0], numbered[1], reach, depth)


def _reach(source: Any) -> tuple[int, ...]:
    """The least shape of a source that holds what is taken of it; empty for a source that may grow."""
    whole = source.src_space.get_select_type() == h5py.h5s.SEL_ALL
    try:
        # A source that is taken as a whole says nothing of its shape: it is as large as what it fills.
        low, high = (source.vspace if whole else source.src_space).get_select_bounds()
    except DAMAGED:
        return ()
    return tuple(int(last) + 1 - (int(first) if whole else 0) for first, last in zip(low, high, strict=True))


def _check_source(dataset: h5py.Dataset, file_name: str, name: str, reach: tuple[int, ...], depth: int) -> None:
    label = name if file_name == "." else f"{file_name}: {name}"
    begin = f"{dataset.name}: is a virtual dataset"
    if file_name == ".":
        _check_part(dataset.file, begin, label, name, reach, depth)
        return
    path = _search(dataset, file_name)
    if path is None:
        raise PtychoError(
            f"{begin}, and its source {file_name} is not there; without it HDF5 makes up the values: put that file "
            f"beside {Path(dataset.file.filename).name}."
        )
    try:
        file = opened_file(path)
    except DAMAGED:
        raise PtychoError(f"{begin}, and its source {path} is no readable HDF5 file.") from None
    with file:
        _check_part(file, begin, label, name, reach, depth)


def _check_part(file: h5py.File, begin: str, label: str, name: str, reach: tuple[int, ...], depth: int) -> None:
    try:
        item = file.get(name)
    except DAMAGED:
        item = None
    if not isinstance(item, h5py.Dataset):
        raise PtychoError(f"{begin}, and its source {label} is not there; without it HDF5 makes up the values.")
    if len(item.shape or ()) == len(reach) and any(have < need for have, need in zip(item.shape, reach, strict=True)):
        raise PtychoError(f"{begin}, and its source {label} has shape {item.shape}; at least {reach} is needed.")
    check_sources(item, depth + 1)


def _search(item: h5py.Dataset | h5py.Group, file_name: str) -> Path | None:
    """Where HDF5 finds a file that another one names; None where it does not."""
    named, holder = Path(file_name), Path(item.file.filename)
    prefixes = os.environ.get("HDF5_VDS_PREFIX" if isinstance(item, h5py.Dataset) else "HDF5_EXT_PREFIX", "")
    folders = [*filter(None, prefixes.split(":")), str(holder.parent), ".", str(holder.resolve().parent)]
    folders = [folder.replace("${ORIGIN}", str(holder.parent)) for folder in folders]
    relative = Path(named.name) if named.is_absolute() else named
    candidates = [*([named] if named.is_absolute() else []), *(Path(folder) / relative for folder in folders)]
    return next((path for path in candidates if path.is_file()), None)
