"""HDF5 files opened to read; what they read of other files must lie in their own folder.

An HDF5 file can name any file of the machine as the place of its values: as raw storage, as a source of a virtual
dataset, or as the file behind a link. A scan from elsewhere could so have a foreign file copied into a result. Every
HDF5 file is therefore opened here, and its groups and datasets look at each such name before HDF5 follows it.

HDF5 also reads a virtual dataset whose source is gone as its fill value, in silence: frames become zeros. So each
source is looked for, where HDF5 looks for it, before a dataset is read.
"""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py

from ptychopinn.errors import PtychoError
from ptychopinn.files.conventions.declared import check_whole, is_whole
from ptychopinn.files.naming import check_plain

DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""Exceptions of h5py for a damaged file."""

MAX_DEPTH = 16
"""Links on the way to a dataset, and levels of groups and of virtual datasets made of others."""

Folders = tuple[Path, ...] | None
"""Folders, without symbolic links, at or below which other files may be read; None for any."""


def own_folder(path: Path) -> Folders:
    """The folder that holds a file, and the one that holds what its symbolic links lead to."""
    return Path(os.path.abspath(path)).parent.resolve(), path.resolve().parent


def opened_file(path: Path, folders: Folders = (), **options: Any) -> "ScanFile":
    """Open a file to read, also one to which a detector appends in SWMR mode.

    Args:
        path: file.
        folders: of other files that it may read from; its own one when empty.
        options: of ``h5py.File``.
    """
    check_plain(path)
    folders = own_folder(path) if folders == () else folders
    try:
        return ScanFile(path, folders, **options)
    except OSError as error:
        try:
            return ScanFile(path, folders, swmr=True, **options)
        except OSError:
            raise error from None


class _Bounded:
    """An object of a file, which knows the folders that the file may read from."""

    folders: Folders

    @property
    def file(self) -> "ScanFile":
        """The file it lies in, behind links another one than was opened."""
        return ScanFile(self.id, self.folders)  # type: ignore[attr-defined]


class _Group(_Bounded, h5py.Group):
    """A group; what is taken from it has been checked."""

    def __init__(self, bind: Any, folders: Folders) -> None:
        super().__init__(bind)
        self.folders = folders

    def __getitem__(self, name: Any) -> Any:
        return bounded(super().__getitem__(check_way(self, name) or name), self.folders)

    def __contains__(self, name: Any) -> bool:
        try:
            check_way(self, name)
        except PtychoError:
            return True  # it is there, and whoever takes it is told
        return bool(super().__contains__(name))

    def visititems(self, func: Callable[[str, Any], Any]) -> Any:
        """As h5py does, each object once, but through ``MAX_DEPTH`` levels of groups."""
        return _visit(self, func, "", {h5py.h5o.get_info(self.id).addr}, 0)

    def get(self, name: Any, default: Any = None, getclass: bool = False, getlink: bool = False, **how: Any) -> Any:
        if getclass or getlink:
            return super().get(name, default, getclass, getlink, **how)
        try:
            return self[name]
        except KeyError:
            return default


def _visit(group: Any, func: Callable[[str, Any], Any], prefix: str, seen: set[int], depth: int) -> Any:
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        item = group[key]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        answer = func(prefix + key, item)
        if answer is None and isinstance(item, h5py.Group) and depth < MAX_DEPTH:
            answer = _visit(item, func, f"{prefix}{key}/", seen, depth + 1)
        if answer is not None:
            return answer
    return None


class _Dataset(_Bounded, h5py.Dataset):
    """A dataset; the files of its values, and its size, are checked before the first of them is read."""

    def __init__(self, bind: Any, folders: Folders) -> None:
        super().__init__(bind)
        self.folders = folders
        self._is_checked = False

    def __getitem__(self, args: Any, new_dtype: Any = None) -> Any:
        self._check()
        if is_whole(args):
            check_whole(self)
        return super().__getitem__(args, new_dtype)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        check_whole(self)
        return super().__array__(*args, **kwargs)

    def read_direct(self, *args: Any, **kwargs: Any) -> None:
        self._check()
        super().read_direct(*args, **kwargs)

    def _check(self) -> None:
        if not self._is_checked:
            check_sources(self)
            self._is_checked = True


class ScanFile(_Group, h5py.File):
    """A file opened to read."""

    def __init__(self, place: Any, folders: Folders, **options: Any) -> None:
        h5py.File.__init__(self, place, "r", **options)
        self.folders = folders


def bounded(item: Any, folders: Folders) -> Any:
    """A group or dataset that looks where its values come from; anything else as it is."""
    if isinstance(item, h5py.Group):
        return _Group(item.id, folders)
    return _Dataset(item.id, folders) if isinstance(item, h5py.Dataset) else item


def check_way(group: Any, name: Any, depth: int = 0) -> str | None:
    """Refuse a name on whose way an external link leaves the folders of the file.

    Returns:
        Where an external link is on the way, the name without soft links before it: HDF5 takes a soft link for the name
        in the other file. None elsewhere.

    Raises:
        PtychoError: naming the link and the file that it leads to.
    """
    if not isinstance(name, str | bytes):
        return None  # a reference stays in its file
    text = os.fsdecode(name)
    parts = [part for part in text.split("/") if part]
    for count in range(1, len(parts) + 1):
        here, rest = ("/" if text.startswith("/") else "") + "/".join(parts[:count]), parts[count:]
        try:
            kind = group.id.links.get_info(os.fsencode(here)).type
            leads = None if kind == h5py.h5l.TYPE_HARD else group.id.links.get_val(os.fsencode(here))
        except DAMAGED:
            return None  # nothing is there, and h5py says so
        if leads is None:
            continue
        if depth > MAX_DEPTH:
            raise PtychoError(f"{text}: more than {MAX_DEPTH} links lead to it; fewer are followed.")
        if kind == h5py.h5l.TYPE_SOFT:
            return check_way(group, posixpath.join(posixpath.dirname(here), os.fsdecode(leads), *rest), depth + 1)
        file_name, target = map(os.fsdecode, leads)
        found = _allowed(candidates(group, file_name), group.folders, f"{here}: is a link to {file_name}")
        if found is not None:
            try:
                other = opened_file(found, group.folders)
            except DAMAGED:
                return text
            with other:
                check_way(other, posixpath.join("/", target, *rest), depth + 1)
        return text
    return None


def check_sources(dataset: h5py.Dataset, depth: int = 0) -> None:
    """Refuse a dataset whose values lie outside its folders, or a virtual one that lacks a source.

    Raises:
        PtychoError: naming the dataset and the source, which is missing, unreadable or too small.
    """
    folders = getattr(dataset, "folders", ())
    folders = own_folder(Path(dataset.file.filename)) if folders == () else folders
    for file_name, _, _ in dataset.external or ():
        prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
        place = Path(_with_origin(prefix, dataset)) / file_name
        _allowed([place], folders, f"{dataset.name}: its values lie in {file_name}")
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
        _check_source(dataset, folders, file_name, name, reach, depth)


def _reach(source: Any) -> tuple[int, ...]:
    """The least shape of a source that holds what is taken of it; empty for a source that may grow."""
    whole = source.src_space.get_select_type() == h5py.h5s.SEL_ALL
    try:
        # A source that is taken as a whole says nothing of its shape: it is as large as what it fills.
        low, high = (source.vspace if whole else source.src_space).get_select_bounds()
    except DAMAGED:
        return ()
    return tuple(int(last) + 1 - (int(first) if whole else 0) for first, last in zip(low, high, strict=True))


def _check_source(
    dataset: h5py.Dataset, folders: Folders, file_name: str, name: str, reach: tuple[int, ...], depth: int
) -> None:
    begin = f"{dataset.name}: is a virtual dataset"
    for number, (file_text, inside) in enumerate(_numbered(dataset, file_name, name)):
        label = inside if file_text == "." else f"{file_text}: {inside}"
        if file_text == ".":
            _check_part(bounded(dataset, folders).file, begin, label, inside, reach, depth)
            continue
        places = candidates(dataset, file_text)
        path = _allowed(places, folders, f"{begin}, and its source is {file_text}")
        if path is None and number == 0:
            raise PtychoError(
                f"{begin}, and its source {file_text} is not there; without it HDF5 makes up the values: put that file "
                f"beside {Path(dataset.file.filename).name}."
            )
        if path is None:
            return
        try:
            file = opened_file(path, folders)
        except DAMAGED:
            raise PtychoError(f"{begin}, and its source {path} is no readable HDF5 file.") from None
        with file:
            _check_part(file, begin, label, inside, reach if number == 0 else (), depth)


def _numbered(dataset: h5py.Dataset, file_name: str, name: str) -> Iterator[tuple[str, str]]:
    """File and dataset of a source; with a ``%b`` in the file, of every block of it."""
    for number in range(2**31):
        file_text, inside = (
            text.replace("%b", str(number)).replace("%%", "%") if "%" in text else text for text in (file_name, name)
        )
        yield file_text, inside
        if "%b" not in file_name:
            return


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


def _with_origin(prefix: str, item: Any) -> str:
    return prefix.replace("${ORIGIN}", str(Path(item.file.filename).parent))


def candidates(item: h5py.Dataset | h5py.Group, file_name: str) -> list[Path]:
    """Where HDF5 looks for a file that another one names, in its order."""
    named, holder = Path(file_name), Path(item.file.filename)
    prefixes = os.environ.get("HDF5_VDS_PREFIX" if isinstance(item, h5py.Dataset) else "HDF5_EXT_PREFIX", "")
    folders = [*filter(None, prefixes.split(":")), str(holder.parent), ".", str(holder.resolve().parent)]
    relative = Path(named.name) if named.is_absolute() else named
    places = [Path(_with_origin(folder, item)) / relative for folder in folders]
    return [named, *places] if named.is_absolute() else places


def _allowed(places: Iterable[Path], folders: Folders, what: str) -> Path | None:
    """The first of several places where something is; None where nothing is.

    Raises:
        PtychoError: when it is no file, or lies outside the folders.
    """
    there = next((place for place in places if place.exists()), None)
    if there is None:
        return None
    if not there.is_file():
        raise PtychoError(f"{what}, which is no file; a file in the folder of the scan is needed.")
    if folders is not None and not any(there.resolve().is_relative_to(folder) for folder in folders):
        raise PtychoError(
            f"{what}, outside the folder of the scan; move that file beside the scan, or give --allow-external if you "
            "trust where the scan comes from."
        )
    return there
